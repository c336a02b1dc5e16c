"""Letting go of what is old, within the limits that `db.retention` names."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine

from threads_agent_dagster.db import retention
from threads_agent_dagster.settings import Settings


def sweep(engine: Engine, settings: Settings) -> Mapping[str, int]:
    """How many rows of what were let go; what is kept for ever is missing."""
    removed = {}
    for name in retention.RULES:
        if days := getattr(settings, f"keep_{name}_days"):
            removed[name] = _remove(engine, name, days)
    if settings.keep_event_logs_days:
        removed["event_logs"] = _remove_event_logs(engine, settings.keep_event_logs_days)
    return removed


def _remove(engine: Engine, name: str, days: int) -> int:
    total, batch = 0, retention.BATCH
    while batch == retention.BATCH:
        with engine.begin() as connection:
            batch = retention.remove(connection, name, days)
        total += batch
    return total


def _remove_event_logs(engine: Engine, days: int) -> int:
    with engine.connect() as connection:
        after = 0 if retention.has_event_logs(connection) else None
    total = 0
    while after is not None:
        with engine.begin() as connection:
            removed, after = retention.remove_event_logs(connection, days, after)
        total += removed
    return total
