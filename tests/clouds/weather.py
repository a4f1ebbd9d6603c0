"""The emulated EC2 as drills hurt it: see :class:`infra.drills.clouds.Clouds`."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from infra.adapters.cloud.tags import LEASE, SITE
from infra.adapters.local_cloud.records import LeaseDirectory, read_json
from infra.drills.platform import Platform
from infra.ports import Lease
from tests.clouds.api import ANY, Control

NOTICE_S = 2.0
"""Shorter than EC2's two minutes, so that a drill need not last as long."""
LOOK_EVERY_S = 0.2


class EmulatedEc2:
    """All machines of one emulator, whichever sites of the platform they are of."""

    def __init__(self, control: Control, box: Platform) -> None:
        self._control, self._box = control, box
        self._calm = threading.Event()
        self._storm: threading.Thread | None = None

    def go_away(self) -> None:
        self._control.faults(unreachable=True)

    def sell_out(self) -> None:
        self._control.faults(no_capacity=[[ANY, ANY]])

    def take_back_spot(self, after_s: float) -> None:
        self._calm.clear()
        self._storm = threading.Thread(target=self._take_back, args=(after_s,), name="spot storm", daemon=True)
        self._storm.start()

    def kill_machines(self, lease: Lease) -> None:
        for machine in self._control.machines():
            if machine["tags"].get(LEASE) == lease.id:
                self._control.fail(machine["id"])

    def heal(self) -> None:
        self._calm.set()
        if self._storm is not None:
            self._storm.join()
            self._storm = None
        self._control.faults(unreachable=False, no_capacity=[])

    def _take_back(self, after_s: float) -> None:
        told: set[str] = set()
        while not self._calm.wait(LOOK_EVERY_S):
            for machine in self._control.machines():
                if machine["spot"] and machine["id"] not in told and self._service_s(machine["tags"]) >= after_s:
                    told.add(machine["id"])
                    with suppress(ValueError):  # it went off meanwhile
                        self._control.reclaim(machine["id"], NOTICE_S)

    def _service_s(self, tags: dict[str, str]) -> float:
        """For how long the machine's cluster has been up, less the notice that is still to come; below 0 when it is not."""
        directory = LeaseDirectory.of(self._box.settings.site_dir(tags[SITE]), tags[LEASE])
        opened = read_json(directory.path / "opened.json")
        return time.time() - opened["ready_at"] + NOTICE_S if opened else -1.0
