"""What was asked for, and its state as the pending rows move: queued, processing, completed, failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

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


_REQUEUE = text("""
    UPDATE tasks SET status = 'queued', completed_at = NULL, error_message = NULL
    WHERE id = ANY(:ids) AND status = 'failed'
""")


def requeue(connection: Connection, keys: Iterable[str]) -> None:
    """Marks the failed tasks among the pending keys as queued."""
    ids = [task_id(key) for key in keys if key.startswith(_PREFIX)]
    if ids:
        connection.execute(_REQUEUE, {"ids": ids})


def task_id(key: str) -> int:
    """The id in `task:<id>`."""
    return int(key.removeprefix(_PREFIX))


@dataclass(frozen=True, slots=True)
class Task:
    """A task as its caller sees it; `post_id` is the post that it made."""

    id: int
    type: str
    payload: Mapping[str, Any]
    priority: int
    status: str
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    error: str | None
    retry_count: int
    post_id: int | None


_INSERT = text(
    "INSERT INTO tasks (type, payload, priority, import_id) VALUES (:type, :payload, :priority, :import_id) "
    "RETURNING id, created_at"
).bindparams(bindparam("payload", type_=JSONB))


def insert(
    connection: Connection, type_: str, payload: Mapping[str, Any], priority: int, *, import_id: int | None = None
) -> tuple[int, datetime]:
    """Adds a queued task; returns its id and when it was created."""
    parameters = {"type": type_, "payload": payload, "priority": priority, "import_id": import_id}
    row = connection.execute(_INSERT, parameters).one()
    return row.id, row.created_at


_FIND = text("""
    SELECT tasks.id, type, payload, tasks.priority, status, created_at, started_at, completed_at,
        coalesce(error_message, waiting.error) AS error, retry_count, posts.id AS post_id
    FROM tasks LEFT JOIN posts ON posts.task_id = tasks.id
    LEFT JOIN pending AS waiting ON waiting.key = 'task:' || tasks.id AND waiting.asset = CASE type
        WHEN 'content.generation' THEN 'posts' WHEN 'emotion.analysis' THEN 'emotion_trajectories'
        ELSE 'achievements' END
    WHERE tasks.id = :id
""")


def find(connection: Connection, id_: int) -> Task | None:
    row = connection.execute(_FIND, {"id": id_}).one_or_none()
    return None if row is None else Task(**row._mapping)


_PERSONA = text("SELECT true FROM personas WHERE id = :id")
_POST_DAY = text("SELECT utc_day(ts) FROM posts WHERE id = :id")
_ACHIEVEMENT_DAY = text("SELECT utc_day(completed_at) FROM achievements WHERE id = :id AND deleted_at IS NULL")


def persona_exists(connection: Connection, persona_id: str) -> bool:
    return connection.execute(_PERSONA, {"id": persona_id}).scalar_one_or_none() is not None


def post_day(connection: Connection, post_id: int) -> date | None:
    """The UTC date of the post; None when there is no such post."""
    day: date | None = connection.execute(_POST_DAY, {"id": post_id}).scalar_one_or_none()
    return day


def achievement_day(connection: Connection, achievement_id: int) -> date | None:
    """The UTC date on which the achievement was completed; None when it is not there or not completed."""
    day: date | None = connection.execute(_ACHIEVEMENT_DAY, {"id": achievement_id}).scalar_one_or_none()
    return day
