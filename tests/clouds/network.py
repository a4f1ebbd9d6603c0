"""The cloud's network: one bridge, a namespace with its own address for each machine, partitions, thin wires.

Everything that is made here carries the emulator's slot in its name, so that a later emulator finds and removes what a
killed one left. At most ``SLOTS`` emulators run on a computer at once; a lock file of each slot says which are taken.
"""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

SLOTS = 8
LOCK_DIRECTORY = Path("/run/headrace-cloud")
HOME_RANGE = "172.31.0.0/16"
"""Of AWS's default network, and so of moto's."""
_CLONE_NEWNET = 0x40000000


class NoFreeSlot(RuntimeError):
    """As many emulators run on this computer as can."""


def run(*command: str, check: bool = True) -> str:
    """Run a command of iproute2; its output. Raises RuntimeError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def batch(lines: list[str], namespace: str | None = None) -> None:
    """Run several lines of ``ip`` in one process."""
    command = ["ip", *(("-n", namespace) if namespace else ()), "-batch", "-"]
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip: {done.stderr.strip()} in {lines}")


class Network:
    """One emulator's bridge and namespaces.

    Raises:
        NoFreeSlot: When all slots are taken.
    """

    def __init__(self) -> None:
        self.slot, self._lock = _take_slot()
        self.bridge = f"hrbr{self.slot}"
        self._ranges: dict[str, str] = {}
        remove_leftovers(self.slot)
        batch([f"link add {self.bridge} type bridge", f"link set {self.bridge} up"])

    def range_of(self, region: str) -> str:
        """The /16 of a region's default network; the first region of slot 0 has AWS's own."""
        if region not in self._ranges:
            index = len(self._ranges)
            home = index == 0 and self.slot == 0
            self._ranges[region] = HOME_RANGE if home else f"10.{self.slot * 32 + index}.0.0/16"
            self._serve(self._ranges[region])
        return self._ranges[region]

    def gateway_of(self, region: str) -> str:
        """This computer's address on the region's network."""
        return str(ipaddress.ip_network(self.range_of(region)).broadcast_address - 1)

    def _serve(self, network: str) -> None:
        address = ipaddress.ip_network(network).broadcast_address - 1
        batch([f"address add {address}/16 dev {self.bridge}"])

    def attach(self, instance_id: str, region: str, address: str) -> Wire:
        """Make the namespace of a machine, with its address and the metadata address in it."""
        namespace, link = f"hr{self.slot}-{instance_id}", f"hv{self.slot}{instance_id[-8:]}"
        # Derived from the address, so that an address that is used again does not meet stale neighbours.
        station = ":".join(f"{octet:02x}" for octet in (2, 0, *ipaddress.ip_address(address).packed))
        run("ip", "netns", "add", namespace)
        batch(
            [
                f"link add {link} type veth peer name eth0 address {station} netns {namespace}",
                f"link set {link} master {self.bridge} up",
            ]
        )
        inside = [
            *("link set lo up", f"address add {address}/16 dev eth0", "link set eth0 up"),
            *(f"route add default via {self.gateway_of(region)}", "address add 169.254.169.254/32 dev lo"),
            # Names are not resolved in here. Said at once, that costs nothing; unanswered it costs ten seconds a look-up.
            *(f"route add unreachable {server}" for server in _name_servers()),
        ]
        batch(inside, namespace)
        return Wire(namespace, link)

    def close(self) -> None:
        remove_leftovers(self.slot)
        os.close(self._lock)


class Wire:
    """One machine's namespace and the cable to it."""

    def __init__(self, namespace: str, link: str) -> None:
        self.namespace, self.link = namespace, link

    def cut(self) -> None:
        run("ip", "link", "set", self.link, "down")

    def mend(self) -> None:
        run("ip", "link", "set", self.link, "up")

    def limit(self, mbps: float | None) -> None:
        """Let no more through, in either direction; ``None`` takes the limit away."""
        for where in (("tc",), ("tc", "-n", self.namespace)):
            device = self.link if where == ("tc",) else "eth0"
            if mbps is None:
                run(*where, "qdisc", "del", "dev", device, "root", check=False)
            else:
                shape = ("tbf", "rate", f"{mbps:g}mbit", "burst", "64kb", "latency", "400ms")
                run(*where, "qdisc", "replace", "dev", device, "root", *shape)

    def enter(self) -> None:
        """Put the calling thread, and what it starts, into the namespace."""
        _enter(f"/run/netns/{self.namespace}")

    @staticmethod
    def leave() -> None:
        """Put the calling thread back where its process is."""
        _enter("/proc/self/ns/net")

    def kill(self) -> None:
        """End every process in the namespace, then the namespace."""
        remove_namespace(self.namespace)
        run("ip", "link", "del", self.link, check=False)


def _name_servers() -> list[str]:
    lines = Path("/etc/resolv.conf").read_text().splitlines() if Path("/etc/resolv.conf").exists() else []
    words = [line.split() for line in lines]
    return sorted({word[1] for word in words if len(word) > 1 and word[0] == "nameserver" and word[1].count(".") == 3})


def _enter(path: str) -> None:
    with open(path, "rb") as handle:
        if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def remove_namespace(namespace: str) -> None:
    """Kill what runs in it and delete it; no error when it is gone."""
    if not Path(f"/run/netns/{namespace}").exists():
        return
    until = time.monotonic() + 5.0
    while (pids := run("ip", "netns", "pids", namespace, check=False).split()) and time.monotonic() < until:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.01)
    run("ip", "netns", "del", namespace, check=False)


def namespaces(slot: int | None = None) -> list[str]:
    """Names of emulators' namespaces, of one slot or of all."""
    prefixes = tuple(f"hr{number}-i-" for number in (range(SLOTS) if slot is None else (slot,)))
    folder = Path("/run/netns")
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(prefixes)) if folder.exists() else []


def remove_leftovers(slot: int) -> None:
    """Remove whatever carries this slot's mark."""
    for namespace in namespaces(slot):
        remove_namespace(namespace)
    for path in Path("/sys/class/net").glob(f"hv{slot}*"):
        run("ip", "link", "del", path.name, check=False)
    if Path(f"/sys/class/net/hrbr{slot}").exists():
        run("ip", "link", "del", f"hrbr{slot}", check=False)


def _take_slot() -> tuple[int, int]:
    LOCK_DIRECTORY.mkdir(parents=True, exist_ok=True)
    taken: tuple[int, int] | None = None
    for slot in range(SLOTS):
        descriptor = os.open(LOCK_DIRECTORY / f"slot-{slot}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        if taken is None:
            taken = slot, descriptor
        else:
            # Nobody holds this slot, so what is left of it was left by a killed emulator.
            remove_leftovers(slot)
            os.close(descriptor)
    if taken is None:
        raise NoFreeSlot(f"{SLOTS} emulated clouds run on this computer already")
    return taken
