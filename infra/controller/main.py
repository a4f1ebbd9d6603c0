"""The controller: ``python -m infra.controller.main``. One loop; a step that fails is logged and tried again."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable

from data_contracts.loading import contract_names, load_contract
from data_contracts.model import Contract
from infra.adapters.objects_local import LocalStore
from infra.controller.caps import CapWatch
from infra.controller.landing import LandingWatcher, emit_arrival
from infra.controller.orphans import mend
from infra.controller.spot_watch import SpotWatch
from infra.controller.waiting import WakeUps
from infra.controller.warm import WarmPools
from infra.core.inventory import Site
from infra.core.jurisdictions import permits
from infra.processes import notify_ready
from infra.wiring import ControlPlane, control_plane
from infra.worker.reaper import SiteReaper, forget_closed

TICK_S = 1.0
REAP_GRACE_S = 30.0
LEFT_BEHIND_S = 3600.0
"""Age at which a temporary file of the store has no writer any more."""

logger = logging.getLogger("headrace.controller")


def steps(control: ControlPlane) -> list[tuple[str, float, Callable[[], object]]]:
    """The controller's duties: name, seconds between two rounds, and what to do."""
    contracts, here = control.settings.contracts_dir, control.site(control.settings.control_site)
    watcher = LandingWatcher(
        control.store,
        lambda: contract_names(contracts),
        emit_arrival,
        control.clock,
        lambda name: may_read(load_contract(name, contracts), here),
    )
    wake_ups = WakeUps(control)
    spot_watch, cap_watch, warm_pools = SpotWatch(control), CapWatch(control), WarmPools(control)

    reapers = [SiteReaper(control.settings.site_dir(site.name), site) for site in control.sites]

    def reap_local_sites() -> list[object]:
        now_at = control.clock.now()
        return [found for reaper in reapers for found in (*reaper.reap(now_at, REAP_GRACE_S), *reaper.problems)]

    def tidy() -> list[object]:
        now_at = control.clock.now()
        if isinstance(control.store, LocalStore):
            control.store.sweep(LEFT_BEHIND_S, now_at)
        return [
            lease for site in control.sites for lease in forget_closed(control.settings.site_dir(site.name), now_at)
        ]

    return [
        ("arrivals", 1.0, watcher.scan),
        ("wake-ups", 1.0, wake_ups.look),
        ("orphans", 2.0, lambda: mend(control)),
        ("spot", 5.0, spot_watch.look),
        ("caps", 2.0, cap_watch.look),
        ("warm", 5.0, warm_pools.look),
        ("reaper", 5.0, reap_local_sites),
        ("tidying", 3600.0, tidy),
    ]


def may_read(contract: Contract, site: Site) -> bool:
    """Whether a process at this site may read the dataset's bytes, if only to hash them."""
    return permits(contract.residency, site.jurisdiction) and contract.trust_zone.rank <= site.trust_zone.rank


def run(control: ControlPlane, stop: threading.Event) -> None:
    """Do the duties in turn until told to stop."""
    due = [[0.0, *step] for step in steps(control)]
    while not stop.is_set():
        for entry in due:
            due_at, name, every_s, act = entry
            if control.clock.now() < due_at:
                continue
            try:
                for line in act() or ():
                    logger.info("%s: %s", name, line)
            except Exception:
                # One duty's trouble (the API restarting, a full disk) must not end the others.
                logger.exception("%s failed; trying again", name)
            entry[0] = control.clock.now() + every_s
        stop.wait(TICK_S)


def main() -> int:
    # Importing Prefect has configured the root logger already, so that this has to be forced.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    control = control_plane()
    notify_ready()
    run(control, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
