"""Alerts in the outbox: one for each run that failed for good and for each row that died."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, text

from threads_agent_dagster.db import outbox

TOPIC: Final = "alerts"

_TELL_DEAD = text(
    "INSERT INTO outbox (topic, key, payload) "
    "SELECT :topic, concat_ws(':', 'dead', asset, key, change), jsonb_build_object('type', 'row.dead', 'asset', asset, "
    "'key', key, 'day', day, 'attempts', attempts, 'error', error) FROM pending "
    "WHERE asset = :asset AND key = ANY(:keys) AND dead_at IS NOT NULL ORDER BY key ON CONFLICT (topic, key) DO NOTHING"
)


def tell_dead(connection: Connection, asset: str, keys: Iterable[str]) -> None:
    """Belongs in the transaction in which the rows die; an alert that died itself is told of by the log alone."""
    if asset != TOPIC:
        connection.execute(_TELL_DEAD, {"topic": TOPIC, "asset": asset, "keys": list(keys)})


_TOLD = text("SELECT substr(key, 5) FROM outbox WHERE topic = :topic AND key = ANY(:keys)")


def told_runs(connection: Connection, run_ids: Iterable[str]) -> set[str]:
    """Which of these runs were told of."""
    keys = [f"run:{run_id}" for run_id in run_ids]
    return set(connection.execute(_TOLD, {"topic": TOPIC, "keys": keys}).scalars())


def tell_failed_run(connection: Connection, run_id: str, job: str, error: str, url: str) -> bool:
    """Whether this run was not told of yet."""
    payload = {"type": "run.failed", "run_id": run_id, "job": job, "error": error, "url": url}
    return outbox.append(connection, TOPIC, f"run:{run_id}", payload)
