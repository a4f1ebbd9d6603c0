"""Extensions of permits in the object store, where the control plane leaves them and the permit's site looks for them.

Key: ``extensions/<run>/<attempt>.jws``, beside the site's reports and not among them. Whoever can write to the store can
put a file there, but only the control plane can sign one; an older one that is put back lowers no cap.
"""

from __future__ import annotations

from infra.core.canonical import run_key
from infra.core.errors import UnavailableError
from infra.core.trust import PermitClaims, PermitExtension, extended_cap
from infra.ports import ObjectStore, PermitSigner, PermitVerifier


def extension_key(run_id: str, attempt: int) -> str:
    """The object's key."""
    return f"extensions/{run_key(run_id)}/{attempt}.jws"


def leave_extension(store: ObjectStore, signer: PermitSigner, extension: PermitExtension) -> None:
    """Sign an extension and put it in its place; a later one takes the place of the earlier."""
    store.put(extension_key(extension.run_id, extension.attempt), signer.sign_extension(extension).encode())


def read_extended_cap(store: ObjectStore, verifier: PermitVerifier, claims: PermitClaims) -> int | None:
    """The cap to which the permit is extended, in micro-dollars; ``None`` when it is not.

    Raises:
        RefusedError: What :func:`infra.core.trust.extended_cap` and the verifier raise.
        UnavailableError: The store does not answer.
    """
    try:
        token = store.get(extension_key(claims.run_id, claims.attempt))
    except UnavailableError as problem:
        if problem.code == "NOT_FOUND":
            return None
        raise
    return extended_cap(claims, verifier.verify_extension(token.decode("utf-8", "replace")))
