"""The ``headrace`` command: puts the groups of subcommands together and turns errors into messages and exit statuses.

Exit status 0: done. 1: it failed, and trying again later may help. 2: the request, a file or the usage is wrong.
"""

from __future__ import annotations

import importlib
import json
import sys

import typer

from infra.core.errors import HeadraceError
from infra.render.answer import error_answer

COMMANDS = (
    "platform",
    "place",
    "policy",
    "money",
    "costs",
    "warm",
    "records",
    "site",
    "catalogue",
    "cluster",
    "calibration",
    "data",
    "simulate",
    "drill",
)


def build() -> typer.Typer:
    """The application with every group of commands."""
    app = typer.Typer(
        name="headrace",
        help="Leads each AI run to the compute that should do it, and proves why.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in COMMANDS:
        importlib.import_module(f"infra.commands.{name}").register(app)
    return app


def main(arguments: list[str] | None = None, given_clouds: object = None) -> None:
    """Run the command line; ends the process with its exit status.

    Args:
        given_clouds: For ``drill``: makes the emulated clouds whose machines the drilled sites have, see
            :data:`infra.drills.clouds.CloudsOf`. Nobody names them on a command line.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        build()(given, prog_name="headrace", obj=given_clouds)
    except HeadraceError as error:
        if "--json" in given:
            print(json.dumps(error_answer(error), indent=2))
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
