"""Drills whose cloud is the emulated EC2: ``python -m tests.clouds.drill kill-matrix --seed 3`` as root.

All arguments are those of ``headrace drill``. The site ``cloud-eu-central`` gets its machines from an EC2 that runs for as long as
the drill; exit status 1 also when a machine or a network namespace of it is left afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from infra.drills.sandbox import CONFIGURATION
from infra.settings import CLOUD_PREFIX, PACKAGE_DIR
from tests.clouds.ec2 import Ec2Emulator, missing
from tests.clouds.network import namespaces

SITE = "cloud-eu-central"
INSTANCE_TYPE = "g5.xlarge"


def ec2_configuration(cloud: Ec2Emulator, directory: Path) -> Path:
    """The delivered configuration, with one site's machines in the emulated EC2."""
    for name in CONFIGURATION:
        source = PACKAGE_DIR / name
        shutil.copytree(source, directory / name) if source.is_dir() else shutil.copy(source, directory / name)
    path = directory / "sites" / f"{SITE}.yaml"
    site: dict[str, Any] = yaml.safe_load(path.read_text())
    place = cloud.place()
    [pool] = site["pools"]
    pool["cluster"] = "ec2"
    pool["ec2"] = {
        "region": place.region,
        "image": place.image,
        "subnets": [place.subnet],
        "security_groups": [place.security_group],
        "docker_image": "any",
    }
    for offer in pool["offers"]:
        offer["instance_type"] = INSTANCE_TYPE
    path.write_text(yaml.safe_dump(site, sort_keys=False))
    return directory


def cloud_variables(cloud: Ec2Emulator) -> dict[str, str]:
    """The account for machines, and for nothing else."""
    return {f"{CLOUD_PREFIX}{name}": value for name, value in cloud.environment().items()}


def left_in(cloud: Ec2Emulator) -> list[str]:
    """Machines and network namespaces that still exist."""
    return [*(machine["id"] for machine in cloud.control.machines()), *namespaces(cloud.slot)]


def main(arguments: list[str]) -> int:
    """Start the cloud, play the drills there, and look what is left."""
    if problem := missing():
        print(f"no emulated EC2: {problem}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="headrace-drill-") as scratch, Ec2Emulator(boot_s=1.0) as cloud:
        config = ec2_configuration(cloud, Path(scratch))
        command = [sys.executable, "-m", "infra.cli", "drill", *arguments, "--config", str(config)]
        status = subprocess.run(command, env={**os.environ, **cloud_variables(cloud)}, check=False).returncode
        left = left_in(cloud)
        print(f"left in the cloud: {', '.join(left) or 'nothing'}", flush=True)
        return status or int(bool(left))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
