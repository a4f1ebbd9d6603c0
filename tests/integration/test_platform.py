"""The embedded platform on this machine, through the command line: up, kill -9 of its parts, up again, down."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.platform.probes import ask
from infra.processes import PLATFORM_MARK, ProcessIdentity, marked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600, func_only=True)]
POOLS = {"control", "onprem-fra", "cloud-eu-central", "cloud-us-east"}


class Home:
    """One platform's directory and its command line."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HEADRACE_", "PREFECT_"))}
        self.environment = {**inherited, "HEADRACE_HOME": str(directory)}

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "infra.cli", *arguments],
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *arguments: str, **variables: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=400)
        return process.returncode, out, err

    def json(self, *arguments: str) -> Any:
        status, out, err = self.call(*arguments, "--json")
        assert status == 0, out + err
        return json.loads(out)

    def pids(self) -> dict[str, int]:
        tree = self.json("status")
        named = {row["name"]: row["pid"] for row in tree["components"] if row["pid"]}
        return {"supervisor": tree["supervisor"]["pid"], **named}

    def processes(self) -> list[int]:
        """Everything that carries this platform's mark, and everything below it."""
        file = self.directory / "platform-id"
        found = {identity.pid for identity in marked(file.read_text())} if file.exists() else set()
        for pid in tuple(found):
            found |= {child.pid for child in _children(pid)}
        return sorted(found)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory):
    """A platform that is up when the first test begins and gone when the last one ended."""
    home = Home(tmp_path_factory.mktemp("platform") / "home")
    try:
        status, out, err = home.call("up")
        assert status == 0, err
        assert out.startswith("Headrace is ready after ")
        assert "http://127.0.0.1:" in out
        assert "simulated" in out
        yield home
    finally:
        home.call("down")
        assert home.processes() == []


def _kill(pid: int) -> ProcessIdentity:
    identity = ProcessIdentity.of(pid)
    assert identity is not None
    os.kill(pid, signal.SIGKILL)
    assert identity.wait(30.0)
    return identity


def test_everything_is_there_and_a_second_up_changes_nothing(home: Home) -> None:
    tree = home.json("status")
    assert tree["up"]
    assert {row["name"] for row in tree["pools"]} >= POOLS
    assert all(row["workers"] >= 1 and row["type"] == "headrace" for row in tree["pools"])
    assert set(tree["simulated"]) == POOLS - {"control"}
    api = tree["api"]
    deployments = {row["name"] for row in ask(f"{api}/deployments/filter", {})}
    assert {"digits", "api-docs", "onprem-fra", "cloud-eu-central", "cloud-us-east"} <= deployments
    automations = ask(f"{api}/automations/filter", {})
    assert {row["trigger"]["match"]["prefect.resource.id"] for row in automations} == {
        "headrace.dataset.mnist5k",
        "headrace.dataset.api-docs",
    }
    blocks = {row["block_type"]["slug"] for row in ask(f"{api}/block_documents/filter", {})}
    assert blocks == {
        "headrace-object-store",
        "headrace-control-plane",
        "headrace-cloud-account",
        "headrace-signing-key",
    }
    before = home.pids()
    again = home.json("up")
    assert again["already"]
    assert again["ui"] == tree["ui"]
    assert home.pids() == before


def test_the_status_says_what_was_stopped_by_hand(home: Home) -> None:
    tree = home.json("status")
    assert (tree["bursting_stopped"], tree["revoked"]) == (False, [])
    home.json("policy", "stop-bursting", "--why", "a test")
    try:
        assert home.json("status")["bursting_stopped"]
    finally:
        home.json("policy", "resume-bursting", "--why", "it is over")
    assert not home.json("status")["bursting_stopped"]


def test_secrets_in_files_are_private_and_sites_are_not_told_the_database(home: Home) -> None:
    for path in [home.directory, *home.directory.rglob("keys"), *home.directory.rglob("*.pem")]:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077 or path.name.endswith("pub.pem"), path
    for name, pid in home.pids().items():
        environment = Path(f"/proc/{pid}/environ").read_bytes().decode()
        knows = "HEADRACE_DATABASE_URL=" in environment or "HEADRACE_PERMIT_KEY_FILE=" in environment
        assert knows == (name in {"supervisor", "worker-control", "controller", "setup"}), name


@pytest.mark.parametrize("part", ["server", "worker-cloud-us-east", "controller", "cluster-onprem-fra"])
def test_a_killed_part_comes_back(home: Home, part: str) -> None:
    before = home.pids()
    killed = _kill(before[part])
    answer = home.json("up")
    after = home.pids()
    assert answer["ready"]
    assert after["supervisor"] == before["supervisor"]
    assert after[part] != killed.pid
    assert home.json("status")["up"]


def test_up_after_a_killed_supervisor_replaces_what_it_left_even_when_two_try_at_once(home: Home) -> None:
    before = {name: ProcessIdentity.of(pid) for name, pid in home.pids().items()}
    ui = home.json("status")["ui"]
    _kill(before["supervisor"].pid)
    both = [home.start("up", "--json"), home.start("up", "--json")]
    answers = [json.loads(process.communicate(timeout=400)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(answer["already"] for answer in answers) == [False, True]
    assert {answer["ui"] for answer in answers} == {ui}
    assert not any(identity.alive for identity in before.values() if identity)
    tree = home.json("status")
    assert tree["up"]
    supervisors = [pid for pid in home.processes() if "infra.platform.supervisor" in _command(pid)]
    assert supervisors == [tree["supervisor"]["pid"]]


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_down_leaves_no_process_also_when_the_supervisor_is_dead_already(home: Home) -> None:
    everything = home.processes()
    _kill(home.pids()["supervisor"])
    status, out, _ = home.call("down")
    assert status == 0, out
    assert home.processes() == []
    alive = [pid for pid in everything if psutil.pid_exists(pid) and PLATFORM_MARK in _environment(pid)]
    assert alive == []
    assert home.call("status")[0] == 1
    assert home.call("down") == (0, "Headrace was not up.\n", "")


def _environment(pid: int) -> dict[str, str]:
    try:
        return psutil.Process(pid).environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return {}


def test_a_second_start_keeps_keys_accounts_and_deployments(home: Home) -> None:
    kept = [*home.directory.glob("keys/**/*.pem"), *home.directory.glob("sites/*/*.pem")]
    keys = {path: path.read_bytes() for path in kept}
    assert len(keys) == 2 + 3 + 2 * 3
    deployed = (home.directory / "prefect" / "deployed.json").stat().st_mtime_ns
    assert home.json("up")["ready"]
    assert {path: path.read_bytes() for path in kept} == keys
    assert (home.directory / "prefect" / "deployed.json").stat().st_mtime_ns == deployed
    everything = home.processes()
    assert everything
    assert home.json("down") == {"stopped": True}
    assert home.processes() == []


def test_a_wrong_configuration_starts_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    status, out, err = home.call("up", HEADRACE_CONTROL_SITE="atlantis")
    assert status == 2
    assert "UNKNOWN_SITE" in err
    assert "onprem-fra" in err
    assert home.processes() == []
    assert out == ""
