"""The state of tasks as their pending rows move: processing, completed, failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, text

from threads_agent_dagster.db.pending import Claimed

_PREFIX = "task:"

_BEGIN = text("""
    UPDATE tasks SET status = 'processing', started_at = coalesce(started_at, clock_timestamp()), retry_count = attempts
    FROM unnest(cast(:ids AS bigint[]), cast(:attempts AS int[])) AS claimed (id, attempts)
    WHERE tasks.id = claimed.id AND status IN ('queued', 'processing', 'failed')
""")


def begin(connection: Connection, rows: Sequence[Claimed]) -> None:
    """Marks the tasks behind claimed rows as processing; rows that no task asked for are passed over."""
    claimed = [(task_id(row.key), row.attempts) for row in rows if row.key.startswith(_PREFIX)]
    if claimed:
        ids, attempts = zip(*claimed, strict=True)
        connection.execute(_BEGIN, {"ids": list(ids), "attempts": list(attempts)})


_COMPLETE = text(
    "UPDATE tasks SET status = 'completed', completed_at = clock_timestamp(), error_message = NULL WHERE id = ANY(:ids)"
)


def complete(connection: Connection, keys: Iterable[str]) -> None:
    """Marks the tasks among the pending keys as completed."""
    if ids := [task_id(key) for key in keys if key.startswith(_PREFIX)]:
        connection.execute(_COMPLETE, {"ids": ids})


_FAIL = text("""
    UPDATE tasks SET status = 'failed', completed_at = clock_timestamp(), error_message = dead.error
    FROM unnest(cast(:ids AS bigint[]), cast(:errors AS text[])) AS dead (id, error) WHERE tasks.id = dead.id
""")


def fail(connection: Connection, dead: Mapping[str, str]) -> None:
    """Marks the tasks among the dead keys as failed, with their errors."""
    errors = {task_id(key): error for key, error in dead.items() if key.startswith(_PREFIX)}
    if errors:
        connection.execute(_FAIL, {"ids": list(errors), "errors": list(errors.values())})


def task_id(key: str) -> int:
    """The id in `task:<id>`."""
    return int(key.removeprefix(_PREFIX))
