"""Turns the instances that moto keeps books of into machines, and what machines do into moto's books."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from tests.clouds.api import Faults
from tests.clouds.machine import Facts, Machine
from tests.clouds.network import Network

ACCOUNT = "123456789012"
LOOK_EVERY_S = 0.25


class Hypervisor(threading.Thread):
    """Looks at the instances whenever a call may have changed them, and now and then.

    Args:
        books: Held while moto's instances are read or changed: it puts a new one into its books before it is spot or has tags.
    """

    def __init__(self, network: Network, directory: Path, faults: Faults, books: threading.Lock) -> None:
        super().__init__(name="hypervisor", daemon=True)
        self._network, self._directory, self._faults, self._books = network, directory, faults, books
        self._changed, self._stopped = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._machines: dict[str, Machine] = {}
        self._known: set[str] = set()

    def look(self) -> None:
        """Look soon."""
        self._changed.set()

    def run(self) -> None:
        while not self._stopped.is_set():
            self._changed.wait(LOOK_EVERY_S)
            self._changed.clear()
            self._compare()

    def stop(self) -> None:
        """End all machines and wait until nothing of them is left."""
        self._stopped.set()
        self._changed.set()
        if self.is_alive():
            self.join()
        with self._lock:
            machines = list(self._machines.values())
        for machine in machines:
            machine.end()
        for machine in machines:
            machine.join(60.0)

    def machines(self) -> list[Machine]:
        """Those that run."""
        with self._lock:
            return [machine for machine in self._machines.values() if machine.is_alive()]

    def machine(self, instance_id: str) -> Machine:
        """One of them, running or not. Raises KeyError."""
        with self._lock:
            return self._machines[instance_id]

    def reclaim(self, instance_id: str, notice_s: float) -> None:
        """Give a spot machine its notice and take it back when that is over."""
        machine = self.machine(instance_id)
        if not machine.facts.spot:
            raise ValueError(f"{instance_id} is no spot instance")
        if machine.metadata is None:
            raise ValueError(f"{instance_id} does not run yet")
        machine.metadata.give_notice(time.time() + notice_s)
        why = "Server.SpotInstanceTermination"
        timer = threading.Timer(notice_s, self._terminate, args=(machine.facts, why, "Spot instance termination"))
        timer.daemon = True
        timer.start()

    def fail(self, instance_id: str) -> None:
        """Let the machine's host break: it is off at once, without notice."""
        machine = self.machine(instance_id)
        machine.end()
        self._terminate(machine.facts, "Server.InternalError", "Internal error on launch or in service")

    def _compare(self) -> None:
        with self._books:
            for region, backend in _backends().items():
                for reservation in backend.reservations.values():
                    for instance in reservation.instances:
                        self._settle(region, instance)

    def _settle(self, region: str, instance: Any) -> None:
        with self._lock:
            machine = self._machines.get(instance.id)
        if machine is None and instance.state == "running" and instance.id not in self._known:
            facts = _facts(region, instance)
            machine = Machine(facts, self._network, self._directory / facts.id, self._faults.boot_s, self._went_off)
            with self._lock:
                self._machines[instance.id] = machine
            self._known.add(instance.id)
            machine.start()
        elif machine is not None and instance.state != "running":
            machine.end()

    def _went_off(self, facts: Facts) -> None:
        why = "Client.InstanceInitiatedShutdown"
        self._terminate(facts, why, "Instance initiated shutdown")

    def _terminate(self, facts: Facts, code: str, message: str) -> None:
        with self._books:
            instance = _backends()[facts.region].get_instance(facts.id)
            if instance.state == "terminated":
                return
            if code.startswith("Client.Instance") and instance.instance_initiated_shutdown_behavior != "terminate":
                instance.stop()
            else:
                instance.terminate()
            instance.state_reason.code, instance.state_reason.message = code, f"{code}: {message}"
        self.look()


def _backends() -> dict[str, Any]:
    from moto.ec2.models import ec2_backends

    return dict(ec2_backends[ACCOUNT])


def _facts(region: str, instance: Any) -> Facts:
    data = instance.user_data
    return Facts(
        id=instance.id,
        region=region,
        address=instance.private_ip,
        instance_type=instance.instance_type,
        user_data=str(data) if data else None,
        tokens_required=instance.metadata_options.http_tokens == "required",
        spot=instance.lifecycle == "spot",
        tags={tag["key"]: tag["value"] for tag in instance.get_tags()},
    )
