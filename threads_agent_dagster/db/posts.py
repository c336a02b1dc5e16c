"""Reads the tasks that ask for a post, stores posts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from threads_agent_dagster.db.pending import REMARK, Days
from threads_agent_dagster.db.tables import posts, variants


@dataclass(frozen=True, slots=True)
class ContentTask:
    """A task of type content.generation without a post yet."""

    key: str
    task_id: int
    payload: Mapping[str, Any]
    created_at: datetime
    import_id: int | None


_TASKS = text("""
    SELECT 'task:' || id, id, payload, created_at, import_id FROM tasks
    WHERE 'task:' || id = ANY(:keys) AND id = ANY(:ids) AND type = 'content.generation'
    AND NOT EXISTS (SELECT FROM posts WHERE posts.task_id = tasks.id) ORDER BY id
""")


def read_tasks(connection: Connection, keys: Sequence[str]) -> list[ContentTask]:
    """The tasks behind `task:<id>` that have no post yet; others are missing."""
    ids = [int(key.removeprefix("task:")) for key in keys]
    return [ContentTask(*row) for row in connection.execute(_TASKS, {"keys": list(keys), "ids": ids})]


def store_posts(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds posts; a task that has one already keeps it, so that text is never generated twice."""
    if rows:
        connection.execute(insert(posts).on_conflict_do_nothing(index_elements=["task_id"]), list(rows))


def register_variants(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds variants that are not there yet."""
    if rows:
        ordered = sorted(rows, key=lambda row: str(row["variant_id"]))
        connection.execute(insert(variants).on_conflict_do_nothing(), ordered)


_STALE = text(f"""
    INSERT INTO pending (asset, key, day, priority)
    SELECT 'posts', 'task:' || id, utc_day(created_at), 2 FROM tasks
    WHERE type = 'content.generation' AND status <> 'failed'
    AND created_at >= cast(:first AS timestamp) AT TIME ZONE 'UTC'
    AND created_at < (cast(:last AS timestamp) + interval '1 day') AT TIME ZONE 'UTC'
    AND NOT EXISTS (SELECT FROM posts WHERE posts.task_id = tasks.id)
    AND status <> 'completed'
    ORDER BY 2 {REMARK}
""")


def mark_missing(connection: Connection, days: Days) -> int:
    """Marks the tasks of the range that have no post; what was generated once stays as it is. Returns how many."""
    return connection.execute(_STALE, {"first": days.start, "last": days.end}).rowcount
