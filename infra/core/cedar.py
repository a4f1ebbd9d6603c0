"""Cedar policies: parsed once per text, asked without I/O, and never trusted where they fail.

Cedar's own rule decides: what a ``forbid`` matches is forbidden; else what a ``permit`` matches is allowed; else it is
forbidden by default. One thing is stricter here: a ``forbid`` that cannot be evaluated (arithmetic that overflows)
counts as matching, while Cedar would skip it.

:class:`Program` also says which attributes a text mentions at all. What it does not mention cannot change its answers, so
callers may leave it out, and offers that differ in nothing that is mentioned form one class.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cedarpy

from infra.core.errors import InputError

DEFAULT_DENY = "default-deny"
"""Told as the deciding policy where no ``permit`` matches."""

_ORDER = frozenset({"<", "<=", ">", ">=", "==", "!="})
_POSITION = re.compile(r"`(policy\d+)`")


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy of a text.

    Attributes:
        key: Cedar's own name of it, by position: ``policy0``.
        id: Its ``@id``; its key when it has none.
        effect: ``permit`` or ``forbid``.
        why: Its ``@why``, for a person.
        named: Whether it has an ``@id``.
        attributes: Names of the attributes that it reads or asks for with ``has``.
    """

    key: str
    id: str
    effect: str
    why: str
    named: bool
    attributes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program says of one placement: by Cedar's rule it is allowed exactly when ``forbids`` is empty.

    Attributes:
        permits: Ids of the policies that allow it, sorted; empty when it is forbidden.
        forbids: Ids of the policies that forbid it, sorted; ``default-deny`` where none does and none allows it.
    """

    permits: tuple[str, ...]
    forbids: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        return not self.forbids

    @property
    def deciding(self) -> tuple[str, ...]:
        """Ids that made the decision."""
        return self.forbids or self.permits


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A parsed text.

    Attributes:
        rules: Its policies, in their order.
        attributes: Names of all attributes that are read or asked for with ``has``.
        entity_types: Types of all entities that it names.
        whole_resource: Whether it may tell two resources apart by what they are, not by attributes and parents alone.
        compared: Pairs of an attribute and a text that it is compared with or searched for.
        limits: Pairs of an attribute and what it is held against: a whole number, or the name of an attribute of the
            principal.
        unbounded: Attributes that are also used in other ways, so that any two values of them may differ.
    """

    rules: tuple[Rule, ...]
    attributes: frozenset[str]
    entity_types: frozenset[str]
    whole_resource: bool
    compared: frozenset[tuple[str, str]]
    limits: frozenset[tuple[str, int | str]]
    unbounded: frozenset[str]
    _handle: Any
    _by_key: Mapping[str, Rule]

    def ask(
        self,
        principal: tuple[str, str],
        action: str,
        resource: tuple[str, str],
        context: Mapping[str, Any],
        entities: Sequence[Mapping[str, Any]],
    ) -> Answer:
        """The answer for one request.

        Args:
            principal, resource: Type and id.
            entities: Cedar's JSON form: ``uid``, ``attrs``, ``parents``.

        Raises:
            InputError: ``POLICY_NOT_EVALUATED`` when Cedar refuses the request itself.
        """
        request = {
            "principal": {"type": principal[0], "id": principal[1]},
            "action": {"type": "Action", "id": action},
            "resource": {"type": resource[0], "id": resource[1]},
            "context": dict(context),
        }
        result = cedarpy.is_authorized(request, self._handle, json.dumps(list(entities)))
        errors = result.diagnostics.errors
        if result.decision is cedarpy.Decision.NoDecision:
            raise InputError("POLICY_NOT_EVALUATED", "; ".join(errors), "policy", "check it: headrace policy check")
        failed = {key for error in errors for key in _POSITION.findall(error)}
        forbids = {self._by_key[key].id for key in failed if self._by_key[key].effect == "forbid"}
        matched = {self._by_key[key].id for key in result.diagnostics.reasons}
        if result.allowed and not forbids:
            return Answer(tuple(sorted(matched)), ())
        if not result.allowed:
            forbids |= matched
        return Answer((), tuple(sorted(forbids)) or (DEFAULT_DENY,))


@lru_cache(maxsize=64)
def parsed(text: str) -> Program:
    """The program of a text.

    Raises:
        InputError: ``BAD_POLICY`` when it is no Cedar, or holds a template (which nothing here would link).
    """
    try:
        handle = cedarpy.PolicySet.from_str(text)
        tree = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        raise InputError("BAD_POLICY", str(error), "policy", "correct the Cedar; see docs/policies.md") from error
    if tree["templates"]:
        raise InputError("BAD_POLICY", "a template has ?principal or ?resource", "policy", "name the entity instead")
    bodies = tree["staticPolicies"]
    rules = tuple(_rule(key, bodies[key]) for key in sorted(bodies, key=lambda key: int(key.removeprefix("policy"))))
    found = _Mentions()
    for body in bodies.values():
        found.policy(body)
    return Program(
        rules,
        frozenset(found.attributes),
        frozenset(found.entity_types),
        found.whole_resource,
        frozenset(found.compared),
        frozenset(found.limits),
        frozenset(found.unbounded),
        handle,
        {rule.key: rule for rule in rules},
    )


def _rule(key: str, body: Mapping[str, Any]) -> Rule:
    notes = body.get("annotations", {})
    found = _Mentions()
    found.policy(body)
    identity = (key, notes.get("id") or key, body["effect"], notes.get("why") or "", bool(notes.get("id")))
    return Rule(*identity, frozenset(found.attributes))


class _Mentions:
    """Collects what the JSON form of policies mentions; where in doubt it collects more."""

    def __init__(self) -> None:
        self.attributes: set[str] = set()
        self.entity_types: set[str] = set()
        self.compared: set[tuple[str, str]] = set()
        self.limits: set[tuple[str, int | str]] = set()
        self.unbounded: set[str] = set()
        self.whole_resource = False

    def policy(self, body: Mapping[str, Any]) -> None:
        """One policy: its head and its conditions."""
        self.scope(body["principal"])
        self.scope(body["resource"], resource=True)
        for condition in body["conditions"]:
            self.walk(condition["body"])

    def scope(self, part: Mapping[str, Any], *, resource: bool = False) -> None:
        """The head of a policy: ``resource == Offer::"x"``, ``principal in Group::"y"``."""
        entities = [part[name] for name in ("entity",) if name in part] + list(part.get("entities", ()))
        if "in" in part and isinstance(part["in"], dict):  # ``is Offer in Site::"x"``
            entities.append(part["in"]["entity"])
        self.entity_types |= {entity["type"] for entity in entities}
        if resource and part["op"] == "==":
            self.whole_resource = True

    def walk(self, node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                self.walk(item)
        if not isinstance(node, dict):
            return
        if set(node) == {"__entity"}:
            self.entity_types.add(node["__entity"]["type"])
            return
        for operator, operands in node.items():
            if operator in (".", "has"):
                self.attributes.add(operands["attr"])
                self.unbounded |= {operands["attr"]} if operator == "." else set()
                if "Var" not in operands["left"]:
                    self.walk(operands["left"])
            elif operator == "Record":
                self.walk(list(operands.values()))  # its keys are the author's, not operators
            elif operator in ("in", "is") and operands["left"] == {"Var": "resource"}:
                self.walk(operands.get("right", operands.get("in")))
            elif operator == "Var":
                self.whole_resource |= operands == "resource"
            elif operator in _ORDER and self._limited(operands["left"], operands["right"]):
                pass
            else:
                self._compare(operator, operands)
                self.walk(operands)

    def _limited(self, left: Any, right: Any) -> bool:
        """Whether this compares an attribute with a whole number, or one with one of the principal."""
        for side, other in ((left, right), (right, left)):
            if set(side) != {"."} or "Var" not in side["."]["left"]:
                continue
            limit = other.get("Value")
            if set(other) == {"."} and other["."]["left"] == {"Var": "principal"}:
                limit = other["."]["attr"]
                self.attributes.add(limit)
            elif not isinstance(limit, int) or isinstance(limit, bool):
                continue
            self.attributes.add(side["."]["attr"])
            self.limits.add((side["."]["attr"], limit))
            return True
        return False

    def _compare(self, operator: str, operands: Any) -> None:
        if operator in ("==", "!=", "contains", "containsAny", "containsAll"):
            sides = (operands["left"], operands["right"])
            names = [side["."]["attr"] for side in sides if set(side) == {"."}]
            self.compared |= {(name, text) for name in names for side in sides for text in _texts(side)}


def _texts(node: Any) -> Iterator[str]:
    """Texts of a literal, or of a set of literals."""
    if set(node) == {"Value"} and isinstance(node["Value"], str):
        yield node["Value"]
    elif set(node) == {"Set"}:
        for item in node["Set"]:
            yield from _texts(item)


def quoted(text: str) -> str:
    """A Cedar string literal."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(letter, letter) for letter in text if letter != "\0") + '"'


def entity(
    kind: str, name: str, parents: Iterable[tuple[str, str]] = (), attributes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """An entity in Cedar's JSON form."""
    return {
        "uid": {"type": kind, "id": name},
        "attrs": dict(attributes or {}),
        "parents": [{"type": parent, "id": parent_name} for parent, parent_name in parents],
    }
