"""What the control plane and the sites need from the world. Each port has an in-memory adapter and a contract suite."""

from infra.core.placement.learning import Observation
from infra.ports.clusters import ClusterAddress, ClusterProvider, Lease, Reaped, ReapReason
from infra.ports.money import Clock, Ledger, LedgerEntry
from infra.ports.objects import ObjectStore, PermitSigner, PermitVerifier
from infra.ports.records import (
    AttemptRecord,
    Catalog,
    CatalogEntry,
    ControlStore,
    DecisionRecord,
    History,
    PolicyChange,
    PolicyRecord,
    PolicyStore,
    Publication,
    RunRecord,
    RunStore,
    SpotStore,
)

__all__ = [
    "AttemptRecord",
    "Catalog",
    "CatalogEntry",
    "Clock",
    "ClusterAddress",
    "ClusterProvider",
    "ControlStore",
    "DecisionRecord",
    "History",
    "Lease",
    "Ledger",
    "LedgerEntry",
    "ObjectStore",
    "Observation",
    "PermitSigner",
    "PermitVerifier",
    "PolicyChange",
    "PolicyRecord",
    "PolicyStore",
    "Publication",
    "ReapReason",
    "Reaped",
    "RunRecord",
    "RunStore",
    "SpotStore",
]
