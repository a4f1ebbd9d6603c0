"""What a drill's play has in hand: the platform, the clock of the drill, and the report that it fills."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from infra.core.inventory import Purchase
from infra.drills.clouds import Clouds
from infra.drills.platform import PATIENCE_S, Platform
from infra.drills.report import DrillReport, Finding, Invariant


@dataclass(slots=True)
class Stage:
    """One drill under way.

    Attributes:
        clouds: All clouds of the platform.
        runs: Run ids of the drill by what it calls them.
    """

    box: Platform
    report: DrillReport
    clouds: Sequence[Clouds]
    began: float = field(default_factory=time.monotonic)
    runs: dict[str, str] = field(default_factory=dict)
    degraded: Finding | None = None
    _injected: float | None = None

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began

    def inject(self, what: str) -> None:
        """Note what is being done to the platform. Detection and recovery count from the first one."""
        self._injected = self.elapsed_s if self._injected is None else self._injected
        self._note(self.report.injected, what)

    def see(self, what: str) -> None:
        self._note(self.report.seen, what)

    def detected(self, what: str) -> None:
        """Note that the platform showed that it knew, the first time."""
        if self.report.detect_s is None and self._injected is not None:
            self.report.detect_s = self.elapsed_s - self._injected
        self.see(what)

    def recovered(self, what: str) -> None:
        if self._injected is not None:
            self.report.recover_s = self.elapsed_s - self._injected
        self.see(what)

    def went_on(self, held: bool, evidence: str) -> None:
        """Note whether what need not suffer did not."""
        self.degraded = Finding(Invariant.DEGRADED, held, evidence)

    def probe(self, name: str, sleep_s: float = 0.0, **options: object) -> str:
        """Start an empty job under a name."""
        self.runs[name] = run_id = self.box.probe(sleep_s, **options)  # type: ignore[arg-type]
        return run_id

    def train(self, name: str, epochs: int = 2, **options: object) -> str:
        """Start a training on data that may not leave the EU under a name; checkpointed."""
        choices = {"model": f"drill-{self.report.name}", "epochs": epochs, "checkpoint_every_s": 0.5}
        parameters = {
            "dataset": self.box.land_digits(),
            "options": {"tenant": "vision", **options},
            "training": choices,
        }
        self.runs[name] = run_id = self.box.start("training/digits", **parameters)
        return run_id

    def ended(self, name: str, timeout_s: float = PATIENCE_S) -> str:
        """How the named run ended: its flow run's state and message."""
        run = self.box.finished(self.runs[name], timeout_s)
        told = f"{run.state_name}: {run.state.message}" if run.state and run.state.message else run.state_name or ""
        self.see(f"{name}: {told}")
        return run.state_name or ""

    def completes(self, name: str, timeout_s: float = PATIENCE_S) -> None:
        """Expect the named run to end with its result."""
        self.expect(self.ended(name, timeout_s) == "Completed", f"{name}: it did not complete")

    def recovers(self, name: str, timeout_s: float = PATIENCE_S) -> None:
        """Expect the named run to end with its result, which is what the drill waits for."""
        self.completes(name, timeout_s)
        self.recovered(f"published in attempt {len(self.box.runs.attempts(self.runs[name]))}")

    def expect(self, held: bool, what: str) -> None:
        """Hold the drill's own expectation.

        Raises:
            AssertionError: It does not hold; the drill has failed.
        """
        if not held:
            raise AssertionError(what)

    def cloud_sites(self) -> list[str]:
        """Sites that sell machines which nobody owns."""
        offers = [(site.name, offer) for site in self.box.control.sites for pool in site.pools for offer in pool.offers]
        return sorted({name for name, offer in offers if offer.purchase is not Purchase.OWNED})

    def clouds_go_away(self) -> None:
        for cloud in self.clouds:
            cloud.go_away()

    def clouds_sell_out(self) -> None:
        for cloud in self.clouds:
            cloud.sell_out()

    def clouds_take_back_spot(self, after_s: float) -> None:
        for cloud in self.clouds:
            cloud.take_back_spot(after_s)

    def clouds_heal(self) -> None:
        for cloud in self.clouds:
            cloud.heal()

    def machines_die(self, run_id: str) -> None:
        """Kill all machines of the run's first attempt."""
        note = self.box.computing(run_id)
        for cloud in self.clouds:
            cloud.kill_machines(note.lease)

    def _note(self, lines: list[str], what: str) -> None:
        line = f"{self.elapsed_s:.1f} s: {what}"
        lines.append(line)
        self.box.say(line)


Play = Callable[[Stage], None]
