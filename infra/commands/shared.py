"""What all commands share: errors become one line on stderr and an exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from infra.core.errors import HeadraceError, InputError
from infra.documents.files import display
from infra.render.answer import error_answer
from infra.settings import Settings

if TYPE_CHECKING:
    from infra.wiring import ControlPlane


@contextmanager
def handle_errors(as_json: bool = False) -> Iterator[None]:
    """Turn a :class:`HeadraceError` into ``CODE at where: problem — remedy`` on stderr and its exit status.

    Usable as ``with handle_errors():`` and as the decorator ``@handle_errors()`` below typer's.

    Args:
        as_json: Print the error as a JSON object on stdout as well.
    """
    try:
        yield
    except HeadraceError as error:
        if as_json:
            print_json(error_answer(error))
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_status) from error


def print_json(value: Any) -> None:
    """Print plain values as JSON that people can read too, keys in their order."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def control_here() -> ControlPlane:
    """The control plane of this environment; imported when a command needs it, not when the command line is built."""
    from infra.wiring import control_plane

    return control_plane()


def prefect_here(settings: Settings) -> dict[str, str]:
    """Variables that point Prefect at the running platform, to be set before Prefect is first imported.

    Raises:
        UnavailableError: ``NOT_UP``.
    """
    from infra.platform.components import prefect_environment
    from infra.platform.control import living_report

    port = int(living_report(settings).ui_url.rpartition(":")[2])
    return prefect_environment(settings.prefect_dir, port)


def tell(text: str) -> None:
    """Progress, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def told_end() -> None:
    """Takes the progress away."""
    tell("")


def write(path: Path, text: str) -> None:
    """Write a picture.

    Raises:
        InputError: ``FILE_NOT_WRITABLE``.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError("FILE_NOT_WRITABLE", str(error), display(path), "name a file that can be written") from error
