"""The contract of permit signers and verifiers: whatever is signed comes back equal, and nothing else comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.adapters.permits import PermitSigner, PermitVerifier, create_key_pair
from infra.core.errors import RefusedError
from infra.core.inventory import TrustZone
from infra.core.trust import PermitClaims, PermittedDataset
from infra.ports import PermitSigner as SignerPort
from infra.ports import PermitVerifier as VerifierPort
from tests.contract.examples import permit

Pair = tuple[SignerPort, VerifierPort]
TEXT = st.text(min_size=1, max_size=20)
TAGS = st.lists(st.sampled_from(["EU", "DE", "PUBLIC"]), max_size=3).map(tuple)
TIMES = st.floats(0, 4e9, allow_nan=False)
COUNTS = st.integers(0, 10**12)
DATASETS = st.builds(PermittedDataset, TEXT, TEXT, TAGS, st.sampled_from(TrustZone), TEXT)
CLAIMS = st.builds(
    PermitClaims,
    id=TEXT,
    run_id=TEXT,
    attempt=COUNTS,
    site=TEXT,
    pool=TEXT,
    offer=TEXT,
    devices=COUNTS,
    work_sha256=TEXT,
    datasets=st.lists(DATASETS, max_size=3).map(tuple),
    residency=TAGS,
    trust_zone=st.sampled_from(TrustZone),
    cap_micro=COUNTS,
    issued_at=TIMES,
    expires_at=TIMES,
    cluster_lease=st.just("") | TEXT,
)


def in_memory(_directory: Path) -> Pair:
    signer = PermitSigner(Ed25519PrivateKey.from_private_bytes(b"k" * 32))
    return signer, signer.verifier()


def from_files(directory: Path) -> Pair:
    private, public = directory / "permit.pem", directory / "permit.pub.pem"
    create_key_pair(private, public)
    return PermitSigner.from_file(private), PermitVerifier.from_file(public)


@pytest.fixture(params=[in_memory, from_files], ids=lambda make: make.__name__)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    make: Callable[[Path], Pair] = request.param
    return make(tmp_path)


def test_signed_claims_come_back(pair: Pair) -> None:
    signer, verifier = pair
    assert verifier.verify(signer.sign(permit())) == permit()


def test_times_are_not_the_verifiers_business(pair: Pair) -> None:
    signer, verifier = pair
    expired = permit(issued_at=1.0, expires_at=2.0)
    assert verifier.verify(signer.sign(expired)) == expired


def test_a_token_of_another_key_is_forged(pair: Pair) -> None:
    _, verifier = pair
    stranger = PermitSigner(Ed25519PrivateKey.from_private_bytes(b"x" * 32))
    with pytest.raises(RefusedError) as refused:
        verifier.verify(stranger.sign(permit()))
    assert refused.value.code == "PERMIT_FORGED"


@pytest.mark.parametrize("position", range(0, 300, 7))
def test_no_changed_character_passes(pair: Pair, position: int) -> None:
    signer, verifier = pair
    token = signer.sign(permit())
    changed = "A" if token[position] != "A" else "B"
    with pytest.raises(RefusedError) as refused:
        verifier.verify(token[:position] + changed + token[position + 1 :])
    assert refused.value.code in ("PERMIT_FORGED", "PERMIT_MALFORMED")


@given(CLAIMS)
@settings(max_examples=20, deadline=None)
def test_all_claims_survive_the_journey(claims: PermitClaims) -> None:
    signer, verifier = in_memory(Path())
    assert verifier.verify(signer.sign(claims)) == claims


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_text_is_refused_and_breaks_nothing(token: str) -> None:
    _, verifier = in_memory(Path())
    with pytest.raises(RefusedError):
        verifier.verify(token)
