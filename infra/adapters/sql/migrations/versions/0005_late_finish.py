"""When an attempt's devices are back with nine of ten: other runs' waits are as uncertain as that."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("attempts", sa.Column("late_finish_at", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("attempts", "late_finish_at")
