"""The dataset ``api-docs``: docstrings of installed Python code, read from source without importing any of it."""

from __future__ import annotations

import ast
import hashlib
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from infra.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_PACKAGES = (
    *("argparse", "asyncio", "collections", "concurrent", "csv", "dataclasses", "datetime", "decimal", "email"),
    *("fractions", "functools", "heapq", "http", "importlib", "inspect", "ipaddress", "json", "logging"),
    *("multiprocessing", "pathlib", "random", "shutil", "socket", "ssl", "statistics", "subprocess", "tarfile"),
    *("tempfile", "threading", "typing", "unittest", "urllib", "xml", "zipfile", "dask", "distributed"),
)
MIN_CHARACTERS = 40
MAX_CHARACTERS = 20_000
_COLUMNS = ["doc_id", "package", "text", "sha256"]


def build_api_docs(packages: tuple[str, ...] = DEFAULT_PACKAGES, limit: int | None = None) -> pd.DataFrame:
    """Documents as columns ``doc_id``, ``package``, ``text`` and ``sha256``, sorted by ``doc_id``.

    Args:
        packages: Top-level packages or modules of the standard library or of site-packages.
        limit: Take that many, chosen by the hash of their names: an even sample that stays nearly the same when a
            package gains or loses a few names.

    Raises:
        InputError: ``UNKNOWN_PACKAGE``, or ``BAD_NUMBER`` for a limit below 1.
    """
    import pandas as pd

    if limit is not None and limit < 1:
        raise InputError("BAD_NUMBER", f"{limit} rows", "limit", "give at least 1")
    documents: dict[str, tuple[str, str]] = {}
    for package in sorted(set(packages)):
        for doc_id, text in package_documents(package):
            documents.setdefault(doc_id, (package, text))
    names = sorted(documents)
    if limit is not None:
        names = sorted(sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:limit])
    rows = [(name, *documents[name], text_sha256(documents[name][1])) for name in names]
    return pd.DataFrame(rows, columns=_COLUMNS)


def package_documents(package: str) -> Iterator[tuple[str, str]]:
    """Public names of a package with their docstrings, in the order of its files.

    Raises:
        InputError: ``UNKNOWN_PACKAGE`` when no source of that name is installed.
    """
    source = _source(package)
    files = [source] if source.is_file() else sorted(source.rglob("*.py"))
    for file in files:
        parts = [package] if source.is_file() else [package, *file.relative_to(source).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        if any(part.startswith("_") or part in ("test", "tests", "idle_test") for part in parts):
            continue
        try:
            with warnings.catch_warnings():
                # Old escapes in other people's source are their own affair.
                warnings.simplefilter("ignore")
                tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            # Packages ship templates and files for other Python versions under the name of source.
            continue
        yield from _documents(tree, ".".join(parts))


def text_sha256(text: str) -> str:
    """The hash by which a document is known to be unchanged."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _documents(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    text = ast.get_docstring(node) if isinstance(node, ast.Module | ast.ClassDef | _FUNCTION) else None
    if text and len(text) >= MIN_CHARACTERS and _encodable(text) and len(name) <= 300:
        yield name, text[:MAX_CHARACTERS]
    if isinstance(node, _FUNCTION):
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | _FUNCTION):
            if not child.name.startswith("_"):
                yield from _documents(child, f"{name}.{child.name}")
        elif isinstance(child, ast.If | ast.Try | ast.ExceptHandler):
            # Definitions under a condition, as those for one platform.
            yield from _documents(child, name)


_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _source(package: str) -> Path:
    if package.isidentifier():
        for scheme in ("stdlib", "purelib", "platlib"):
            root = Path(sysconfig.get_path(scheme))
            if (root / package / "__init__.py").is_file():
                return root / package
            if (root / f"{package}.py").is_file():
                return root / f"{package}.py"
    raise InputError(
        "UNKNOWN_PACKAGE", f"no Python source of {package!r} is installed", "packages", "name top-level packages"
    )
