"""What attempts showed of spot capacity, and why an attempt ended where that was no fault of the work."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.adapters.sql.triggers import append_only, removal

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("attempts", sa.Column("ending", sa.Text(), nullable=True))
    op.create_table(
        "spot_sightings",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("offer", sa.Text(), nullable=False),
        sa.Column("since_at", sa.Double(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "attempt", "what", name=op.f("pk_spot_sightings")),
        sa.UniqueConstraint("position", name=op.f("uq_spot_sightings_position")),
    )
    op.create_index(op.f("ix_spot_sightings_site_offer_at"), "spot_sightings", ["site", "offer", "at"])
    for statement in append_only("spot_sightings", op.get_context().dialect.name):
        op.execute(statement)


def downgrade() -> None:
    for statement in removal("spot_sightings", op.get_context().dialect.name):
        op.execute(statement)
    op.drop_table("spot_sightings")
    op.drop_column("attempts", "ending")
