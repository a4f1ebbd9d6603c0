"""The catalogue file: machine types of clouds with devices, prices and boot times, in YAML, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from infra.core.catalogue import Catalogue, MachineType, Provider
from infra.core.errors import InputError, UnavailableError
from infra.core.pricing import Price
from infra.core.units import instant, iso, micro_from_usd, usd_float
from infra.documents.fields import Document, Instant, Name, Number, Positive, Text, Usd
from infra.documents.files import config_path, display, read_text, read_tree
from infra.documents.problems import join, located, unknown, validated
from infra.processes import write_whole

FILE_NAME = "catalogue.yaml"
_HEADER = (
    "# Machine types of clouds: docs/formats.md says what the keys mean. Written by `headrace catalogue --refresh`.\n"
)
_NUMBERS = ("devices", "memory_gb", "on_demand_usd_per_hour", "spot_usd_per_hour", "boot_s")


class MachineTypeDocument(Document):
    """A kind of machine in one region, or in all."""

    provider: Provider = Field(description="Whose machine it is.")
    region: Text | None = Field(
        None, description="The provider's name of the region; none for all regions without an entry of their own."
    )
    instance_type: Text = Field(description="The provider's name of the machine type (size, flavor).")
    device: Name = Field(description="Kind of device that it has, for example gpu-l4.")
    devices: Annotated[int, Field(strict=True, ge=1, le=1024)] = Field(
        1, description="How many of them. Offers can only sell machines with one."
    )
    memory_gb: Positive = Field(description="Memory of one device in gigabytes (10^9 bytes).")
    on_demand_usd_per_hour: Usd | None = Field(
        None,
        description="USD for one machine for one hour; none when it is not known, and then nothing is placed on it.",
    )
    spot_usd_per_hour: Usd | None = Field(None, description="The same for a machine that may be taken back.")
    valid_until: Instant | None = Field(
        None, description="ISO 8601 instant after which the prices are stale; needed with a price."
    )
    boot_s: Number | None = Field(None, description="Expected seconds from the request to a usable machine.")

    def to_core(self, where: str, path: str) -> MachineType:
        """The core value.

        Raises:
            InputError: for a price that never ends, or an end without a price.
        """
        prices = (self.on_demand_usd_per_hour, self.spot_usd_per_hour)
        if self.valid_until is None and prices != (None, None):
            place = join(where, f"{path}.valid_until")
            raise InputError("MISSING_KEY", "a price without an end", place, "say until when it holds: valid_until")
        if self.valid_until is not None and prices == (None, None):
            place = join(where, f"{path}.valid_until")
            raise InputError(
                "CONTRADICTORY_OFFER", "an end of validity without a price", place, "give the price or drop it"
            )
        valid_until_at = None if self.valid_until is None else instant(self.valid_until)
        on_demand, spot = (None if usd is None else Price(micro_from_usd(usd), valid_until_at) for usd in prices)
        with located(where, path):
            return MachineType(
                provider=self.provider,
                instance_type=self.instance_type,
                device=self.device,
                memory_gb=self.memory_gb,
                region=self.region,
                devices=self.devices,
                on_demand=on_demand,
                spot=spot,
                boot_s=self.boot_s,
            )


class CatalogueDocument(Document):
    """All machine types that are known."""

    machines: tuple[MachineTypeDocument, ...] = Field(description="The machine types.")


_COLUMNS = tuple(MachineTypeDocument.model_fields)


def catalogue_path(sites: Path | None = None) -> Path:
    """Where the catalogue of a configuration is, whether there is one or not.

    Args:
        sites: The configuration's directory of site files; the configured one when it is not given.
    """
    return config_path(FILE_NAME) if sites is None else sites.parent / FILE_NAME


def load_catalogue(path: str | Path | None = None) -> Catalogue:
    """The catalogue of a file: CSV by its suffix, else YAML or JSON. It is read as a whole or not at all.

    Args:
        path: The configured one when it is not given; when there is none, the catalogue is empty.

    Raises:
        InputError: with the file and the dotted path of what is wrong.
    """
    if path is None:
        path = catalogue_path()
        if not path.exists():
            return Catalogue()
    path = Path(path)
    where = display(path)
    tree = {"machines": _rows(read_text(path), where)} if path.suffix == ".csv" else read_tree(path)
    document = validated(CatalogueDocument, tree, where)
    found = tuple(machine.to_core(where, f"machines[{index}]") for index, machine in enumerate(document.machines))
    with located(where):
        return Catalogue(found)


def _rows(text: str, where: str) -> list[dict[str, Any]]:
    """Rows of a CSV file with the keys of a machine type as its head; an empty cell is a key that is left out."""
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise InputError("BAD_CSV", str(error), f"{where}: line {reader.line_num}", "correct the CSV") from error
    if not lines:
        raise InputError("BAD_CSV", "the file is empty", where, f"begin with a line of keys: {','.join(_COLUMNS)}")
    head = [cell.strip() for cell in lines[0][1]]
    for name in head:
        if name not in _COLUMNS:
            raise unknown("UNKNOWN_KEY", "key here", name, _COLUMNS, f"{where}: line {lines[0][0]}")
        if head.count(name) > 1:
            raise InputError(
                "DUPLICATE_KEY", f"{name} stands twice", f"{where}: line {lines[0][0]}", "keep one of them"
            )
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(head):
            problem = f"{len(cells)} cells, the head has {len(head)}"
            raise InputError("BAD_CSV", problem, f"{where}: line {number}", "give each key its cell")
        row = {name: cell.strip() for name, cell in zip(head, cells, strict=True) if cell.strip()}
        rows.append({name: _number(cell) if name in _NUMBERS else cell for name, cell in row.items()})
    return rows


def _number(cell: str) -> int | float | str:
    """The number of a cell; the text itself when it is none, which is then refused with its place."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(cell)
    return cell


def catalogue_tree(catalogue: Catalogue) -> dict[str, Any]:
    """The catalogue as its file says it, in the order of provider, region and type; what is not known is left out."""
    rows = map(machine_row, catalogue.ordered)
    return {"machines": [{key: value for key, value in row.items() if value is not None} for row in rows]}


def machine_row(machine: MachineType) -> dict[str, Any]:
    """One machine type by the keys of the file; ``None`` for what is not known."""

    def usd(price: Price | None) -> float | None:
        return None if price is None else usd_float(price.micro_per_hour)

    return {
        "provider": machine.provider.value,
        "region": machine.region,
        "instance_type": machine.instance_type,
        "device": machine.device,
        "devices": machine.devices,
        "memory_gb": machine.memory_gb,
        "on_demand_usd_per_hour": usd(machine.on_demand),
        "spot_usd_per_hour": usd(machine.spot),
        "valid_until": None if machine.valid_until_at is None else iso(machine.valid_until_at),
        "boot_s": machine.boot_s,
    }


def write_catalogue(catalogue: Catalogue, path: Path) -> None:
    """Replace the file at once: whoever reads it sees the old catalogue or the new one.

    Raises:
        InputError: ``FILE_UNWRITABLE``; the old file is as it was.
    """
    # Texts are quoted as in JSON, so that none of them, whatever it looks like, is read as something else.
    lines = [
        f"  - {{{', '.join(f'{key}: {json.dumps(value, ensure_ascii=False)}' for key, value in row.items())}}}\n"
        for row in catalogue_tree(catalogue)["machines"]
    ]
    text = _HEADER + ("machines:\n" + "".join(lines) if lines else "machines: []\n")
    try:
        write_whole(path, text.encode(), 0o644)
    except UnavailableError as error:
        remedy = "set HEADRACE_CONFIG to a directory of your own that you may write"
        raise InputError("FILE_UNWRITABLE", error.problem, display(path), remedy) from error
