"""What every cluster provider promises, on the fake, on a standing cluster, on the simulated cloud, on EC2, Slurm and GCP, and with an account."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.adapters.clusters_attached import AttachedCluster
from infra.adapters.clusters_local import LocalCloud
from infra.adapters.clusters_memory import MemoryClusters
from infra.core.errors import ConflictError, InputError, UnavailableError
from infra.core.inventory import Offer, Site
from tests.clouds.ec2 import Ec2Emulator
from tests.clouds.slurm import Slurm
from tests.clouds.stand_in import StandIn
from tests.integration.account_support import ON_ACCOUNT, account_provider
from tests.integration.clusters_support import (
    client,
    lease,
    offer,
    open_short,
    processes_of,
    running_standing_cluster,
    site,
    until,
)
from tests.integration.ec2_support import ON_EC2, ec2_offer, ec2_provider, ec2_site
from tests.integration.slurm_support import ON_SLURM, slurm_offer, slurm_provider, slurm_site
from tests.integration.stand_in_support import machine_offer, machine_provider, machine_site, stand_in


@dataclass
class Provided:
    """A provider with what the suite has to know about it."""

    name: str
    provider: Any
    state_dir: Path
    offer: Offer = field(default_factory=offer)
    site: Site = field(default_factory=site)
    cloud: Ec2Emulator | None = None
    slurm: Slurm | None = None
    stand_in: StandIn | None = None

    @property
    def real(self) -> bool:
        return self.name != "memory"

    def open(self, *arguments: Any, **changes: Any):
        if self.name == "account":  # real machines boot longer than any lease of this suite lives
            changes = {"life_s": 900.0, **changes}
        return self.provider.open(lease(*arguments, **changes), self.offer, self.site)

    def make_start_fail(self) -> int:
        """Arrange that the next start fails; returns the number of devices to ask for."""
        if self.name == "memory":
            self.provider.failures = 1
        if self.name == "local":
            self.provider._start_timeout_s = 0.0
        if self.cloud is not None:
            self.cloud.faults.no_capacity = [["*", "*"]]
        if self.slurm is not None:
            self.slurm.set_node("drain")
            self.provider._start_timeout_s = 2.0
        if self.stand_in is not None:
            self.stand_in.faults(refuse="QUOTA_EXCEEDED")
        if self.name == "account":
            self.provider._start_timeout_s = 0.0
        return 9 if self.name == "attached" else 1


@pytest.fixture(scope="module")
def standing_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    state_dir = tmp_path_factory.mktemp("standing")
    with running_standing_cluster(state_dir, devices=3):
        yield state_dir


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ec2Emulator]:
    with Ec2Emulator() as running:
        yield running


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with Slurm() as running:
        yield running


@pytest.fixture(
    params=[
        "memory",
        pytest.param("attached", marks=pytest.mark.slow),
        pytest.param("local", marks=pytest.mark.slow),
        pytest.param("ec2", marks=ON_EC2),
        pytest.param("slurm", marks=ON_SLURM),
        pytest.param("gcp", marks=pytest.mark.slow),
        pytest.param("account", marks=ON_ACCOUNT),
    ]
)
def provided(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Provided]:
    if request.param == "memory":
        yield Provided("memory", MemoryClusters(), tmp_path)
        return
    if request.param == "attached":
        state_dir = request.getfixturevalue("standing_dir")
        provider = AttachedCluster(state_dir, start_timeout_s=60.0)
        yield Provided("attached", provider, state_dir)
        provider.shutdown()
        return
    if request.param == "ec2":
        cloud = request.getfixturevalue("cloud")
        with ec2_provider(cloud, tmp_path) as provider:
            yield Provided("ec2", provider, tmp_path, ec2_offer(), ec2_site(cloud), cloud)
        return
    if request.param == "slurm":
        slurm = request.getfixturevalue("slurm")
        with slurm_provider(slurm, tmp_path) as provider:
            yield Provided("slurm", provider, tmp_path, slurm_offer(), slurm_site(), slurm=slurm)
        return
    if request.param == "gcp":
        with stand_in(tmp_path / "cloud") as running, machine_provider("gcp", running, tmp_path) as provider:
            yield Provided("gcp", provider, tmp_path, machine_offer("gcp"), machine_site("gcp"), stand_in=running)
        return
    if request.param == "account":
        with account_provider(tmp_path) as (provider, sold, at):
            yield Provided("account", provider, tmp_path, sold, at)
        return
    provider = LocalCloud(tmp_path)
    yield Provided("local", provider, tmp_path)
    provider.shutdown()
    until(lambda: not processes_of(tmp_path))


def test_open_gives_a_usable_address_with_as_many_workers_as_devices(provided: Provided) -> None:
    address = provided.open("usable", 2)
    assert len(set(address.workers)) == 2
    assert address.scheduler.startswith("tls://")
    if provided.real:
        with client(address) as connected:
            futures = [connected.submit(pow, 3, index, workers=[name]) for index, name in enumerate(address.workers)]
            assert connected.gather(futures) == [1, 3]
            names = {worker["name"] for worker in connected.scheduler_info(n_workers=-1)["workers"].values()}
        assert set(address.workers) <= names


def test_close_frees_and_may_be_repeated(provided: Provided) -> None:
    provided.open("freed", 2)
    assert provided.provider.leases() == ("freed",)
    for _ in range(2):
        provided.provider.close("freed")
        assert provided.provider.leases() == ()
    if provided.name == "local":
        until(lambda: not processes_of(provided.state_dir, provided.provider))
    assert len(provided.open("freed-again", 2).workers) == 2


def test_a_lease_had_machines_once_it_was_open(provided: Provided) -> None:
    provided.open("had")
    assert provided.provider.had_machines("had")
    provided.provider.close("had")
    assert provided.provider.had_machines("had")


def test_closing_an_unknown_lease_is_no_error(provided: Provided) -> None:
    provided.provider.close("never-heard-of")
    assert provided.provider.usage("never-heard-of") == {"machine_s": 0, "boot_s": 0, "ready_at": 0, "reclaimed": 0}


def test_a_failed_start_leaves_nothing(provided: Provided) -> None:
    devices = provided.make_start_fail()
    with pytest.raises(UnavailableError) as caught:
        provided.open("fails", devices)
    assert caught.value.code == "CLUSTER_START_FAILED"
    assert caught.value.retryable
    assert provided.provider.leases() == ()
    if provided.name == "local":
        until(lambda: not processes_of(provided.state_dir, provided.provider))


def test_two_leases_at_once_have_different_workers(provided: Provided) -> None:
    first, second = provided.open("first"), provided.open("second")
    assert not set(first.workers) & set(second.workers)
    assert provided.provider.leases() == ("first", "second")
    provided.provider.close("first")
    assert provided.provider.leases() == ("second",)
    if provided.real:
        with client(second) as connected:
            assert connected.submit(pow, 2, 5, workers=list(second.workers)).result() == 32


def test_leases_opened_at_the_same_time_never_share_a_worker(provided: Provided) -> None:
    addresses: list[Any] = []
    threads = [threading.Thread(target=lambda n=n: addresses.append(provided.open(f"at-once-{n}"))) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(900 if provided.name == "account" else 120)
    workers = [name for address in addresses for name in address.workers]
    assert len(workers) == len(set(workers)) == 3


def test_a_lease_is_opened_once(provided: Provided) -> None:
    provided.open("once")
    with pytest.raises(ConflictError) as caught:
        provided.open("once")
    assert caught.value.code == "LEASE_EXISTS"
    assert provided.provider.leases() == ("once",)


def test_a_lease_that_has_ended_is_not_opened(provided: Provided) -> None:
    with pytest.raises(InputError) as caught:
        provided.open("late", at=time.time() - 100, life_s=50)
    assert caught.value.code == "LEASE_ENDED"
    assert provided.provider.leases() == ()


def test_an_ended_lease_disappears_by_itself(provided: Provided) -> None:
    life_s = {"memory": 0.1, "attached": 2.0, "local": 10.0, "ec2": 12.0, "slurm": 8.0, "gcp": 15.0, "account": 600.0}
    held, _ = open_short(provided.provider, "short", life_s[provided.name], provided.offer, provided.site)
    until(lambda: provided.provider.leases() == (), held.ends_at - time.time() + 40.0)
    if provided.name == "local":
        until(lambda: not processes_of(provided.state_dir, provided.provider))


def test_usage_counts_machine_seconds_while_open_and_no_longer(provided: Provided) -> None:
    before_at = time.time()
    provided.open("metered", 2)
    ready_at = time.time()
    open_usage = provided.provider.usage("metered")
    provided.provider.close("metered")
    closed_at = time.time()
    usage = provided.provider.usage("metered")
    assert before_at <= usage["ready_at"] <= ready_at
    assert 0 <= open_usage["machine_s"] <= usage["machine_s"] <= 2 * (closed_at - before_at)
    assert 0 <= usage["boot_s"] <= ready_at - before_at
    assert provided.provider.usage("metered") == usage


def test_reaping_leaves_a_lease_that_is_in_use_and_ends_it_after_its_time(provided: Provided) -> None:
    at = time.time()
    provided.open("reaped", at=at)
    assert provided.provider.reap(at + 1, 5.0, dry_run=False) == []
    if not provided.real:
        return
    late_at = at + (906 if provided.name == "account" else 66)
    [would] = provided.provider.reap(late_at, 5.0, dry_run=True)
    assert (would.lease_id, would.reason, provided.provider.leases()) == ("reaped", "lease_ended", ("reaped",))
    [did] = provided.provider.reap(late_at, 5.0, dry_run=False)
    assert did.lease_id == "reaped"
    assert did.processes or did.workers or did.machines
    assert provided.provider.leases() == ()
    assert provided.provider.reap(late_at, 5.0, dry_run=False) == []
