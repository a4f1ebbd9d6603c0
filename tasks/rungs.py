"""A rung of a run's ladder as a person fills it in."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from infra.core.errors import InputError
from infra.core.rung import Rung


class Choices(Protocol):
    """A kind of work's own choices, of which a rung may make lighter ones."""

    def parameters(self) -> dict[str, Any]:
        """What the site is told."""

    def units(self, rows: float) -> float:
        """Amount of work on so many rows, in the kind's unit."""

    def lighter(self, parameters: dict[str, Any], where: str) -> Choices:
        """The choices with these parameters instead of those of the same name.

        Raises:
            InputError: ``UNKNOWN_PARAMETER``, ``BAD_PARAMETER``.
        """


class RungOptions(BaseModel):
    """What the run takes instead when it can neither start nor wait as asked. What is left out stays as asked."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="Name of the rung.")
    devices: int | None = Field(None, ge=1, description="So many devices instead, no more than asked for.")
    device_kinds: list[str] | None = Field(
        None, description="Kinds of device that will do instead; an empty list: any."
    )
    memory_gb: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        title="Memory (GB)",
        description="Least memory of one device instead, no more than asked for.",
    )
    parameters: dict[str, bool | int | float | str] = Field(
        default={}, description="Lighter work: choices of the work that replace those above, such as hidden or epochs."
    )
    deadline: Literal["none"] | None = Field(None, description="none: late is better than never.")
    wait: bool | None = Field(None, description="Whether it may wait for devices.")

    def rung(self, units: float, choices: Choices | None, rows: float, where: str) -> Rung:
        """The core value.

        Args:
            units: Amount of the work as asked.
            choices: The work as asked; ``None`` where one ladder is for several kinds of work.

        Raises:
            InputError: ``UNKNOWN_PARAMETER``, ``BAD_PARAMETER``, ``EMPTY_RUNG``.
        """
        parameters, lighter_units = {}, None
        if self.parameters:
            if choices is None:
                raise InputError(
                    "UNKNOWN_PARAMETER",
                    "the ladder is for several kinds of work",
                    f"{where}.parameters",
                    "leave the parameters out, or start the stages one by one",
                )
            lighter = choices.lighter(self.parameters, f"{where}.parameters")
            parameters = {name: lighter.parameters()[name] for name in self.parameters}
            lighter_units = lighter.units(rows)
        return Rung(
            name=self.name,
            devices=self.devices,
            device_kinds=None if self.device_kinds is None else tuple(self.device_kinds),
            memory_gb=self.memory_gb,
            units=None if lighter_units == units else lighter_units,
            parameters=tuple(sorted(parameters.items())),
            no_deadline=self.deadline == "none",
            wait=self.wait,
        )
