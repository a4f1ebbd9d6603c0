"""The first schema: money, runs, decisions, attempts, publications, datasets, arrivals, history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.adapters.sql.triggers import append_only, removal

revision = "0001"
down_revision = None

_APPEND_ONLY = ("ledger_entries", "decisions", "publications")
_TABLES = (
    "observations",
    "arrivals",
    "dataset_versions",
    "publications",
    "attempts",
    "decisions",
    "runs",
    "ledger_entries",
    "reservations",
    "accounts",
)


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("limit_micro", sa.BigInteger(), nullable=False),
        sa.Column("reserved_micro", sa.BigInteger(), nullable=False),
        sa.Column("settled_micro", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("reserved_micro >= 0 AND settled_micro >= 0", name=op.f("ck_accounts_not_negative")),
        sa.CheckConstraint("settled_micro + reserved_micro <= limit_micro", name=op.f("ck_accounts_within_limit")),
        sa.PrimaryKeyConstraint("tenant", "period", name=op.f("pk_accounts")),
    )
    op.create_table(
        "arrivals",
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.Text(), nullable=False),
        sa.Column("flow_run_id", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "version", "content_sha256", name=op.f("pk_arrivals")),
    )
    op.create_table(
        "dataset_versions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("quarantined", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("copies_json", sa.Text(), nullable=False),
        sa.Column("residency_json", sa.Text(), nullable=False),
        sa.Column("trust_zone", sa.Text(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("manifest_sha256", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.Double(), nullable=False),
        sa.Column("report_json", sa.Text(), nullable=True),
        sa.CheckConstraint("quarantined IN (0, 1)", name=op.f("ck_dataset_versions_flag")),
        sa.PrimaryKeyConstraint("name", "version", "quarantined", name=op.f("pk_dataset_versions")),
        sa.UniqueConstraint("position", name=op.f("uq_dataset_versions_position")),
    )
    op.create_table(
        "observations",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("offer", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.Column("units", sa.Double(), nullable=False),
        sa.Column("run_s", sa.Double(), nullable=False),
        sa.Column("boot_s", sa.Double(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "attempt", name=op.f("pk_observations")),
        sa.UniqueConstraint("position", name=op.f("uq_observations_position")),
    )
    op.create_index(op.f("ix_observations_kind_at"), "observations", ["kind", "at"], unique=False)
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("flow_run_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_runs")),
        sa.UniqueConstraint("position", name=op.f("uq_runs_position")),
    )
    op.create_index(op.f("ix_runs_created_at_position"), "runs", ["created_at", "position"], unique=False)
    op.create_index(op.f("ix_runs_state"), "runs", ["state"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("offer", sa.Text(), nullable=False),
        sa.Column("purchase", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.Column("cap_micro", sa.BigInteger(), nullable=False),
        sa.Column("permit_id", sa.Text(), nullable=False),
        sa.Column("permit_json", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("expected_finish_at", sa.Double(), nullable=False),
        sa.Column("child_run_id", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("metered_json", sa.Text(), nullable=True),
        sa.Column("charged_json", sa.Text(), nullable=True),
        sa.CheckConstraint("devices >= 1 AND attempt >= 1", name=op.f("ck_attempts_positive")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_attempts_run_id")),
        sa.PrimaryKeyConstraint("run_id", "attempt", name=op.f("pk_attempts")),
        sa.UniqueConstraint("permit_id", name=op.f("uq_attempts_permit_id")),
    )
    op.create_index(op.f("ix_attempts_site_offer_state"), "attempts", ["site", "offer", "state"], unique=False)
    op.create_index(op.f("ix_attempts_state"), "attempts", ["state"], unique=False)
    op.create_table(
        "decisions",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("decided_at", sa.Double(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("request_json", sa.Text(), nullable=False),
        sa.Column("snapshot_json", sa.Text(), nullable=False),
        sa.Column("decision_json", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_decisions_run_id")),
        sa.PrimaryKeyConstraint("run_id", "sequence", name=op.f("pk_decisions")),
        sa.UniqueConstraint("run_id", "digest", name=op.f("uq_decisions_run_id_digest")),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("amount_micro", sa.BigInteger(), nullable=False),
        sa.Column("parts_json", sa.Text(), nullable=True),
        sa.Column("step", sa.Text(), nullable=False),
        sa.CheckConstraint("amount_micro >= 0", name=op.f("ck_ledger_entries_not_negative")),
        sa.ForeignKeyConstraint(
            ["tenant", "period"], ["accounts.tenant", "accounts.period"], name=op.f("fk_ledger_entries_tenant_period")
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_ledger_entries")),
        sa.UniqueConstraint("run_id", "attempt", "step", name=op.f("uq_ledger_entries_run_id_attempt_step")),
    )
    op.create_index(op.f("ix_ledger_entries_tenant_period"), "ledger_entries", ["tenant", "period"], unique=False)
    op.create_table(
        "reservations",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("reserved_micro", sa.BigInteger(), nullable=False),
        sa.Column("charged_micro", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "charged_micro IS NULL OR charged_micro BETWEEN 0 AND reserved_micro",
            name=op.f("ck_reservations_within_reserved"),
        ),
        sa.CheckConstraint("reserved_micro >= 0", name=op.f("ck_reservations_not_negative")),
        sa.ForeignKeyConstraint(
            ["tenant", "period"], ["accounts.tenant", "accounts.period"], name=op.f("fk_reservations_tenant_period")
        ),
        sa.PrimaryKeyConstraint("run_id", "attempt", name=op.f("pk_reservations")),
    )
    op.create_table(
        "publications",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("manifest_sha256", sa.Text(), nullable=False),
        sa.Column("published_at", sa.Double(), nullable=False),
        sa.Column("metrics_json", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id", "attempt"], ["attempts.run_id", "attempts.attempt"], name=op.f("fk_publications_run_id_attempt")
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_publications")),
    )

    for table in _APPEND_ONLY:
        for statement in append_only(table, op.get_context().dialect.name):
            op.execute(statement)


def downgrade() -> None:
    for table in _APPEND_ONLY:
        for statement in removal(table, op.get_context().dialect.name):
            op.execute(statement)
    for table in _TABLES:
        op.drop_table(table)
