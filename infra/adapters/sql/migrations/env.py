"""Run by Alembic: migrates on the connection, and in the transaction, that :mod:`infra.adapters.sql.schema` holds."""

from __future__ import annotations

from alembic import context

from infra.adapters.sql.schema import VERSION_TABLE
from infra.adapters.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
