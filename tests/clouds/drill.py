"""Drills whose cloud is the emulated EC2: ``python -m tests.clouds.drill kill-matrix --seed 3`` as root.

All arguments are those of ``headrace drill``. Both cloud sites get their machines from an EC2 that runs for as long as the drill and
suffers what the drill does to clouds; exit status 1 also when a machine or a network namespace of it is left afterwards.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from infra.cli import main as command_line
from infra.drills.clouds import CloudsOf
from infra.drills.sandbox import CONFIGURATION
from infra.settings import CLOUD_PREFIX, PACKAGE_DIR
from tests.clouds.ec2 import Ec2Emulator, missing
from tests.clouds.network import namespaces
from tests.clouds.weather import EmulatedEc2

REGIONS = {"cloud-eu-central": "eu-central-1", "cloud-us-east": "us-east-1"}
INSTANCE_TYPE = "g5.xlarge"


def ec2_configuration(cloud: Ec2Emulator, directory: Path) -> Path:
    """The delivered configuration, with the machines of both cloud sites in regions of the emulated EC2."""
    for name in CONFIGURATION:
        source = PACKAGE_DIR / name
        shutil.copytree(source, directory / name) if source.is_dir() else shutil.copy(source, directory / name)
    for site, region in REGIONS.items():
        path = directory / "sites" / f"{site}.yaml"
        document: dict[str, Any] = yaml.safe_load(path.read_text())
        place = cloud.place(region)
        [pool] = document["pools"]
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
        path.write_text(yaml.safe_dump(document, sort_keys=False))
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
        os.environ.update(cloud_variables(cloud))
        status = _drill([*arguments, "--config", str(config)], lambda box: EmulatedEc2(cloud.control, box))
        left = left_in(cloud)
        print(f"left in the cloud: {', '.join(left) or 'nothing'}", flush=True)
        return status or int(bool(left))


def _drill(arguments: list[str], clouds_of: CloudsOf) -> int:
    """``headrace drill``; its exit status."""
    try:
        command_line(["drill", *arguments], clouds_of)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
