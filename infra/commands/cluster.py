"""``headrace cluster render``: what would be made for a lease, without making it and without any account."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.syntax import Syntax

from infra.commands.shared import handle_errors, print_json

cluster_app = typer.Typer(help="What is started for leases.", no_args_is_help=True)


@cluster_app.callback()
def cluster() -> None:
    """What is started for leases."""


@cluster_app.command("render")
def cluster_render(
    site: Annotated[str, typer.Argument(metavar="SITE", help="A site's name.")],
    pool: Annotated[str, typer.Argument(metavar="POOL", help="A pool of it.")],
    offer: Annotated[str, typer.Argument(metavar="OFFER", help="An offer of that.")],
    devices: Annotated[int, typer.Option(min=1, max=1000, help="How many devices.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what would be made for a lease of this offer: the library's class, all that it is told, the requests.

    Nothing is made or asked, and no library of a cloud and no account is needed.
    """
    from infra.adapters.clock import SystemClock
    from infra.adapters.cloud.preview import preview
    from infra.documents.problems import unknown
    from infra.documents.sites import load_sites
    from infra.settings import Settings

    with handle_errors(as_json):
        sites = {found.name: found for found in load_sites(Settings.from_env().sites_dir)}
        if site not in sites:
            raise unknown("UNKNOWN_SITE", "site", site, sites, "SITE")
        pools = {found.name: found for found in sites[site].pools}
        if pool not in pools:
            raise unknown("UNKNOWN_POOL", f"pool of {site}", pool, pools, "POOL")
        offers = {found.name: found for found in pools[pool].offers}
        if offer not in offers:
            raise unknown("UNKNOWN_OFFER", f"offer of {pool}", offer, offers, "OFFER")
        shown = preview(sites[site], pools[pool], offers[offer], devices, SystemClock().now())
    if as_json:
        print_json(shown)
    else:
        Console().print(Syntax(_yaml(shown), "yaml", background_color="default", word_wrap=True))


def _yaml(shown: dict[str, Any]) -> str:
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110)


def register(app: typer.Typer) -> None:
    """Add ``cluster``."""
    app.add_typer(cluster_app, name="cluster")
