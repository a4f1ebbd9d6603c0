"""The control plane's database in SQL: SQLite in a file by default, PostgreSQL by URL.

:func:`migrate` makes or updates the schema, :func:`open_database` opens a database that has it.
"""

from __future__ import annotations

from infra.adapters.sql.database import Database, open_database
from infra.adapters.sql.schema import migrate

__all__ = ["Database", "migrate", "open_database"]
