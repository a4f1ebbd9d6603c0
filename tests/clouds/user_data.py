"""What a machine's cloud-init would do with its user-data, without a shell: commands are taken apart and recognised."""

from __future__ import annotations

import base64
import re
import shlex
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath

import yaml

_WITH_VALUE = frozenset(
    "-e --env -v --volume --name --net --network --gpus --shm-size --ulimit -u --user -w --workdir --memory -m"
    " --log-driver --pull --restart --entrypoint --hostname -h --device --runtime".split()
)
_SPAN_S = {"": 1.0, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Container:
    """``docker run``: what runs in the foreground until it ends."""

    image: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    gpus: bool = False


@dataclass(frozen=True)
class PowerOff:
    """The machine goes off: at an instant (seconds since the epoch), or after so many seconds, whichever is first."""

    after_s: float | None = None
    at: float | None = None


@dataclass(frozen=True)
class Ignored:
    """A command that has no meaning here, such as the installation of a package."""

    text: str


Step = Container | PowerOff | Ignored


def steps(encoded: str | bytes | None) -> list[Step]:
    """The commands of ``runcmd``, in their order.

    Args:
        encoded: User-data as the API gives it: base64.

    Raises:
        ValueError: When it is no ``#cloud-config``.
    """
    if not encoded:
        return []
    text = base64.b64decode(encoded).decode()
    if not text.lstrip().startswith("#cloud-config"):
        raise ValueError("user-data is no #cloud-config")
    tree = yaml.safe_load(text) or {}
    lines = tree.get("runcmd") or []
    return [_step(line if isinstance(line, list) else shlex.split(str(line))) for line in lines]


def _step(words: list[str]) -> Step:
    program = PurePosixPath(words[0]).name if words else ""
    if program == "docker" and words[1:2] == ["run"]:
        return _container(words[2:])
    if program == "shutdown":
        return _shutdown(words[1:])
    if program in ("poweroff", "halt") or words[:2] == ["systemctl", "poweroff"]:
        return PowerOff(after_s=0.0)
    if program == "systemd-run":
        return _timer(words[1:])
    return Ignored(shlex.join(words))


def _container(words: list[str]) -> Container:
    environment: dict[str, str] = {}
    gpus, position = False, 0
    while position < len(words) and words[position].startswith("-"):
        option, _, value = words[position].partition("=")
        position += 1
        if option in _WITH_VALUE and "=" not in words[position - 1]:
            value = words[position]
            position += 1
        if option in ("-e", "--env"):
            name, _, content = value.partition("=")
            environment[name] = content
        gpus |= option == "--gpus"
    if position >= len(words):
        raise ValueError(f"docker run without an image: {shlex.join(words)}")
    return Container(words[position], words[position + 1 :], environment, gpus)


def _shutdown(words: list[str]) -> PowerOff:
    when = next((word for word in words if not word.startswith("-")), "+1")
    if when == "now":
        return PowerOff(after_s=0.0)
    if match := re.fullmatch(r"\+(\d+)", when):
        return PowerOff(after_s=60.0 * int(match[1]))
    raise ValueError(f"shutdown at {when!r} is not emulated")


def _timer(words: list[str]) -> Step:
    """``systemd-run`` with timers that power the machine off; several elapse independently, so the first one counts."""
    after_s: list[float] = []
    at: list[float] = []
    command = list(words)
    while command and command[0].startswith("-"):
        option, _, value = command.pop(0).partition("=")
        if option in ("--on-active", "--on-boot"):
            after_s.append(_span(value))
        elif option == "--on-calendar":
            at.append(datetime.strptime(value, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC).timestamp())
    if not command or not isinstance(_step(command), PowerOff) or not (after_s or at):
        return Ignored(shlex.join(["systemd-run", *words]))
    return PowerOff(min(after_s, default=None), min(at, default=None))


def _span(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|sec|min|m|h|)", text)
    if match is None:
        raise ValueError(f"a time span of {text!r} is not emulated")
    return float(match[1]) * _SPAN_S[match[2]]
