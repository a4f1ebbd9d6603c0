"""Fixtures that several kinds of test share."""

from __future__ import annotations

from tests.databases import database, database_url, postgres, sqlite_template

__all__ = ["database", "database_url", "postgres", "sqlite_template"]
