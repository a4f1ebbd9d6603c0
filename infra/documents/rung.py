"""The rungs of a request's ladder as people write them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from infra.core.errors import InputError
from infra.core.rung import Rung
from infra.documents.fields import LARGEST, Count, Document, Name, Number
from infra.documents.problems import located, short


def _plain(value: Any) -> Any:
    if isinstance(value, str | bool) or (isinstance(value, int | float) and 0 <= value <= LARGEST):
        return value
    raise InputError(
        "BAD_TYPE",
        f"{short(value)} is no parameter of a rung",
        "",
        "give a text, true or false, or a finite number from 0",
    )


class RungDocument(Document):
    """What a request takes instead. What is left out is as asked, not as on the rung above."""

    name: Name = Field(description="Name of the rung, unique within the ladder.")
    devices: Count | None = Field(None, description="So many devices instead, no more than asked for.")
    device_kinds: tuple[Name, ...] | None = Field(
        None, description="Kinds of device that will do instead; empty means any."
    )
    memory_gb: Number | None = Field(
        None, description="Least memory of one device in gigabytes instead, no more than asked for."
    )
    units: Number | None = Field(
        None, description="Amount of the lighter work, no more than asked for; only together with parameters."
    )
    parameters: dict[Name, Annotated[str | bool | int | float, BeforeValidator(_plain)]] = Field(
        default={}, description="Parameters of the work that replace those of the same name: a smaller model, ..."
    )
    deadline: Literal["none"] | None = Field(None, description="none: late is better than never.")
    wait: bool | None = Field(None, strict=True, description="Whether it may wait.")

    def to_core(self, where: str, path: str) -> Rung:
        """The core value.

        Raises:
            InputError: ``EMPTY_RUNG``, ``BAD_RUNG``, ``BAD_NUMBER``.
        """
        with located(where, path):
            return Rung(
                name=self.name,
                devices=self.devices,
                device_kinds=self.device_kinds,
                memory_gb=self.memory_gb,
                units=self.units,
                parameters=tuple(sorted(self.parameters.items())),
                no_deadline=self.deadline == "none",
                wait=self.wait,
            )
