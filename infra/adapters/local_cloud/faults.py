"""Troubles of the simulated cloud: what a drill, a test or a curious person makes it do.

They stand in ``cloud-faults.json`` of the site's directory and hold for as long as the file says so::

    {"away": true}                                the cloud's API does not answer
    {"refuse": ["spot"]}                          no machine can be had of these offers
    {"reclaim": {"spot": 5.0}}                    machines of these offers are taken back after so many seconds of service
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from infra.adapters.local_cloud.records import read_json, write_json

_FILE = "cloud-faults.json"


@dataclass(frozen=True, slots=True)
class CloudFaults:
    """What the cloud of one site suffers from.

    Attributes:
        away: Its API does not answer.
        refuse: Names of offers of which no machine can be had.
        reclaim: Seconds of service after which machines are taken back, by the offer's name.
    """

    away: bool = False
    refuse: tuple[str, ...] = ()
    reclaim: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, state_dir: Path) -> CloudFaults:
        """What the site's cloud suffers from now; nothing when there is no such file."""
        found = read_json(Path(state_dir) / _FILE) or {}
        return cls(bool(found.get("away")), tuple(found.get("refuse", ())), dict(found.get("reclaim", {})))

    def write(self, state_dir: Path) -> None:
        """Have the cloud suffer from exactly this, from now on."""
        write_json(Path(state_dir) / _FILE, asdict(self))

    def refusal(self, offer: str) -> str | None:
        """Why a machine of this offer cannot be had; ``None`` when it can."""
        if self.away:
            return "the cloud's API does not answer"
        return "InsufficientInstanceCapacity: there is no capacity for it now" if offer in self.refuse else None
