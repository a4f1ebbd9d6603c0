"""Policies: the current one and all before it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.adapters.sql.triggers import append_only, removal

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "policies",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("source_json", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_policies")),
    )
    for statement in append_only("policies", op.get_context().dialect.name):
        op.execute(statement)


def downgrade() -> None:
    for statement in removal("policies", op.get_context().dialect.name):
        op.execute(statement)
    op.drop_table("policies")
