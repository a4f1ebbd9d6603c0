"""The supervisor process: starts the components, watches them, restarts them, and takes them all down again.

It is one thread in a session of its own. What to do next is decided by :mod:`infra.platform.supervision`; this module
starts, asks, signals and writes down. Components are tied to its life by the kernel, and orphans of dead components
become its children, so nothing outlives it unseen: even after ``kill -9`` the next `headrace up` finds a clean table.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from infra.documents.sites import load_sites
from infra.platform import logs
from infra.platform.components import (
    WORKING_DIR,
    Component,
    api_url,
    component_table,
    marked_environment,
    milestone_file,
    ready_file,
    runs_see_whole_store,
)
from infra.platform.state import ComponentReport, PlatformReport, state_file, write_report
from infra.platform.supervision import Phase, Supervision, Verb
from infra.processes import ProcessIdentity, adopt_orphans, descendants, locked, stop, tied
from infra.settings import Settings

_EAGER_PROBE_S = 0.2
_CALM_PROBE_S = 5.0
_ROTATE_S = 30.0


@dataclass(slots=True)
class Running:
    """The process of a component: ``started_at`` is wall time, ``probe_at`` monotonic."""

    identity: ProcessIdentity
    started_at: float
    probe_at: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """Keeps one platform running until it is told to stop."""

    settings: Settings
    platform_id: str
    port: int
    simulated: tuple[str, ...]
    components: dict[str, Component]
    supervision: Supervision
    whole_store: bool = False
    running: dict[str, Running] = field(default_factory=dict)
    last: dict[str, ProcessIdentity] = field(default_factory=dict)
    started_at: float = field(default_factory=time.time)
    stopping: bool = False
    rotate_at: float = 0.0

    def serve(self, wakeup: socket.socket) -> None:
        """Run until SIGTERM or SIGINT, then stop everything."""
        self.report()
        while not self.stopping:
            changed = self._reap() | self._act() | self._probe()
            if changed:
                self.report()
            now = time.monotonic()
            if now >= self.rotate_at:
                logs.rotate_all(self.settings.logs_dir)
                self.rotate_at = now + _ROTATE_S
            probes = [running.probe_at for running in self.running.values()]
            until = min([self.supervision.wake_at(now), self.rotate_at, *probes])
            self._wait(wakeup, until - now)
        self.take_down()

    def _wait(self, wakeup: socket.socket, timeout_s: float) -> None:
        """Sleep until a signal arrives or the time is over, and note a request to stop."""
        readable, _, _ = select.select([wakeup], [], [], max(0.0, timeout_s))
        if readable:
            numbers = wakeup.recv(512)
            self.stopping |= any(number in (signal.SIGTERM, signal.SIGINT) for number in numbers)

    def _act(self) -> bool:
        actions = self.supervision.next_actions(time.monotonic())
        for action in actions:
            if action.verb is Verb.START:
                self._start(self.components[action.name])
            else:
                logs.note(self.settings.logs_dir, action.name, f"killed by the supervisor: {action.reason}")
                self.running[action.name].identity.send(signal.SIGKILL)
        return bool(actions)

    def _start(self, component: Component) -> None:
        ready_file(self.settings, component.name).unlink(missing_ok=True)
        logs.note(self.settings.logs_dir, component.name, f"starting {' '.join(component.command)}")
        try:
            with logs.opened(self.settings.logs_dir, component.name) as log:
                child = subprocess.Popen(
                    tied(component.command),
                    env=marked_environment(self.settings, component, self.platform_id),
                    cwd=WORKING_DIR,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            logs.note(self.settings.logs_dir, component.name, f"could not be started: {error}")
            self.supervision.ended(component.name, 1, time.monotonic())
            return
        child.returncode = 0  # reaped by _reap, with everybody else's orphans
        identity = ProcessIdentity.of(child.pid) or ProcessIdentity(child.pid, "ended")
        self.running[component.name] = Running(identity, time.time())
        self.last[component.name] = identity

    def _reap(self) -> bool:
        """Collect every child that has ended: components, and orphans that became ours."""
        changed = False
        while True:
            try:
                pid, raw = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return changed
            if pid == 0:
                return changed
            for name, running in list(self.running.items()):
                if running.identity.pid == pid:
                    status = os.waitstatus_to_exitcode(raw)
                    self._forget(name)
                    self.supervision.ended(name, status, time.monotonic())
                    logs.note(self.settings.logs_dir, name, f"ended with status {status}")
                    changed = True

    def _forget(self, name: str) -> None:
        self.running.pop(name)
        ready_file(self.settings, name).unlink(missing_ok=True)
        milestone_file(self.settings, name).unlink(missing_ok=True)

    def _probe(self) -> bool:
        before = {name: state.phase for name, state in self.supervision.states.items()}
        for name, running in list(self.running.items()):
            if time.monotonic() < running.probe_at:
                continue
            eager = self.supervision.states[name].phase is Phase.STARTING
            answer = self.components[name].probe(running.identity, running.started_at, time.time())
            now = time.monotonic()
            running.probe_at = now + (_EAGER_PROBE_S if eager else _CALM_PROBE_S)
            if answer or (answer is None and not eager):
                self.supervision.ready(name, now)
                if not self.components[name].lifecycle.once:
                    milestone_file(self.settings, name).touch(mode=0o600)
        reached = {path.name for path in self.settings.run_dir.joinpath("milestones").iterdir()}
        fresh = reached - self.supervision.milestones - set(self.components)
        self.supervision.milestone(fresh)
        return bool(fresh) or before != {name: state.phase for name, state in self.supervision.states.items()}

    def report(self) -> None:
        """Write down what runs, for `up`, `status` and `down`."""
        offset = time.time() - time.monotonic()
        rows = []
        for name, component in self.components.items():
            state = self.supervision.states[name]
            rows.append(
                ComponentReport(
                    name=name,
                    title=component.title,
                    phase=state.phase,
                    since=offset + state.since if state.since else self.started_at,
                    process=self.running[name].identity if name in self.running else None,
                    restarts=state.restarts,
                    failures=state.failures,
                    last_status=state.last_status,
                    log=str(logs.path_of(self.settings.logs_dir, name)),
                )
            )
        own = ProcessIdentity.of(os.getpid())
        assert own is not None
        url = api_url(self.port)
        write_report(
            self.settings,
            PlatformReport(
                platform_id=self.platform_id,
                supervisor=own,
                started_at=self.started_at,
                api_url=url,
                ui_url=url.removesuffix("/api"),
                stopping=self.stopping,
                simulated=self.simulated,
                components=tuple(rows),
                whole_store=self.whole_store,
            ),
        )

    def take_down(self) -> None:
        """Stop the components by rank, then whatever is left below this process, and remove the state."""
        self.stopping = True
        self.report()
        for rank in sorted({component.stop_rank for component in self.components.values()}):
            names = [name for name in self.running if self.components[name].stop_rank == rank]
            grace_s = max((self.components[name].stop_grace_s for name in names), default=0.0)
            killed = stop([self.running[name].identity for name in names], grace_s)
            for name in names:
                how = "killed" if self.running[name].identity in killed else "stopped"
                logs.note(self.settings.logs_dir, name, f"{how}: the platform goes down")
            self._reap_quietly()
        stop(descendants(os.getpid()), 3.0)
        self._reap_quietly()
        state_file(self.settings).unlink(missing_ok=True)

    @staticmethod
    def _reap_quietly() -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue


def free_port(remembered: int | None = None) -> int:
    """A free TCP port of 127.0.0.1: the remembered one when it is still free, so that bookmarks stay good."""
    for candidate in (remembered, 0):
        if candidate is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


def _chosen_port(file: Path) -> int:
    try:
        remembered = int(file.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        remembered = None
    port = free_port(remembered)
    file.write_text(str(port), encoding="ascii")
    return port


def main() -> None:
    """Supervise the home that the environment names. Its arguments: the platform's id."""
    (platform_id,) = sys.argv[1:]
    settings = Settings.from_env()
    os.umask(0o077)
    adopt_orphans()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with locked(settings.run_dir / "supervisor.lock", timeout_s=0):
        for folder in ("ready", "milestones"):
            directory = settings.run_dir / folder
            directory.mkdir(mode=0o700, exist_ok=True)
            for path in directory.iterdir():
                path.unlink()
        sites = load_sites(settings.sites_dir)
        port = _chosen_port(settings.home / "port")
        table = {component.name: component for component in component_table(settings, sites, port)}
        Supervisor(
            settings=settings,
            platform_id=platform_id,
            port=port,
            simulated=tuple(site.name for site in sites if site.simulated),
            components=table,
            supervision=Supervision({name: component.lifecycle for name, component in table.items()}),
            whole_store=runs_see_whole_store(settings),
        ).serve(ours)


if __name__ == "__main__":
    main()
