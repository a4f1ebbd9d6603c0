"""The rates file: how fast each kind of work is expected to go before there is any history."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from infra.core.errors import InputError
from infra.core.placement.snapshot import Rate
from infra.core.workload import WorkKind
from infra.documents.fields import Document, Name, Number, Positive, Text
from infra.documents.files import config_path, display, read_tree
from infra.documents.problems import join, validated


class RateDocument(Document):
    """One prior. Give either ``units_per_s`` or ``unit_s``."""

    kind: WorkKind = Field(description="Kind of work.")
    description: Text | None = Field(None, description="What a unit is, where the figure comes from.")
    device: Name | None = Field(None, description="Kind of device it holds for; null: the reference device, speed 1.0.")
    fixed_s: Number = Field(description="Seconds that do not grow with the work.")
    units_per_s: Positive | None = Field(None, description="Units that one device does in a second.")
    unit_s: Number | None = Field(None, description="Seconds that one device needs for one unit.")
    spread: Number = Field(
        description="How far runs stray: nine of ten take at most (1 + spread) times the estimate, which is the median."
    )


class RatesDocument(Document):
    """All priors."""

    rates: tuple[RateDocument, ...] = Field(description="The priors.")


def load_rates(path: str | Path | None = None) -> tuple[Rate, ...]:
    """Prior rates of a file, in its order, with ``samples`` 0.

    Args:
        path: The configured ``rates.yaml`` when it is not given.

    Raises:
        InputError: with the file and the dotted path of what is wrong.
    """
    path = config_path("rates.yaml") if path is None else Path(path)
    where = display(path)
    found: dict[tuple[str, str], Rate] = {}
    for index, rate in enumerate(validated(RatesDocument, read_tree(path), where).rates):
        place = join(where, f"rates[{index}]")
        if (rate.units_per_s is None) == (rate.unit_s is None):
            raise InputError("CONTRADICTORY_RATE", "one speed is needed", place, "give either units_per_s or unit_s")
        unit_s = rate.unit_s if rate.units_per_s is None else 1.0 / rate.units_per_s
        key = (rate.kind, rate.device or "")
        if key in found:
            raise InputError("DUPLICATE_RATE", f"{key} stands twice", place, "give one rate per kind and device")
        found[key] = Rate(rate.kind, rate.device or "", rate.fixed_s, unit_s or 0.0, rate.spread)
    return tuple(found.values())
