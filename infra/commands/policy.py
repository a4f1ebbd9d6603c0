"""``headrace policy``: show the policy and hold it against its cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.commands.shared import handle_errors, print_json
from infra.core.canonical import plain
from infra.core.policy import Rule
from infra.core.units import iso
from infra.documents.files import config_path
from infra.documents.policy import load_policy
from infra.documents.policy_cases import CaseResult, cases_path, run_cases

_File = Annotated[
    Path | None, typer.Argument(metavar="[POLICY]", help="Policy file; the configured default.yaml when not given.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def run_test(policy: _File = None, as_json: _Json = False) -> None:
    """Hold a policy against the cases beside it (POLICY.cases.yaml).

    A case fails when the verdict or the rules that made it differ. Exit status: 0 when all pass, 1 when one fails, 2
    for a malformed file.
    """
    with handle_errors(as_json):
        path = policy or config_path("policies", "default.yaml")
        results = run_cases(load_policy(path), cases_path(path))
    if as_json:
        print_json([{**plain(result), "passed": result.passed} for result in results])
    else:
        Console().print(_results(results))
    if not all(result.passed for result in results):
        raise typer.Exit(1)


def show(policy: _File = None, as_json: _Json = False) -> None:
    """Show a policy's version, validity and rules."""
    with handle_errors(as_json):
        loaded = load_policy(policy)
    if as_json:
        print_json(plain(loaded))
        return
    table = Table(title=f"Policy {loaded.version[:19]}, {_validity(loaded.valid_until_at)}", title_justify="left")
    for heading in ("rule", "forbids", "why"):
        table.add_column(heading, overflow="fold")
    for rule in loaded.rules:
        table.add_row(Text(rule.id), Text(_matches(rule)), Text(rule.description))
    Console().print(table)


def _validity(valid_until_at: float | None) -> str:
    return "valid until it is changed" if valid_until_at is None else f"valid until {iso(valid_until_at)}"


def _matches(rule: Rule) -> str:
    fields = ("tenants", "kinds", "sites", "jurisdictions", "trust_zones", "purchases", "datasets")
    named = ((field, getattr(rule, field)) for field in fields)
    return "\n".join(f"{field}: {', '.join(values)}" for field, values in named if values)


def _results(results: tuple[CaseResult, ...]) -> Table:
    passed = sum(result.passed for result in results)
    table = Table(title=f"{passed} of {len(results)} cases pass", title_justify="left")
    for heading in ("", "case", "expected", "got"):
        table.add_column(heading, overflow="fold")
    for result in results:
        mark = Text("✓", style="green") if result.passed else Text("✗", style="red")
        expected = _told(result.expected.value, result.expected_rules)
        table.add_row(mark, Text(result.name), Text(expected), Text(_told(result.verdict.value, result.rules)))
    return table


def _told(verdict: str, rules: tuple[str, ...]) -> str:
    return f"{verdict} ({', '.join(rules)})" if rules else verdict


def register(app: typer.Typer) -> None:
    """Add ``policy test`` and ``policy show``."""
    group = typer.Typer(help="Show the policy and hold it against its cases.", no_args_is_help=True)
    group.command("test")(run_test)
    group.command("show")(show)
    app.add_typer(group, name="policy")
