"""Libraries of single providers, which are not installed with the rest."""

from __future__ import annotations

from importlib.util import find_spec

from infra.core.errors import UnavailableError


def require_extra(module: str, extra: str, what: str) -> None:
    """Refuse at once, and in words, what cannot work without a library.

    Raises:
        UnavailableError: ``EXTRA_MISSING``.
    """
    if not is_installed(module):
        raise UnavailableError(
            "EXTRA_MISSING",
            f"{module} is not installed",
            what,
            f"on the site's machine: pip install 'headrace[{extra}]'",
        )


def is_installed(module: str) -> bool:
    """Whether a module can be imported, without importing it. Parents of a dotted name are imported."""
    try:
        return find_spec(module) is not None
    except ImportError:  # a parent is missing, or is no package
        return False
