"""Captured changes become the daily figures of the dashboard; the cost follows the change, not the history."""

from __future__ import annotations

from sqlalchemy import Engine

from threads_agent_dagster.db import metrics as db
from threads_agent_dagster.work.drain import Origin

ASSET = "dashboard_metrics"
CODE_VERSION = "1"


def refresh(engine: Engine, origin: Origin) -> int:
    """Folds all captured changes; returns how many."""
    with engine.begin() as connection:
        return db.refresh(connection, origin.run_id, origin.code_version)
