"""A small evaluator of IAM policies: what AWS documents of Allow, Resource and Condition, and no more.

Anything that it does not know — another effect, key or operator — is an error and not a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request, as an S3 server's authorisation sees it: an action on a resource."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def allows(policy: Mapping[str, Any], asked: Asked, now_at: float) -> bool:
    """Whether some statement allows the request at this time."""
    assert set(policy) == {"Version", "Statement"}
    assert policy["Version"] == "2012-10-17"
    context = {**asked.context, "aws:CurrentTime": now_at}
    return any(_applies(statement, asked, context) for statement in policy["Statement"])


def _applies(statement: Mapping[str, Any], asked: Asked, context: Mapping[str, Any]) -> bool:
    assert set(statement) - {"Sid", "Condition"} == {"Effect", "Action", "Resource"}
    assert statement["Effect"] == "Allow"
    return (
        any(action == asked.action for action in _several(statement["Action"]))
        and any(_like(pattern, asked.resource) for pattern in _several(statement["Resource"]))
        and all(_holds(operator, tests, context) for operator, tests in statement.get("Condition", {}).items())
    )


def _holds(operator: str, tests: Mapping[str, Any], context: Mapping[str, Any]) -> bool:
    """All keys of a condition must hold, each for one of its values; a key that the request lacks does not."""
    for key, values in tests.items():
        if key not in context:
            return False
        if operator == "StringLike":
            holds = any(_like(pattern, context[key]) for pattern in _several(values))
        elif operator == "DateLessThan":
            holds = any(context[key] < datetime.fromisoformat(value).timestamp() for value in _several(values))
        else:
            raise AssertionError(f"unknown operator {operator}")
        if not holds:
            return False
    return True


def _like(pattern: str, text: str) -> bool:
    """``*`` is any run of characters, slashes too; ``?`` any one; ``${…}`` would be a variable."""
    assert "${" not in pattern
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(c, re.escape(c)) for c in pattern), text, re.DOTALL) is not None


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
