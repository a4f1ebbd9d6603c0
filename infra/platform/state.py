"""The supervisor's word on what runs, as a file that anybody in the home may read at any time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from infra.platform.supervision import Phase
from infra.processes import ProcessIdentity, write_private
from infra.settings import Settings


@dataclass(frozen=True, slots=True)
class ComponentReport:
    """One component as the supervisor last saw it.

    Attributes:
        process: Its process, or the last one it had.
        since: When it entered its phase, seconds since the epoch.
        last_status: How its last process ended, ``None`` when none has.
    """

    name: str
    title: str
    phase: Phase
    since: float
    process: ProcessIdentity | None
    restarts: int
    failures: int
    last_status: int | None
    log: str

    @property
    def settled(self) -> bool:
        """Done, or ready and still alive."""
        if self.phase is Phase.READY:
            return self.process is not None and self.process.alive
        return self.phase is Phase.DONE


@dataclass(frozen=True, slots=True)
class PlatformReport:
    """Everything that runs.

    Attributes:
        simulated: The sites whose devices are local processes.
        whole_store: Whether runs get credentials that open all of the store.
    """

    platform_id: str
    supervisor: ProcessIdentity
    started_at: float
    api_url: str
    ui_url: str
    stopping: bool
    simulated: tuple[str, ...]
    components: tuple[ComponentReport, ...] = field(default=())
    whole_store: bool = False

    @property
    def complete(self) -> bool:
        """Whether everything is settled, by the supervisor's word and in fact: a process may have died since."""
        return not self.stopping and all(component.settled for component in self.components)

    @property
    def alive(self) -> bool:
        return self.supervisor.alive


def state_file(settings: Settings) -> Path:
    return settings.run_dir / "state.json"


def write_report(settings: Settings, report: PlatformReport) -> None:
    write_private(state_file(settings), json.dumps(asdict(report), indent=1).encode())


def read_report(settings: Settings) -> PlatformReport | None:
    """The last report, whether or not its supervisor still lives; ``None`` when there is none that can be read."""
    try:
        tree = json.loads(state_file(settings).read_bytes())
        components = tuple(
            ComponentReport(
                **{
                    **row,
                    "phase": Phase(row["phase"]),
                    "process": ProcessIdentity(**row["process"]) if row["process"] else None,
                }
            )
            for row in tree.pop("components")
        )
        return PlatformReport(
            **{
                **tree,
                "supervisor": ProcessIdentity(**tree["supervisor"]),
                "simulated": tuple(tree["simulated"]),
                "components": components,
            }
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
