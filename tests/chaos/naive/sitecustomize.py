"""The naive way in place of the queue, for every process of a platform: a cursor, and no fence.

Python imports a module of this name by itself when its folder is on PYTHONPATH. What is beyond the cursor is new; the
cursor moves before the work is done; whoever has computed something stores it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from sqlalchemy import Connection, text

from threads_agent_dagster.db import pending
from threads_agent_dagster.db.pending import Batch, Claimed, Days, Waiting

TABLE = text("CREATE TABLE IF NOT EXISTS naive_cursor (asset text PRIMARY KEY, value bigint NOT NULL, pid int)")
LOCK = text("SELECT pg_advisory_xact_lock(4711)")
NEW = text(
    "SELECT key, day, change, priority FROM pending LEFT JOIN naive_cursor USING (asset) "
    "WHERE asset = :asset AND change > coalesce(value, 0) "
    "AND (cast(:first AS date) IS NULL OR day BETWEEN :first AND :last) ORDER BY change LIMIT :limit"
)
MOVE = text(
    "INSERT INTO naive_cursor VALUES (:asset, :value, :pid) "
    "ON CONFLICT (asset) DO UPDATE SET value = excluded.value, pid = excluded.pid"
)
WAITING = text(
    "SELECT asset, day, split_part(key, ':', 1) AS kind, count(*) AS rows, max(change) AS newest FROM pending "
    "LEFT JOIN naive_cursor USING (asset) WHERE change > coalesce(value, 0) GROUP BY asset, day, kind"
)
FINISH = text("DELETE FROM pending WHERE asset = :asset AND key = ANY(:keys)")


def claim(
    connection: Connection, asset: str, days: Days | None, *, limit: int, again: bool, **_: object
) -> Batch | None:
    if again:
        return None
    _prepare(connection)
    window = {"first": days.start if days else None, "last": days.end if days else None}
    found = connection.execute(NEW, {"asset": asset, "limit": limit} | window).all()
    if not found:
        return None
    connection.execute(MOVE, {"asset": asset, "value": found[-1].change, "pid": os.getpid()})
    rows = [Claimed(row.key, row.day, row.change, 1, row.priority) for row in found]
    return Batch(asset, found[-1].change, rows)


def fence(connection: Connection, batch: Batch, keys: Sequence[str]) -> set[str]:
    return set(keys)


def finish(connection: Connection, batch: Batch, keys: Sequence[str]) -> None:
    connection.execute(FINISH, {"asset": batch.asset, "keys": list(keys)})


def waiting(connection: Connection) -> list[Waiting]:
    _prepare(connection)
    return [Waiting(row.asset, row.day, row.rows, row.newest, row.kind) for row in connection.execute(WAITING)]


def _prepare(connection: Connection) -> None:
    connection.execute(LOCK)
    connection.execute(TABLE)


for name in (claim, fence, finish, waiting):
    setattr(pending, name.__name__, name)
