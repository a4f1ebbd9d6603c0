"""``headrace site``: which sites are trusted, and taking trust away at once."""

from __future__ import annotations

import signal
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from infra.commands.shared import control_here, handle_errors, print_json
from infra.core.units import iso

_JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SITE = Annotated[str, typer.Argument(metavar="SITE", help="A site's name.")]

site_app = typer.Typer(help="Which sites are trusted, and taking trust away at once.", invoke_without_command=True)


@site_app.callback()
def sites(context: typer.Context, as_json: _JSON = False) -> None:
    """Show the sites and whether they are trusted."""
    if context.invoked_subcommand is not None:
        return
    with handle_errors(as_json):
        control = control_here()
        revoked = control.revoked
        rows = [
            {
                "site": site.name,
                "jurisdiction": site.jurisdiction,
                "trust_zone": site.trust_zone.value,
                "simulated": site.simulated,
                "revoked_at": iso(revoked[site.name].at) if site.name in revoked else None,
                "why": revoked[site.name].why if site.name in revoked else None,
            }
            for site in control.sites
        ]
    if as_json:
        print_json({"sites": rows})
        return
    table = Table(box=box.SIMPLE)
    for heading in ("site", "jurisdiction", "trust zone", "trusted"):
        table.add_column(heading)
    for row in rows:
        trusted = f"no, since {row['revoked_at']}: {row['why']}" if row["revoked_at"] else "yes"
        table.add_row(str(row["site"]), str(row["jurisdiction"]), str(row["trust_zone"]), trusted)
    Console().print(table)


@site_app.command("revoke")
def site_revoke(
    site: _SITE,
    why: Annotated[str, typer.Option("--why", help="For whoever reads it later.")],
    as_json: _JSON = False,
) -> None:
    """Trust a site no more: no permit is issued for it from now on, its attempts end and go on elsewhere."""
    from infra.adapters.revocation import Revocation, revoke

    with handle_errors(as_json):
        control = control_here()
        revoke(control.settings.trust_dir, Revocation(control.site(site).name, control.clock.now(), why))
        found = control.revoked[site]
    if as_json:
        print_json({"site": site, "revoked_at": iso(found.at), "why": found.why})
    else:
        typer.echo(
            f"{site} is revoked since {iso(found.at)}: {found.why}. To trust it again: headrace site restore {site}"
        )


@site_app.command("restore")
def site_restore(site: _SITE, as_json: _JSON = False) -> None:
    """Trust a revoked site of this machine again, under a new key; its worker is restarted with it."""
    from infra.adapters.revocation import restore
    from infra.adapters.signing_keys import create_key_pair
    from infra.core.errors import InputError
    from infra.platform.state import read_report

    with handle_errors(as_json):
        control = control_here()
        settings = control.settings
        if control.site(site).name not in control.revoked:
            raise InputError("NOT_REVOKED", f"{site} is trusted", "SITE", "see `headrace site`")
        told = settings.site_settings(site)
        told.key_file.unlink(missing_ok=True)
        settings.site_public_key_file(site).unlink(missing_ok=True)
        create_key_pair(told.key_file, settings.site_public_key_file(site))
        restore(settings.trust_dir, site)
        report = read_report(settings)
        for component in report.components if report is not None else ():
            if component.name == f"worker-{site}" and component.process is not None:
                component.process.send(signal.SIGTERM)
    if as_json:
        print_json({"site": site, "trusted": True})
    else:
        typer.echo(f"{site} is trusted again, under a new key")


def register(app: typer.Typer) -> None:
    """Add ``site``."""
    app.add_typer(site_app, name="site")
