"""The queue: where each waiting run stands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "queue_entries",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("entry_json", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_queue_entries_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_queue_entries")),
    )


def downgrade() -> None:
    op.drop_table("queue_entries")
