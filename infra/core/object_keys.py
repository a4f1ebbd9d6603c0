"""What an object-store key may look like; the same on every store, so that no key means two things."""

from __future__ import annotations

from infra.core.errors import InputError

MAX_KEY_BYTES = 1024
MAX_PART_BYTES = 255
TEMPORARY_PREFIX = ".tmp-"
"""Names that a local store uses for objects that are being written; nobody else may."""


def require_key(key: str) -> str:
    """Return ``key`` when it is one: relative, parts joined by ``/``, no ``.`` or ``..``, no control characters.

    Raises:
        InputError: ``BAD_KEY``.
    """
    problem = _problem(key)
    if problem:
        raise InputError("BAD_KEY", problem, f"key {key!r}"[:200], "use a relative key such as datasets/name/v1/part")
    return key


def require_prefix(prefix: str) -> str:
    """Return the start that all keys *under* ``prefix`` share: ``""`` or the prefix with one ``/`` behind it.

    A prefix is a folder: ``runs/1`` has ``runs/1/a`` under it and not ``runs/10/a``.

    Raises:
        InputError: ``BAD_KEY``.
    """
    folder = prefix[:-1] if prefix.endswith("/") else prefix
    if folder == "" and prefix != "/":
        return ""
    return f"{require_key(folder)}/"


def _problem(key: str) -> str:
    if not isinstance(key, str) or not key:
        return "a key is a text that is not empty"
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        return f"longer than {MAX_KEY_BYTES} bytes"
    if "\\" in key or any(ord(character) < 32 or ord(character) == 127 for character in key):
        return "backslashes and control characters are not allowed"
    if any(0xD800 <= ord(character) <= 0xDFFF for character in key):
        return "not valid Unicode"
    for part in key.split("/"):
        if part == "":
            return "an empty part (a slash at the start, at the end or twice)"
        if part in (".", ".."):
            return f"{part!r} is not allowed as a part"
        if len(part.encode()) > MAX_PART_BYTES:
            return f"a part is longer than {MAX_PART_BYTES} bytes"
        if part.startswith(TEMPORARY_PREFIX):
            return f"parts that start with {TEMPORARY_PREFIX} are kept for objects being written"
    return ""
