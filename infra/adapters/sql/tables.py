"""Tables of the control plane's database, the same on SQLite and PostgreSQL.

Money is whole micro-dollars in 64-bit integers, instants are double-precision epoch seconds, values with structure
are canonical JSON text. The migrations are what makes the schema; a test holds them equal to these tables.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = "0005"
"""The newest migration, which is the one that this code needs."""

APPEND_ONLY = ("ledger_entries", "decisions", "publications", "policies", "spot_sightings")
"""Tables in which triggers refuse to change or delete a row."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str, *, primary_key: bool = False, unique: bool | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, primary_key=primary_key, unique=unique)


def _money(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _instant(name: str) -> Column[float]:
    return Column(name, Double, nullable=False)


accounts = Table(
    "accounts",
    metadata,
    _text("tenant", primary_key=True),
    _text("period", primary_key=True),
    _money("limit_micro"),
    _money("reserved_micro"),
    _money("settled_micro"),
    CheckConstraint("reserved_micro >= 0 AND settled_micro >= 0", name="not_negative"),
    CheckConstraint("settled_micro + reserved_micro <= limit_micro", name="within_limit"),
)

reservations = Table(
    "reservations",
    metadata,
    _text("run_id", primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    _text("tenant"),
    _text("period"),
    _money("reserved_micro"),
    Column("charged_micro", BigInteger),  # null while the reservation is open
    ForeignKeyConstraint(["tenant", "period"], ["accounts.tenant", "accounts.period"]),
    CheckConstraint("reserved_micro >= 0", name="not_negative"),
    CheckConstraint("charged_micro IS NULL OR charged_micro BETWEEN 0 AND reserved_micro", name="within_reserved"),
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    _instant("at"),
    _text("kind"),
    _text("tenant"),
    _text("period"),
    _text("run_id"),
    Column("attempt", Integer, nullable=False),
    _money("amount_micro"),
    Column("parts_json", Text),
    _text("step"),  # what happens once per attempt: reserve, extend <name>, close; for a limit its own sequence
    UniqueConstraint("run_id", "attempt", "step"),
    ForeignKeyConstraint(["tenant", "period"], ["accounts.tenant", "accounts.period"]),
    CheckConstraint("amount_micro >= 0", name="not_negative"),
    Index(None, "tenant", "period"),
)

runs = Table(
    "runs",
    metadata,
    _text("run_id", primary_key=True),
    Column("position", BigInteger, nullable=False, unique=True),  # order of insertion
    _text("flow_run_id"),
    _text("kind"),
    _text("tenant"),
    _text("state"),
    Column("attempt", Integer, nullable=False),
    _instant("created_at"),
    _text("detail"),
    Index(None, "created_at", "position"),
    Index(None, "state"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    _instant("decided_at"),
    _text("digest"),
    _text("request_json"),
    _text("snapshot_json"),
    _text("decision_json"),
    UniqueConstraint("run_id", "digest"),
)

queue_entries = Table(
    "queue_entries",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True),
    _text("entry_json"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    _text("state"),
    _text("site"),
    _text("pool"),
    _text("offer"),
    _text("purchase"),
    _text("device"),
    Column("devices", Integer, nullable=False),
    _money("cap_micro"),
    _text("permit_id", unique=True),
    _text("permit_json"),
    _instant("started_at"),
    _instant("expected_finish_at"),
    Column("child_run_id", Text),
    Column("finished_at", Double),
    Column("metered_json", Text),
    Column("charged_json", Text),
    Column("ending", Text),
    Column("late_finish_at", Double),
    CheckConstraint("devices >= 1 AND attempt >= 1", name="positive"),
    Index(None, "site", "offer", "state"),
    Index(None, "state"),
)

publications = Table(
    "publications",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("attempt", Integer, nullable=False),
    _text("name"),
    _text("version"),
    _text("uri"),
    _text("manifest_sha256"),
    _instant("published_at"),
    _text("metrics_json"),
    ForeignKeyConstraint(["run_id", "attempt"], ["attempts.run_id", "attempts.attempt"]),
)

dataset_versions = Table(
    "dataset_versions",
    metadata,
    _text("name", primary_key=True),
    _text("version", primary_key=True),
    # An accepted and a quarantined version may have one name: bad data may land under the name of good data.
    Column("quarantined", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False, unique=True),
    Column("bytes", BigInteger, nullable=False),
    _text("copies_json"),
    _text("residency_json"),
    _text("trust_zone"),
    _text("uri"),
    _text("manifest_sha256"),
    _instant("recorded_at"),
    Column("report_json", Text),
    CheckConstraint("quarantined IN (0, 1)", name="flag"),
)

arrivals = Table(
    "arrivals",
    metadata,
    _text("dataset", primary_key=True),
    _text("version", primary_key=True),
    _text("content_sha256", primary_key=True),
    _text("flow_run_id"),
    _instant("claimed_at"),
)

observations = Table(
    "observations",
    metadata,
    _text("run_id", primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False, unique=True),
    _text("kind"),
    _text("site"),
    _text("offer"),
    _text("device"),
    Column("devices", Integer, nullable=False),
    Column("units", Double, nullable=False),
    Column("run_s", Double, nullable=False),
    Column("boot_s", Double, nullable=False),
    _instant("at"),
    Index(None, "kind", "at"),
)

policies = Table(
    "policies",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),  # the largest one is the current policy
    _instant("at"),
    _text("change"),
    _text("version"),
    _text("why"),
    _text("source_json"),
)

spot_sightings = Table(
    "spot_sightings",
    metadata,
    _text("run_id", primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    _text("what", primary_key=True),
    Column("position", BigInteger, nullable=False, unique=True),
    _text("site"),
    _text("offer"),
    _instant("since_at"),
    _instant("at"),
    Index(None, "site", "offer", "at"),
)
