"""The Prefect worker type ``headrace`` (entry point ``prefect.collections``), which Prefect finds by importing this."""

from __future__ import annotations

from infra.worker.worker import HeadraceWorker

__all__ = ["HeadraceWorker"]
