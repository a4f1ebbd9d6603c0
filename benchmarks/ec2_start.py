"""From lease to first task on the emulated EC2: a lease's cluster against the library's bare EC2Cluster, in one run.

``python -m benchmarks.ec2_start [--rounds 5] [--workers 2] [--boot-s 2]`` as root. Both start on the same emulator, in
turns; both have imported what they need before the clock starts. The bare cluster is as its documentation shows it,
TLS included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.clouds.ec2 import Ec2Emulator, Place, missing
from tests.integration.clusters_support import client, lease
from tests.integration.ec2_support import ec2_offer, ec2_provider, ec2_site


def bare(place: Place, workers: int) -> float:
    """Seconds from the constructor's call to the first result."""
    from dask_cloudprovider.aws import EC2Cluster
    from distributed import Client

    begun = time.monotonic()
    cluster = EC2Cluster(
        region=place.region,
        ami=place.image,
        subnet_id=place.subnet,
        security_groups=[place.security_group],
        bootstrap=False,
        use_private_ip=True,
        docker_image="any",
        n_workers=workers,
        silence_logs=True,
    )
    try:
        with Client(cluster, set_as_default=False) as connected:
            connected.wait_for_workers(workers, timeout=120)
            assert connected.submit(pow, 2, 3).result() == 8
            return time.monotonic() - begun
    finally:
        cluster.close()


def leased(cloud: Ec2Emulator, workers: int, directory: Path, rounds: int, boot_s: float) -> list[float]:
    """As above, from opening the lease."""
    took = []
    with ec2_provider(cloud, directory, warm=True) as provider:
        site = ec2_site(cloud)
        time.sleep(3.0)  # the worker that has this provider has been up for long when the first lease comes
        for number in range(rounds):
            begun = time.monotonic()
            address = provider.open(lease(f"lease-{number}", workers, life_s=300.0), ec2_offer(boot_s=boot_s), site)
            with client(address) as connected:
                assert connected.submit(pow, 2, 3).result() == 8
                took.append(time.monotonic() - begun)
            provider.close(f"lease-{number}")
    return took


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--boot-s", type=float, default=2.0)
    options = parser.parse_args()
    if problem := missing():
        print(f"skipped: {problem}")
        return 0
    ours: list[float] = []
    theirs: list[float] = []
    with Ec2Emulator(boot_s=options.boot_s) as cloud, tempfile.TemporaryDirectory() as directory:
        os.environ.update(cloud.environment())
        place = cloud.place()
        for number in range(options.rounds):
            theirs.append(bare(place, options.workers))
            ours += leased(cloud, options.workers, Path(directory) / str(number), 1, options.boot_s)
            cloud.control.faults(boot_s=options.boot_s)
    print(
        f"lease to first task, {options.workers} workers, machines boot in {options.boot_s:g} s, {options.rounds} rounds"
    )
    for name, took in (("EC2Cluster", theirs), ("headrace", ours)):
        print(f"{name:12} median {statistics.median(took):6.2f} s   {min(took):.2f} to {max(took):.2f}")
    print(f"ratio        {statistics.median(ours) / statistics.median(theirs):6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
