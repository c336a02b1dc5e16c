"""Reviving what was given up, once its cause is mended."""

from __future__ import annotations

from sqlalchemy import Connection

from threads_agent_dagster.db import pending, tasks


def redrive(connection: Connection, asset: str | None, key: str | None) -> int:
    """Lets the dead rows, all or those named, be tried again from the first attempt; returns how many there were."""
    revived = pending.redrive(connection, asset, key)
    tasks.requeue(connection, revived)
    return len(revived)
