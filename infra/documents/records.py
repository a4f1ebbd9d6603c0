"""What the record store keeps of a decision: its request, its snapshot and itself, losslessly."""

from __future__ import annotations

from infra.core.placement.decision import Decision
from infra.core.placement.snapshot import Snapshot
from infra.core.policy_source import PolicySource
from infra.core.workload import WorkloadRequest
from infra.documents.codec import read_record
from infra.documents.files import parse_json
from infra.documents.policy_rules import without_rules


def request_from_json(text: str | bytes, where: str = "request record") -> WorkloadRequest:
    """The request of its canonical JSON: ``canonical(request_from_json(text)) == text``.

    Raises:
        InputError: with the dotted path of what is wrong.
    """
    return read_record(WorkloadRequest, parse_json(text, where), where)


def snapshot_from_json(text: str | bytes, where: str = "snapshot record") -> Snapshot:
    """The snapshot of its canonical JSON: ``canonical(snapshot_from_json(text)) == text``.

    Records from before policies were Cedar hold rules; they can be read and shown, with the rules as Cedar.

    Raises:
        InputError: with the dotted path of what is wrong.
    """
    tree = parse_json(text, where)
    if isinstance(tree, dict) and "policy" in tree:
        tree = without_rules(tree, where)
    return read_record(Snapshot, tree, where)


def decision_from_json(text: str | bytes, where: str = "decision record") -> Decision:
    """The decision of its canonical JSON: ``canonical(decision_from_json(text)) == text``.

    Raises:
        InputError: with the dotted path of what is wrong.
    """
    return read_record(Decision, parse_json(text, where), where, signed=True)


def policy_from_json(text: str | bytes, where: str = "policy record") -> PolicySource:
    """The policy of its canonical JSON: ``canonical(policy_from_json(text)) == text``.

    Raises:
        InputError: with the dotted path of what is wrong.
    """
    return read_record(PolicySource, parse_json(text, where), where)
