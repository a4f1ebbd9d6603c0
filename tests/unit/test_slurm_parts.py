"""Slurm pools without a queue: site files, what a job is told, what the queue's words mean."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from infra.adapters.certificates import issue_identity
from infra.adapters.cloud.extras import require_extra
from infra.adapters.cloud.slurm_job import SlurmOrder, cluster_arguments
from infra.adapters.cloud.slurm_queue import SlurmJob, comment_of, slurm_environment, tags_of
from infra.adapters.cloud.slurm_records import note_jobs
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.cluster_settings import SLURM_DIRECTIVES, SlurmSettings
from infra.core.errors import InputError, UnavailableError
from infra.core.inventory import Cluster, Pool, Purchase
from infra.documents import load_site
from tests.integration.clusters_support import lease
from tests.integration.slurm_support import slurm_site

ROOT = Path(__file__).resolve().parents[2]
[SITE_YAML] = [
    text
    for text in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "clouds.md").read_text(), re.DOTALL)
    if "cluster: slurm" in text
]
SLURM, OFFER = "pools[0].slurm", "pools[0].offers[0]"


def test_the_guide_s_site_file_is_one(tmp_path: Path) -> None:
    path = tmp_path / "hpc-fra.yaml"
    path.write_text(SITE_YAML)
    [pool] = load_site(path).pools
    assert pool.cluster is Cluster.SLURM
    assert pool.slurm == SlurmSettings(
        partition="gpu",
        gres=(("gpu-a100", "gpu:a100:1"), ("cpu-8", None)),
        account="research",
        qos="normal",
        cores=8,
        memory_gb=64,
        scheduler_interface="ib0",
        directives=("--constraint=nvlink", "--exclude=node17"),
    )
    assert pool.slurm.gres_of("gpu-a100") == "gpu:a100:1"
    assert pool.slurm.gres_of("cpu-8") is None


@pytest.mark.parametrize(
    ("old", "new", "code", "path"),
    [
        ("      partition: gpu\n", "", "MISSING_KEY", f"{SLURM}.partition"),
        ("partition: gpu", "partition: gpu --uid=0", "BAD_VALUE", f"{SLURM}.partition"),
        ("account: research", 'account: "a\\n#SBATCH --uid=0"', "BAD_VALUE", f"{SLURM}.account"),
        ("qos: normal", "qos: $(id)", "BAD_VALUE", f"{SLURM}.qos"),
        ("gpu:a100:1", "gpu a100", "BAD_VALUE", f"{SLURM}.gres"),
        ("gpu-a100: ", "gpu-h100: ", "CONTRADICTORY_POOL", f"{OFFER}.device"),
        ("scheduler_interface: ib0", "scheduler_interface: ib0;id", "BAD_VALUE", f"{SLURM}.scheduler_interface"),
        ("scheduler_interface: ib0", "scheduler_host: a b", "BAD_VALUE", f"{SLURM}.scheduler_host"),
        ("qos: normal", "scheduler_host: login1", "CONTRADICTORY_POOL", f"{SLURM}.scheduler_host"),
        ("qos: normal", "python: venv/bin/python", "BAD_VALUE", f"{SLURM}.python"),
        ("qos: normal", 'python: "/opt/my python"', "BAD_VALUE", f"{SLURM}.python"),
        ("qos: normal", "python: /opt/$HOME/python", "BAD_VALUE", f"{SLURM}.python"),
        ("cores: 8", "cores: 0", "BAD_NUMBER", f"{SLURM}.cores"),
        ("memory_gb: 64", "memory_gb: 0", "BAD_NUMBER", f"{SLURM}.memory_gb"),
        ("--exclude=node17", "exclude=node17", "BAD_VALUE", f"{SLURM}.directives"),
        ("--exclude=node17", '"--exclude=a b"', "BAD_VALUE", f"{SLURM}.directives"),
        ("--exclude=node17", '"--exclude=a\\n"', "BAD_VALUE", f"{SLURM}.directives"),
        ("--exclude=node17", "--exclude=`id`", "BAD_VALUE", f"{SLURM}.directives"),
        ("cluster: slurm", "cluster: attached", "CONTRADICTORY_POOL", "pools[0].slurm"),
        ("cluster: slurm", "cluster: ec2", "CONTRADICTORY_POOL", "pools[0].ec2"),
        ("purchase: owned", "purchase: spot", "CONTRADICTORY_OFFER", f"{OFFER}.purchase"),
        (
            "device: gpu-a100",
            "device: gpu-a100\n        instance_type: g5.xlarge",
            "CONTRADICTORY_POOL",
            f"{OFFER}.instance_type",
        ),
        ("qos: normal", "password: secret", "UNKNOWN_KEY", f"{SLURM}.password"),
    ],
)
def test_bad_slurm_pools(old: str, new: str, code: str, path: str, tmp_path: Path) -> None:
    assert old in SITE_YAML
    file = tmp_path / "hpc-fra.yaml"
    file.write_text(SITE_YAML.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        load_site(file)
    assert caught.value.code == code, caught.value
    assert caught.value.where.startswith(f"{file}: {path}"), caught.value
    assert caught.value.remedy


@pytest.mark.parametrize(
    "name",
    [
        *("array", "begin", "chdir", "clusters", "comment", "deadline", "dependency", "error", "export", "gid", "gres"),
        *("job-name", "mem", "nodes", "open-mode", "output", "partition", "qos", "requeue", "signal", "time", "uid"),
        *("get-user-env", "export-file", "gpus", "hold", "immediate", "kill-on-invalid-dep", "parsable", "test-only"),
        *("time-min", "wait", "wrap", "wait-all-nodes", "batch", "delay-boot", "reboot", "container", "bb", "bbf"),
    ],
)
def test_what_takes_a_job_out_of_our_hands_is_no_directive(name: str) -> None:
    with pytest.raises(InputError) as caught:
        SlurmSettings("main", (), directives=(f"--{name}=1",))
    assert caught.value.code == "DIRECTIVE_NOT_ALLOWED"
    assert "--constraint" in caught.value.remedy.replace("constraint", "--constraint", 1)


def test_allowed_directives_may_have_no_value_and_expressions() -> None:
    wanted = ("--exclusive", "--constraint=[rack1*2&rack2*2]", "--nodelist=node[1-4,7]", "--licenses=matlab:2")
    assert SlurmSettings("main", (), directives=wanted).directives == wanted
    assert all(re.fullmatch(r"[a-z-]+", name) for name in SLURM_DIRECTIVES)


def order(tmp_path: Path, **changes: object) -> SlurmOrder:
    [pool] = slurm_site().pools
    assert pool.slurm is not None
    settings = replace(pool.slurm, **changes)
    identity = issue_identity(tmp_path / "tls", "run:1", 1_800_000_000.0, 1_800_000_600.0)
    held = lease("run:1", 2, life_s=90.0, at=1_800_000_000.0)
    return SlurmOrder(held, settings, "0a1b", "gpu:1", 300.0, held.ends_at + 5.0, identity, tmp_path / "logs")


def test_a_job_s_ends_are_told_to_slurm_and_to_the_job(tmp_path: Path) -> None:
    told = cluster_arguments(order(tmp_path), 1_800_000_000.0)
    assert told["walltime"] == "2", "minutes, rounded up"
    assert "--deadline=now+155" in told["job_extra_directives"]
    assert "--no-requeue" in told["job_extra_directives"]
    assert "left_s=$(( 1800000095 - $(date +%s) ))" in told["job_script_prologue"]
    assert told["python"].startswith('timeout --kill-after=5 "${left_s}s" /')
    late = cluster_arguments(order(tmp_path), 1_800_000_200.0)
    assert late["walltime"] == "1"
    assert "--deadline=now+61" in late["job_extra_directives"]


def test_settings_reach_the_library(tmp_path: Path) -> None:
    changes = {
        "account": "a",
        "qos": "q",
        "cores": 4,
        "memory_gb": 2.0,
        "python": "/opt/python",
        "directives": ("--nice",),
    }
    told = cluster_arguments(order(tmp_path, **changes), 1_800_000_000.0)
    wanted = {"queue": "main", "account": "a", "job_cpu": 4, "cores": 1, "processes": 1, "memory": "2GB"}
    wanted |= {"job_mem": "1908M", "nanny": False, "protocol": "tls://", "name": "headrace-run--1"}
    assert wanted.items() <= told.items()
    assert {"--qos=q", "--gres=gpu:1", "--nice"} <= set(told["job_extra_directives"])
    assert told["python"].endswith(" /opt/python")
    assert "unset PYTHONPATH" in told["job_script_prologue"]
    assert told["scheduler_options"]["host"] == "127.0.0.1"
    by_interface = order(tmp_path, scheduler_host=None, scheduler_interface="ib0")
    options = cluster_arguments(by_interface, 1_800_000_000.0)["scheduler_options"]
    assert (options["interface"], "host" in options) == ("ib0", False)


@pytest.mark.parametrize("value", ["plain", "flow-run:stage", "a,b=c", 'quote"s and spaces', "ü\n#SBATCH --uid=0", ""])
def test_comments_carry_any_tag(value: str) -> None:
    tags = {"headrace:lease": "l", "headrace:run": value}
    comment = comment_of(tags)
    assert tags_of(comment) == tags
    assert re.fullmatch(r"[A-Za-z0-9:@._=,%-]*", comment)
    assert tags_of("somebody's, own=comment") == {}


LINE = "7|{state}|100|{start}|{end}|{reason}|headrace-a|headrace:lease=a,headrace:owner=o"


@pytest.mark.parametrize(
    ("state", "start", "end", "reason", "alive", "started_at", "ended_at", "why"),
    [
        ("PENDING", "N/A", "N/A", "Resources", True, 0.0, 0.0, ""),
        ("PENDING", "250", "310", "Priority", True, 0.0, 0.0, ""),  # an expected start is none
        ("RUNNING", "110", "170", "None", True, 110.0, 0.0, ""),
        ("COMPLETING", "110", "115", "None", True, 110.0, 0.0, ""),
        ("SUSPENDED", "110", "N/A", "None", True, 110.0, 0.0, ""),
        ("COMPLETED", "110", "120", "None", False, 110.0, 120.0, "shut_down"),
        ("CANCELLED", "N/A", "120", "None", False, 0.0, 120.0, "closed"),
        ("TIMEOUT", "110", "170", "TimeLimit", False, 110.0, 170.0, "lease_ended"),
        ("DEADLINE", "170", "170", "DeadLine", False, 170.0, 170.0, "lease_ended"),
        ("PREEMPTED", "110", "120", "None", False, 110.0, 120.0, "reclaimed"),
        ("NODE_FAIL", "110", "120", "None", False, 110.0, 120.0, "failed"),
        ("A_NEW_STATE", "110", "N/A", "None", True, 110.0, 0.0, ""),  # what is not known to be over may be running
    ],
)
def test_what_the_queue_says_of_a_job(
    state: str, start: str, end: str, reason: str, alive: bool, started_at: float, ended_at: float, why: str
) -> None:
    job = SlurmJob.read(LINE.format(state=state, start=start, end=end, reason=reason))
    assert job is not None
    assert (job.id, job.lease_id, job.launched_at) == ("7", "a", 100.0)
    assert (job.alive, job.started_at, job.ended_at, job.why) == (alive, started_at, ended_at, why)
    assert job.waits_for == (reason if state == "PENDING" else "")


@pytest.mark.parametrize("line", ["", "7|RUNNING|1|1|1|None|x|(null)", "7|RUNNING|1|1|1|None|x|a|b", "no line at all"])
def test_other_people_s_jobs_are_none(line: str) -> None:
    assert SlurmJob.read(line) is None


def test_a_job_is_metered_from_its_start(tmp_path: Path) -> None:
    directory = LeaseDirectory.of(tmp_path, "a")
    directory.begin(lease("a", at=100.0), 100.4, {"provider": "slurm"})

    def noted(state: str, start: str, end: str) -> list[dict]:
        job = SlurmJob.read(LINE.format(state=state, start=start, end=end, reason="None"))
        assert job is not None
        note_jobs(directory, [job])
        return list(directory.machines().values())

    assert noted("PENDING", "N/A", "N/A") == []
    [running] = noted("RUNNING", "100", "160")
    assert (running["started_at"], running["ended_at"]) == (100.4, None), "not before it was asked for"
    [ended] = noted("COMPLETED", "100", "130")
    assert (ended["started_at"], ended["ended_at"], ended["why"]) == (100.4, 131.0, "shut_down")
    assert noted("COMPLETED", "100", "150") == [ended], "written once"


def test_what_changes_slurm_s_commands_is_not_passed_on() -> None:
    given = {"PATH": "/bin", "SLURM_CONF": "/etc/x", "SBATCH_PARTITION": "p", "SLURM_CLUSTERS": "c", "AWS_SECRET": "s"}
    assert slurm_environment(given) == {"PATH": "/bin", "SLURM_CONF": "/etc/x"}
    assert slurm_environment({**given, "HEADRACE_CLOUD_SLURM_CONF": "/etc/y"})["SLURM_CONF"] == "/etc/y"


def test_a_library_that_is_missing_is_told() -> None:
    require_extra("json", "any", "pool a")
    for module in ("no_such_library", "no_such.library", "json.no_such"):
        with pytest.raises(UnavailableError) as caught:
            require_extra(module, "slurm", "pool a")
        assert caught.value.code == "EXTRA_MISSING"
        assert "headrace[slurm]" in caught.value.remedy


def test_queues_have_no_spot() -> None:
    [pool] = slurm_site().pools
    [offer] = pool.offers
    with pytest.raises(InputError) as caught:
        Pool(pool.name, pool.cluster, (replace(offer, purchase=Purchase.SPOT),), slurm=pool.slurm)
    assert caught.value.code == "CONTRADICTORY_OFFER"
