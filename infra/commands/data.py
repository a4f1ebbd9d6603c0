"""``headrace data``: build the real datasets, land versions, list them and check them against their contract."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.commands.shared import handle_errors, print_json
from infra.core.errors import InputError
from infra.core.units import iso

if TYPE_CHECKING:
    import pandas as pd

    from data_contracts.model import Contract
    from infra.ports import CatalogEntry
    from infra.wiring import ControlPlane

QUARANTINED_STATUS = 2

_JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_VERSION = Annotated[str, typer.Option(metavar="VERSION", help="Name of the version; versions never change.")]

data_app = typer.Typer(help="Datasets: build, land, list and check versions.", no_args_is_help=True)


class Variant(StrEnum):
    """What a built version is for."""

    PLAIN = "plain"
    CHANGED = "changed"
    """A later version in which a small share of documents is another (api-docs)."""
    CORRUPT = "corrupt"
    """A few rows break the contract."""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(data_app, name="data")


@data_app.command()
def build(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist5k or api-docs.")],
    version: _VERSION = "v1",
    limit: Annotated[int | None, typer.Option(min=1, help="Take only that many rows.")] = None,
    parts: Annotated[int, typer.Option(min=1, help="Number of Parquet files.")] = 1,
    packages: Annotated[
        str | None, typer.Option(metavar="A,B", help="api-docs: packages to read instead of the usual ones.")
    ] = None,
    variant: Annotated[Variant, typer.Option(help="plain; changed or corrupt for trying things out.")] = Variant.PLAIN,
    seed: Annotated[int, typer.Option(help="Chooses the rows of changed and corrupt.")] = 2,
    as_json: _JSON = False,
) -> None:
    """Build a dataset from installed packages and land it as a version; the platform's watcher takes it from there."""
    with handle_errors(as_json):
        from data_contracts.layout import require_version
        from tasks.datasets.parquet import land

        control, contract = _contract(name)
        require_version(version)
        frame, note = _frame(name, limit, packages, variant, seed)
        key = land(control.store, contract, version, frame, parts)
    answer = {"dataset": name, "version": version, "rows": len(frame), "key": key, "variant": variant.value}
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{name}@{version} landed with {len(frame)} rows: {control.store.uri.rstrip('/')}/{key}{note}")


@data_app.command()
def drop(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A dataset with a contract.")],
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A Parquet file, or a folder with a manifest.json.")],
    version: _VERSION,
    as_json: _JSON = False,
) -> None:
    """Land a file or folder as a version, as a producer would. It is not checked here, but by the run it starts."""
    with handle_errors(as_json):
        control, _ = _contract(name)
        key = (
            _drop_folder(control, name, source, version)
            if source.is_dir()
            else _drop_file(control, name, source, version)
        )
    if as_json:
        print_json({"dataset": name, "version": version, "key": key})
    else:
        typer.echo(f"{name}@{version} landed: {control.store.uri.rstrip('/')}/{key}")


@data_app.command()
def versions(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this dataset.")] = None,
    as_json: _JSON = False,
) -> None:
    """List accepted and quarantined versions, published artefacts among them, newest first."""
    with handle_errors(as_json):
        from infra.wiring import control_plane

        entries = control_plane().database.catalog.versions(name)
    if as_json:
        print_json({"versions": [_entry_json(entry) for entry in entries]})
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("dataset", "version", "state", "residency", "recorded"):
        table.add_column(heading, no_wrap=True)
    table.add_column("copies", overflow="fold")
    table.add_column("bytes", justify="right")
    for entry in entries:
        item = _entry_json(entry)
        named = (item["dataset"], item["version"], item["state"], ", ".join(item["residency"]))
        recorded = item["recorded_at"][:16].replace("T", " ")
        table.add_row(*map(escape, named), recorded, ", ".join(item["copies"]) or "–", f"{item['bytes']:,}")
    Console().print(table if entries else "no version yet: headrace data build mnist5k")


@data_app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A dataset with a contract.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A landed version, or latest.")],
    as_json: _JSON = False,
) -> None:
    """Check a landed version against its contract: it is accepted at its home site, or quarantined (exit status 2)."""
    with handle_errors(as_json):
        from infra.wiring import control_plane
        from tasks.contracts import Quarantined, check_version

        control = control_plane()
        outcome = check_version(
            name,
            version,
            store=control.store,
            catalog=control.database.catalog,
            clock=control.clock,
            control_site=control.site(control.settings.control_site),
            contracts_root=control.settings.contracts_dir,
        )
    if isinstance(outcome, Quarantined):
        if as_json:
            print_json({"outcome": "quarantined", "uri": outcome.uri, **outcome.report})
        else:
            typer.echo(f"{name}@{outcome.version} breaks its contract and lies in {outcome.uri}")
            for line in outcome.lines:
                typer.echo(f"  {line}")
            typer.echo(f"  — {outcome.report.get('remedy', '')}")
        raise typer.Exit(QUARANTINED_STATUS)
    accepted = outcome.version
    if as_json:
        print_json(
            {
                "outcome": "accepted",
                "dataset": accepted.name,
                "version": accepted.version,
                "bytes": accepted.bytes,
                "uri": outcome.uri,
                "manifest_sha256": outcome.manifest_sha256,
                "newly_accepted": outcome.newly_accepted,
            }
        )
    else:
        when = "accepted" if outcome.newly_accepted else "was accepted before"
        typer.echo(f"{accepted.name}@{accepted.version} keeps its contract, {when}: {outcome.uri}")


@data_app.command()
def suite(name: Annotated[str, typer.Argument(metavar="NAME", help="A dataset with a contract.")]) -> None:
    """Write the Great Expectations suite beside a contract anew, after the contract was changed."""
    with handle_errors():
        from data_contracts.loading import CONTRACT_FILE, SUITE_FILE, contract_names, parse_contract_file
        from data_contracts.suites import suite_text
        from infra.documents.problems import unknown
        from infra.settings import Settings

        root = Settings.from_env().contracts_dir
        if name not in contract_names(root):
            raise unknown("UNKNOWN_DATASET", "dataset with a contract", name, contract_names(root), "dataset")
        contract = parse_contract_file(root / name / CONTRACT_FILE)
        file = root / name / SUITE_FILE
        file.write_text(suite_text(contract), "utf-8")
    typer.echo(f"{file} checks {contract.name} {contract.version}")


def _contract(name: str) -> tuple[ControlPlane, Contract]:
    from data_contracts.loading import load_contract
    from infra.wiring import control_plane

    control = control_plane()
    return control, load_contract(name, control.settings.contracts_dir)


def _frame(name: str, limit: int | None, packages: str | None, variant: Variant, seed: int) -> tuple[pd.DataFrame, str]:
    """The rows, and a note on what was done to which of them."""
    from tasks.datasets import DEFAULT_PACKAGES
    from tasks.datasets import build as build_rows
    from tasks.datasets.variants import changed_docs, corrupt

    if name != "api-docs" and (packages is not None or variant is Variant.CHANGED):
        raise InputError(
            "NOT_FOR_DATASET", f"{name} has no packages and no changed variant", "options", "leave them out"
        )
    chosen = tuple(part.strip() for part in packages.split(",")) if packages is not None else DEFAULT_PACKAGES
    frame = build_rows(name, limit, chosen)
    if variant is Variant.CHANGED:
        later = changed_docs(frame, seed)
        return later.frame, f" ({len(later.changed)} changed, {len(later.added)} added, {len(later.removed)} removed)"
    if variant is Variant.CORRUPT:
        broken = corrupt(frame, seed)
        return broken.frame, f" (broken on purpose: {', '.join(broken.faults)})"
    return frame, ""


def _drop_file(control: ControlPlane, name: str, source: Path, version: str) -> str:
    from tasks.datasets.parquet import land_file

    return land_file(control.store, name, version, _read(source))


def _drop_folder(control: ControlPlane, name: str, source: Path, version: str) -> str:
    from data_contracts.manifest import MANIFEST_NAME, parse_manifest
    from tasks.datasets.parquet import land_folder

    manifest = parse_manifest(_read(source / MANIFEST_NAME), str(source / MANIFEST_NAME))
    return land_folder(control.store, name, version, manifest, lambda file: _read(source / file.path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problem = error.strerror or str(error)
        raise InputError(
            "FILE_UNREADABLE", problem, str(path), "name a Parquet file, or a folder with a manifest.json"
        ) from error


def _entry_json(entry: CatalogEntry) -> dict[str, Any]:
    return {
        "dataset": entry.version.name,
        "version": entry.version.version,
        "state": "quarantined" if entry.quarantined else "accepted",
        "residency": list(entry.version.residency),
        "trust_zone": entry.version.trust_zone.value,
        "copies": list(entry.version.copies),
        "bytes": entry.version.bytes,
        "uri": entry.uri,
        "manifest_sha256": entry.manifest_sha256,
        "recorded_at": iso(entry.recorded_at),
    }
