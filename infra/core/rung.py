"""A rung of a request's ladder: what it takes instead when what it asks for cannot be had."""

from __future__ import annotations

from dataclasses import dataclass

from infra.core.canonical import digest
from infra.core.errors import InputError
from infra.core.units import require_number

Parameter = str | bool | int | float
Parameters = tuple[tuple[str, Parameter], ...]


@dataclass(frozen=True, slots=True)
class Rung:
    """A lesser variant of a request. What it does not name is as asked, not as on the rung above.

    Attributes:
        name: Its name within the ladder.
        devices: So many devices instead.
        device_kinds: Kinds that will do instead; empty means any; ``None`` means as asked.
        memory_gb: Least memory of one device instead.
        units: Amount of the lighter work, in the kind's own unit; only together with ``parameters``.
        parameters: Parameters of the work that replace those of the same name, sorted by name: texts, numbers from 0, or
            truth values.
        no_deadline: Late is better than never.
        wait: Whether it may wait; ``None`` means as asked.
    """

    name: str
    devices: int | None = None
    device_kinds: tuple[str, ...] | None = None
    memory_gb: float | None = None
    units: float | None = None
    parameters: Parameters = ()
    no_deadline: bool = False
    wait: bool | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("BAD_NAME", "a rung without a name", "rung: name", "name it")
        if self.devices is not None:
            require_number(self.devices, "rung: devices", minimum=1)
        if self.memory_gb is not None:
            require_number(self.memory_gb, "rung: memory_gb")
        if self.units is not None:
            require_number(self.units, "rung: units")
            if not self.parameters:
                # Fewer units of the very same work would only be a lower estimate of it.
                raise InputError(
                    "BAD_RUNG",
                    "fewer units without parameters that make the work lighter",
                    "rung: units",
                    "name the parameters that do, or leave the units as asked",
                )
        names = [name for name, _ in self.parameters]
        if names != sorted(set(names)):
            raise InputError("BAD_RUNG", "parameters not sorted, or twice", "rung: parameters", "name each once")
        for name, value in self.parameters:
            if isinstance(value, int | float) and not isinstance(value, bool):
                require_number(value, f"rung: parameters.{name}")
        replaced = (self.devices, self.device_kinds, self.memory_gb, self.wait)
        if not self.parameters and not self.no_deadline and all(value is None for value in replaced):
            raise InputError("EMPTY_RUNG", f"{self.name!r} changes nothing", "rung: name", "name what it takes instead")

    @property
    def work(self) -> str:
        """Names the work that it does, for what is kept of it; empty when that is the work as asked.

        Rungs with the same parameters do the same work, whatever they are called.
        """
        return f"work-{digest(self.parameters)[:16]}" if self.parameters else ""
