"""Process identity, ties and locks, on real processes that live for milliseconds."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from infra.core.errors import ConflictError, UnavailableError
from infra.processes import (
    PLATFORM_MARK,
    READY_FILE,
    ProcessIdentity,
    descendants,
    locked,
    marked,
    notify_ready,
    stop,
    tied,
    write_private,
)

MARK = f"mark-of-{uuid.uuid4()}"
"""Of this test process alone: another one may run beside it."""


@pytest.fixture
def sleeper():
    child = subprocess.Popen(["sleep", "60"], env={**os.environ, PLATFORM_MARK: MARK})
    yield child
    child.kill()
    child.wait()


def test_an_identity_is_the_process_and_its_start(sleeper: subprocess.Popen) -> None:
    identity = ProcessIdentity.of(sleeper.pid)
    assert identity is not None
    assert identity.alive
    assert not ProcessIdentity(sleeper.pid, "another-boot:1").alive
    assert not ProcessIdentity(sleeper.pid, "another-boot:1").send(15)
    assert sleeper.poll() is None


def test_stop_ends_and_tells_who_had_to_be_killed(sleeper: subprocess.Popen) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    deaf = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert deaf.stdout is not None
    assert deaf.stdout.readline() == "deaf\n"
    identities = [ProcessIdentity.of(sleeper.pid), ProcessIdentity.of(deaf.pid)]
    killed = stop([identity for identity in identities if identity], grace_s=2.0)
    assert [identity.pid for identity in killed] == [deaf.pid]
    assert (sleeper.wait(), deaf.wait()) == (-15, -9)
    deaf.stdout.close()


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    identity = None
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert ProcessIdentity.of(child.pid) is identity
    child.wait()


def test_the_mark_finds_processes(sleeper: subprocess.Popen) -> None:
    assert [identity.pid for identity in marked(MARK)] == [sleeper.pid]
    assert sleeper.pid in [identity.pid for identity in descendants(os.getpid())]
    assert marked("another-mark") == []


def test_a_tied_process_ends_with_the_one_that_started_it() -> None:
    code = (
        "import subprocess, time\nfrom infra.processes import tied\n"
        "child = subprocess.Popen(tied(['sh', '-c', 'echo up; exec sleep 60']))\nprint(child.pid, flush=True)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    (pid,) = lines - {"up"}
    identity = ProcessIdentity.of(int(pid))
    assert identity is not None
    parent.kill()
    parent.wait()
    assert identity.wait(30.0)
    parent.stdout.close()


def test_a_tied_process_whose_parent_is_gone_already_never_becomes_the_command() -> None:
    done = subprocess.run(tied(["echo", "ran"], parent_pid=1), capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == -15


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "up.lock"
    with locked(path), pytest.raises(ConflictError) as caught, locked(path, timeout_s=0):
        pass
    assert caught.value.code == "LOCKED"
    with locked(path, timeout_s=0):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_private_files_are_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "secret"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError) as caught:
        write_private(tmp_path / "state.json", b"{}")
    assert (caught.value.code, caught.value.problem) == ("WRITE_FAILED", "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_ready_is_told_only_when_somebody_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(READY_FILE, raising=False)
    notify_ready()
    monkeypatch.setenv(READY_FILE, str(tmp_path / "ready"))
    notify_ready()
    assert (tmp_path / "ready").exists()
