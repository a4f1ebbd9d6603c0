"""What is wrong with a policy before it is applied, and what is only odd, each with its line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cedarpy

from infra.core.cedar import parsed
from infra.core.errors import InputError
from infra.core.inventory import Purchase, TrustZone
from infra.core.jurisdictions import COUNTRIES, GROUPS, PUBLIC
from infra.core.policy_source import PolicySource
from infra.core.workload import WorkKind
from infra.documents.files import display, read_text
from infra.documents.policy import cedar_schema, load_policy, settings_path
from infra.documents.policy_cases import CaseResult, cases_path, run_cases
from infra.documents.policy_text import Chunk, chunks_of

_COUNTRY_TAGS = frozenset(COUNTRIES) | GROUPS.keys()
_VOCABULARY: dict[str, frozenset[str]] = {
    "kind": frozenset(WorkKind),
    "purchase": frozenset(Purchase),
    "trust_zone": frozenset(TrustZone),
    "needed_zone": frozenset(TrustZone),
    "jurisdiction": frozenset(COUNTRIES),
    "regions": _COUNTRY_TAGS,
    "residency_tags": _COUNTRY_TAGS | {PUBLIC},
}
"""Attributes whose values are known: a policy that compares with another value never matches."""


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong (it cannot be applied) or odd (it can).

    Attributes:
        where: File, and line where it has one.
    """

    code: str
    problem: str
    where: str
    remedy: str
    level: Level = Level.ERROR


@dataclass(frozen=True, slots=True)
class Checked:
    """A policy with what was found; ``source`` is ``None`` when it cannot be read at all."""

    source: PolicySource | None
    findings: tuple[Finding, ...]
    cases: tuple[CaseResult, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level is Level.ERROR)


def check_policy(path: Path) -> Checked:
    """Everything that can be said of a policy's files without a platform.

    Raises:
        InputError: ``FILE_MISSING`` or ``FILE_UNREADABLE`` for the policy itself.
    """
    read_text(path)
    try:
        source = load_policy(path)
    except InputError as error:
        return Checked(None, (_found(error),), ())
    chunks, where = chunks_of(source.text), display(path)
    findings = [
        *_invalid(source, cedar_schema(path), chunks, where),
        *_unnamed(source, chunks, where),
        *_unknown_texts(source, chunks, where),
        *_windows(source, path, where),
    ]
    cases: tuple[CaseResult, ...] = ()
    try:
        cases = run_cases(source, cases_path(path))
    except InputError as error:
        findings.append(_found(error))
    else:
        findings += [*_failed(cases, display(cases_path(path))), *_untested(source, cases, chunks, where)]
    return Checked(source, tuple(findings), cases)


def require_sound(path: Path) -> PolicySource:
    """The policy of a file, when nothing is wrong with it.

    Raises:
        InputError: The first thing that is wrong; the others are counted.
    """
    checked = check_policy(path)
    if checked.errors or checked.source is None:
        first, *others = checked.errors
        more = f" (and {len(others)} more: headrace policy check {display(path)})" if others else ""
        raise InputError(first.code, first.problem + more, first.where, first.remedy)
    return checked.source


def _found(error: InputError) -> Finding:
    return Finding(error.code, error.problem, error.where, error.remedy)


def _invalid(source: PolicySource, schema: str, chunks: tuple[Chunk, ...], where: str) -> Iterator[Finding]:
    """What the Cedar schema does not allow: unknown attributes, groups' types, actions, comparisons of unlike things."""
    try:
        handle = cedarpy.Schema.from_str(schema)
    except ValueError as error:
        yield Finding("BAD_CEDAR_SCHEMA", str(error), "headrace.cedarschema", "restore the shipped schema")
        return
    for error in sorted(cedarpy.validate_policies(source.text, handle).errors, key=str):  # Cedar's order varies
        number = re.fullmatch(r"policy(\d+)", error.policy_id or "")
        chunk = chunks[int(number[1])] if number and int(number[1]) < len(chunks) else None
        problem = re.sub(r"^for policy `policy\d+`, ", "", error.error)
        words = [word for name in re.findall(r"`([^`]+)`", problem) for word in re.findall(r"\w+", name)]
        lines = [chunk.line_of(word) for word in words] if chunk else []
        line = next((line for line in lines if chunk and line != chunk.line), chunk.line if chunk else 1)
        yield Finding("POLICY_INVALID", problem, f"{where}: line {line}", "see infra/policies/headrace.cedarschema")


def _unnamed(source: PolicySource, chunks: tuple[Chunk, ...], where: str) -> Iterator[Finding]:
    rules = parsed(source.text).rules
    counts = Counter(rule.id for rule in rules)
    for rule, chunk in zip(rules, chunks, strict=True):
        place = f"{where}: line {chunk.line}"
        if not rule.named:
            yield Finding("RULE_WITHOUT_ID", "a policy without @id", place, 'write @id("…"): it is told as the reason')
        if not rule.why:
            yield Finding(
                "RULE_WITHOUT_WHY", f"{rule.id} has no @why", place, 'write @why("…") for a person', Level.WARNING
            )
        if counts[rule.id] > 1:
            yield Finding("DUPLICATE_RULE", f"{rule.id!r} stands twice", place, "give each policy an id of its own")


def _unknown_texts(source: PolicySource, chunks: tuple[Chunk, ...], where: str) -> Iterator[Finding]:
    """Values that an attribute never has: Cedar takes any text."""
    for name, text in sorted(parsed(source.text).compared):
        known = _VOCABULARY.get(name)
        if known is not None and text not in known:
            listed = ", ".join(sorted(known)) if len(known) < 20 else "a country in capitals, or a group such as EU"
            yield Finding("UNKNOWN_VALUE", f"{name} is never {text!r}", _line(chunks, text, where), f"use {listed}")


def _windows(source: PolicySource, path: Path, where: str) -> Iterator[Finding]:
    chunks = chunks_of(source.text)
    named = {text for name, text in parsed(source.text).compared if name == "windows"}
    known = [window.name for window in source.windows]
    for name in sorted(named - set(known)):
        yield Finding(
            "UNKNOWN_WINDOW",
            f"no window is called {name!r}",
            _line(chunks, name, where),
            f"define it in {settings_path(path).name}" + (f", or use one of {', '.join(known)}" if known else ""),
        )
    for index, name in enumerate(known):
        if name not in named:
            place = f"{display(settings_path(path))}: windows[{index}]"
            yield Finding("UNUSED_WINDOW", f"no policy asks for {name!r}", place, "use it or delete it", Level.WARNING)


def _failed(cases: tuple[CaseResult, ...], where: str) -> Iterator[Finding]:
    for index, case in enumerate(cases):
        if not case.passed:
            got = f"{case.verdict} by {', '.join(case.policies)}"
            wanted = f"{case.expected} by {', '.join(case.expected_policies)}"
            problem = f"{case.name}: expected {wanted}, got {got}"
            yield Finding("CASE_FAILED", problem, f"{where}: cases[{index}]", "correct the policy or the case")


def _untested(
    source: PolicySource, cases: tuple[CaseResult, ...], chunks: tuple[Chunk, ...], where: str
) -> Iterator[Finding]:
    decided = {rule_id for case in cases for rule_id in case.policies}
    for rule, chunk in zip(parsed(source.text).rules, chunks, strict=True):
        if rule.id not in decided:
            place = f"{where}: line {chunk.line}"
            yield Finding("RULE_UNTESTED", f"no case is decided by {rule.id}", place, "add a case", Level.WARNING)


def _line(chunks: tuple[Chunk, ...], text: str, where: str) -> str:
    wanted = f'"{text}"'
    line = next((line for chunk in chunks for token, line in chunk.tokens if token == wanted), 1)
    return f"{where}: line {line}"
