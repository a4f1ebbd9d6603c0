"""What a permit opens in the object store, as a session policy: the exact text, what it allows, and what it never does."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.core.errors import HeadraceError, InputError, RefusedError
from infra.core.inventory import TrustZone
from infra.core.trust import PermitClaims, PermittedDataset
from infra.settings import SiteSettings
from infra.worker.store_access import ScopedStore, WholeStore, logger, store_access
from infra.worker.store_scope import MOST_POLICY_CHARACTERS, scope_of, session_policy
from tests.session_policies import Asked, allows

NOW_AT = 1_790_000_000.0
UNTIL_AT = NOW_AT + 600
HASH = "0" * 64
BUCKET = "arn:aws:s3:::headrace"
ROLE = "arn:aws:iam::111122223333:role/headrace-runs"


def dataset(name: str, version: str = "v1", sha256: str = HASH) -> PermittedDataset:
    return PermittedDataset(name, version, ("EU",), TrustZone.PUBLIC, sha256)


def ref(name: str, version: str = "v1", source: str = "aws-fra", sha256: str = HASH) -> dict[str, Any]:
    return {"role": "data", "name": name, "version": version, "source_site": source, "manifest_sha256": sha256}


CLAIMS = PermitClaims(
    id="permit-1",
    run_id="run-1:train",
    attempt=2,
    site="aws-fra",
    pool="aws-fra",
    offer="gpu",
    devices=1,
    work_sha256=HASH,
    datasets=(dataset("digits"), dataset("model", "v7")),
    residency=(),
    trust_zone=TrustZone.PUBLIC,
    cap_micro=60_000,
    issued_at=NOW_AT,
    expires_at=UNTIL_AT,
)
WORK = {"inputs": [ref("digits"), ref("model", "v7", "onprem-fra")]}


def policy_of(claims: PermitClaims = CLAIMS, work: dict[str, Any] = WORK, root: str = "store") -> dict[str, Any]:
    return json.loads(session_policy(scope_of(claims, work, UNTIL_AT), "headrace", root))


def test_the_policy_word_for_word() -> None:
    before = {"DateLessThan": {"aws:CurrentTime": "2026-09-21T14:23:20Z"}}
    here = f"{BUCKET}/store"
    copy, checkpoints = "sites/aws-fra/datasets/model/v7", "runs/run-1--train/checkpoints"
    attempt = "runs/run-1--train/attempts/2"
    reads = ("sites/aws-fra/datasets/digits/v1", "sites/onprem-fra/datasets/model/v7")
    assert policy_of() == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": [f"{here}/{prefix}/*" for prefix in reads],
                "Condition": before,
            },
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
                "Resource": [f"{here}/{copy}/*", f"{here}/{attempt}/*", f"{here}/{checkpoints}/*"],
                "Condition": before,
            },
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": BUCKET,
                "Condition": {
                    **before,
                    "StringLike": {"s3:prefix": [f"store/{prefix}/*" for prefix in (*reads, copy, checkpoints)]},
                },
            },
        ],
    }


def on(action: str, key: str) -> Asked:
    return Asked(f"s3:{action}", f"{BUCKET}/store/{key}")


def listing(prefix: str | None) -> Asked:
    return Asked("s3:ListBucket", BUCKET, {} if prefix is None else {"s3:prefix": prefix})


ALLOWED = [
    on("GetObject", "sites/aws-fra/datasets/digits/v1/manifest.json"),
    on("GetObject", "sites/aws-fra/datasets/digits/v1/deeper/part-00000.parquet"),
    on("GetObject", "sites/onprem-fra/datasets/model/v7/model.json"),
    on("PutObject", "sites/aws-fra/datasets/model/v7/model.json"),
    on("DeleteObject", "sites/aws-fra/datasets/model/v7/model.json"),
    on("PutObject", "runs/run-1--train/attempts/2/model.safetensors"),
    on("AbortMultipartUpload", "runs/run-1--train/attempts/2/model.safetensors"),
    on("PutObject", "runs/run-1--train/checkpoints/states/1.state"),
    on("GetObject", "runs/run-1--train/checkpoints/lighter/states/1.state"),
    on("DeleteObject", "runs/run-1--train/checkpoints/states/1.state"),
    listing("store/runs/run-1--train/checkpoints/states/"),
    listing("store/sites/aws-fra/datasets/digits/v1/manifest.json"),
]
FORBIDDEN = [
    *(
        on("GetObject", f"runs/{run}/x")
        for run in ("run-2/attempts/2", "run-2/checkpoints", "run-1--train2/attempts/2")
    ),
    *(on("GetObject", f"runs/run-1--train/attempts/{number}/result.json") for number in (1, 3, 20)),
    *(on("PutObject", f"runs/run-1--train/attempts/{number}/result.json") for number in (1, 3, 20)),
    on("PutObject", "runs/run-1--train/result.json"),
    on("GetObject", "sites/aws-fra/datasets/digits/v2/manifest.json"),
    on("GetObject", "sites/aws-fra/datasets/digits/v10/manifest.json"),
    on("GetObject", "sites/aws-fra/datasets/digits-hidden/v1/manifest.json"),
    on("GetObject", "sites/aws-fra/datasets/other/v1/manifest.json"),
    on("GetObject", "sites/cloud-us/datasets/digits/v1/manifest.json"),
    on("GetObject", "sites/onprem-fra/datasets/digits/v1/manifest.json"),
    on("PutObject", "sites/aws-fra/datasets/digits/v1/manifest.json"),
    on("PutObject", "sites/onprem-fra/datasets/model/v7/model.json"),
    on("DeleteObject", "sites/onprem-fra/datasets/model/v7/model.json"),
    *(
        on(action, f"{folder}/x")
        for action in ("GetObject", "PutObject", "DeleteObject")
        for folder in ("reports", "extensions", "artefacts/model", "landing/digits", "quarantine/digits")
    ),
    on("PutObjectAcl", "runs/run-1--train/attempts/2/x"),
    on("GetObjectVersion", "sites/aws-fra/datasets/digits/v1/manifest.json"),
    Asked("s3:GetObject", "arn:aws:s3:::headrace/sites/aws-fra/datasets/digits/v1/manifest.json"),
    Asked("s3:GetObject", "arn:aws:s3:::another/store/sites/aws-fra/datasets/digits/v1/manifest.json"),
    Asked("s3:PutBucketPolicy", BUCKET),
    *(listing(prefix) for prefix in (None, "", "store/", "store/runs/", "store/runs/run-1--train/", "store/reports/")),
    listing("store/runs/run-1--train/checkpoints"),
    listing("store/sites/aws-fra/datasets/"),
    Asked("s3:ListBucket", "arn:aws:s3:::another", {"s3:prefix": "store/runs/run-1--train/checkpoints/"}),
]


@pytest.mark.parametrize("asked", ALLOWED, ids=str)
def test_what_the_attempt_needs_is_allowed_until_its_end(asked: Asked) -> None:
    assert allows(policy_of(), asked, UNTIL_AT - 1)
    assert not allows(policy_of(), asked, UNTIL_AT)


@pytest.mark.parametrize("asked", FORBIDDEN, ids=str)
def test_nothing_else_is(asked: Asked) -> None:
    assert not allows(policy_of(), asked, NOW_AT)


@pytest.mark.parametrize(
    "work",
    [
        {"inputs": [ref("other")]},
        {"inputs": [ref("digits", "v2")]},
        {"inputs": [ref("digits", sha256="1" * 64)]},
        {"inputs": []},
        {},
    ],
)
def test_what_the_permit_does_not_list_opens_nothing(work: dict[str, Any]) -> None:
    scope = scope_of(CLAIMS, work, UNTIL_AT)
    assert (scope.reads, scope.copies) == ((), ())
    policy = policy_of(work=work)
    assert [statement["Action"] for statement in policy["Statement"]].count("s3:GetObject") == 0
    assert not any(allows(policy, asked, NOW_AT) for asked in ALLOWED if "/datasets/" in asked.resource)
    assert allows(policy, on("PutObject", "runs/run-1--train/attempts/2/x"), NOW_AT)


def test_a_store_that_is_a_whole_bucket() -> None:
    policy = policy_of(root="")
    assert allows(policy, Asked("s3:GetObject", f"{BUCKET}/sites/aws-fra/datasets/digits/v1/x"), NOW_AT)
    assert not allows(policy, on("GetObject", "sites/aws-fra/datasets/digits/v1/x"), NOW_AT)


BAD_NAMES = ["*", "v?", "${aws:username}", "..", "a/b", "", "v 1", "ü", "v1\n"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_could_mean_more_is_refused(name: str) -> None:
    def refused(claims: PermitClaims, work: dict[str, Any]) -> str:
        with pytest.raises(RefusedError) as caught:
            scope_of(claims, work, UNTIL_AT)
        return caught.value.code

    unsafe = "STORE_SCOPE_UNSAFE"
    assert refused(replace(CLAIMS, datasets=(dataset(name),)), {"inputs": [ref(name)]}) == unsafe
    assert refused(replace(CLAIMS, datasets=(dataset("digits", name),)), {"inputs": [ref("digits", name)]}) == unsafe
    assert refused(CLAIMS, {"inputs": [ref("digits", source=name)]}) == unsafe
    assert refused(replace(CLAIMS, site=name), {"inputs": [ref("digits")]}) == unsafe
    assert refused(replace(CLAIMS, run_id=name), {}) == unsafe
    with pytest.raises(RefusedError, match=unsafe):
        session_policy(scope_of(CLAIMS, WORK, UNTIL_AT), name or "*", "store")
    if name not in ("", "a/b", ".."):
        with pytest.raises(RefusedError, match=unsafe):
            session_policy(scope_of(CLAIMS, WORK, UNTIL_AT), "headrace", name)


@pytest.mark.parametrize("inputs", [["digits"], [{"name": "digits"}], 3, [{**ref("digits"), "name": []}]])
def test_inputs_that_cannot_be_read_are_refused(inputs: object) -> None:
    with pytest.raises(RefusedError, match="PERMIT_WRONG_WORK"):
        scope_of(CLAIMS, {"inputs": inputs}, UNTIL_AT)


def test_a_policy_is_never_longer_than_sts_takes() -> None:
    def made(count: int) -> str:
        names = [f"dataset-with-a-longer-name-{number}" for number in range(count)]
        claims = replace(CLAIMS, run_id="3b0c3f0e-6a52-4a2b-9d3c-1f2e3d4c5b6a:evaluate")
        claims = replace(claims, datasets=tuple(dataset(name, "2026-11-24-3b0c3f0e6a52") for name in names))
        work = {"inputs": [ref(name, "2026-11-24-3b0c3f0e6a52", "onprem-fra") for name in names]}
        return session_policy(scope_of(claims, work, UNTIL_AT), "headrace-production", "store")

    # An evaluation beside the champion, of data and models of another site, is the most that a work of these kinds reads.
    for count in range(4):
        assert len(made(count)) <= MOST_POLICY_CHARACTERS
    with pytest.raises(RefusedError) as caught:
        made(6)
    assert caught.value.code == "STORE_POLICY_TOO_LARGE"
    assert str(MOST_POLICY_CHARACTERS) in caught.value.problem
    assert caught.value.remedy


def test_a_long_policy_lists_only_where_it_writes() -> None:
    names = [f"dataset-with-a-longer-name-{number}" for number in range(3)]
    claims = replace(CLAIMS, datasets=tuple(dataset(name, "v" * 40) for name in names))
    policy = policy_of(claims, {"inputs": [ref(name, "v" * 40, "onprem-fra") for name in names]})
    source, copy = (f"sites/{site}/datasets/{names[0]}/{'v' * 40}/manifest.json" for site in ("onprem-fra", "aws-fra"))
    assert allows(policy, on("GetObject", source), NOW_AT)
    assert not allows(policy, listing(f"store/{source}"), NOW_AT)
    assert allows(policy, listing(f"store/{copy}"), NOW_AT)
    assert allows(policy, listing("store/runs/run-1--train/checkpoints/states/"), NOW_AT)


def documented(sid: str) -> dict[str, Any]:
    """The policy of docs/operations.md that has a statement of this name."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    policies = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    (found,) = [policy for policy in policies if sid in {one.get("Sid") for one in policy["Statement"]}]
    return found


@pytest.mark.parametrize("asked", ALLOWED, ids=str)
def test_the_documented_role_may_what_its_runs_need(asked: Asked) -> None:
    assert allows(documented("KeepCopiesAndWriteRuns"), asked, NOW_AT)


@pytest.mark.parametrize("folder", ["reports", "extensions", "artefacts", "landing", "quarantine"])
@pytest.mark.parametrize("action", ["GetObject", "PutObject", "DeleteObject"])
def test_the_documented_role_may_no_more(action: str, folder: str) -> None:
    role = documented("KeepCopiesAndWriteRuns")
    assert not allows(role, on(action, f"{folder}/x"), NOW_AT)
    assert not allows(role, listing(f"store/{folder}/"), NOW_AT)
    assert not allows(role, on("PutObject", "sites/onprem-fra/datasets/model/v7/x"), NOW_AT)


# --- settings -----------------------------------------------------------------------------------------------------

ENVIRON = {
    "HEADRACE_SITE": "aws-fra",
    "HEADRACE_SITE_DIR": "/tmp/site",
    "HEADRACE_SITE_KEY_FILE": "/tmp/key.pem",
    "HEADRACE_PERMIT_PUBLIC_KEY_FILE": "/tmp/permit.pem",
    "HEADRACE_STORE_URL": "s3://headrace/store",
    "AWS_ACCESS_KEY_ID": "long-lived",
    "AWS_SECRET_ACCESS_KEY": "long-lived-secret",
    "AWS_PROFILE": "site",
    "AWS_REGION": "eu-central-1",
}


def made(**changes: str) -> ScopedStore | WholeStore:
    environ = ENVIRON | changes
    return store_access(SiteSettings.from_env(environ), environ)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the store's door warns of, whatever other tests have made of the process's logging."""
    said: list[str] = []
    monkeypatch.setattr(logger, "warning", lambda message, *values: said.append(message % values))
    return said


def test_without_a_role_runs_get_the_workers_credentials_and_it_is_said(warnings: list[str]) -> None:
    whole = made()
    assert isinstance(whole, WholeStore)
    assert whole.grant(CLAIMS, WORK, NOW_AT).variables["AWS_SECRET_ACCESS_KEY"] == "long-lived-secret"
    [said] = warnings
    assert "see the whole store" in said
    assert "long-lived" not in said
    assert isinstance(made(HEADRACE_STORE_URL="file:///tmp/store"), WholeStore)
    assert warnings == [said]


def test_with_a_role_only_the_stores_place_is_passed_on(warnings: list[str]) -> None:
    scoped = made(HEADRACE_STORE_ROLE_ARN=ROLE)
    assert isinstance(scoped, ScopedStore)
    assert scoped.where == {"AWS_REGION": "eu-central-1"}
    assert (scoped.bucket, scoped.root, scoped.tokens.longest_s) == ("headrace", "store", 3600)
    assert "long-lived" not in repr(scoped)
    assert warnings == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"HEADRACE_STORE_ROLE_ARN": "headrace-runs"}, "BAD_ROLE_ARN"),
        ({"HEADRACE_STORE_ROLE_ARN": "arn:aws:iam::111122223333:user/x"}, "BAD_ROLE_ARN"),
        ({"HEADRACE_STORE_URL": "file:///tmp/store"}, "ROLE_WITHOUT_S3"),
        ({"HEADRACE_STORE_ROLE_MAX_S": "899"}, "BAD_NUMBER"),
        ({"HEADRACE_STORE_ROLE_MAX_S": "43201"}, "BAD_NUMBER"),
        ({"HEADRACE_STORE_ROLE_MAX_S": "1h"}, "BAD_NUMBER"),
    ],
)
def test_a_role_that_cannot_be_is_refused_at_the_workers_start(changes: dict[str, str], code: str) -> None:
    with pytest.raises(InputError) as caught:
        made(**{"HEADRACE_STORE_ROLE_ARN": ROLE} | changes)
    assert caught.value.code == code
    assert isinstance(caught.value, HeadraceError)


def test_site_settings_are_made_again_from_their_environment() -> None:
    settings = SiteSettings.from_env(ENVIRON | {"HEADRACE_STORE_ROLE_ARN": ROLE, "HEADRACE_STORE_ROLE_MAX_S": "7200"})
    assert (settings.store_role_arn, settings.store_role_max_s) == (ROLE, 7200)
    assert SiteSettings.from_env(settings.environment()) == settings


def test_another_partition_is_the_roles() -> None:
    text = session_policy(scope_of(CLAIMS, WORK, UNTIL_AT), "headrace", "store", "aws-us-gov")
    assert "arn:aws-us-gov:s3:::headrace/store/runs" in text
    assert "arn:aws:" not in text
