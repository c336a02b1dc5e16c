"""Reads the tasks that ask for a post, stores posts; lists them, and stores what people edit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, select, text, update

from threads_agent_dagster.db.bulk import insert_rows, parameter
from threads_agent_dagster.db.pages import Order, Window, read
from threads_agent_dagster.db.tables import posts


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


@dataclass(frozen=True, slots=True)
class Shown:
    """A hook that a persona showed."""

    persona_id: str
    hook: str
    variant_id: str | None
    age_days: float


_SHOWN = text("""
    SELECT persona_id, hook, variant_id, extract(epoch FROM now() - ts)::float / 86400
    FROM unnest(cast(:personas AS text[])) AS wanted, LATERAL (
        SELECT persona_id, hook, variant_id, ts FROM posts
        WHERE persona_id = wanted AND ts BETWEEN now() - make_interval(secs => 86400 * :days) AND now()
        ORDER BY ts DESC LIMIT :most
    ) AS recent
""")
MOST_SHOWN = 100  # of one persona; more of them would not change a choice


def read_shown(connection: Connection, personas: Sequence[str], days: float) -> list[Shown]:
    """The newest hooks of each persona, at most `days` old."""
    wanted = {"personas": list(personas), "days": days, "most": MOST_SHOWN}
    return [Shown(*row) for row in connection.execute(_SHOWN, wanted)]


_STORE = insert_rows(
    "posts",
    [
        "persona_id", "hook", "body", "tokens_used", "ts", "original_input", "metadata", "task_id", "variant_id",
        "import_id", "generator", "run_id", "code_version",
    ],
    "ON CONFLICT (task_id) DO NOTHING",
)  # fmt: skip
_REGISTER = insert_rows("variants", ["variant_id", "dimensions", "is_control", "import_id"], "ON CONFLICT DO NOTHING")


def store_posts(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds posts; a task that has one already keeps it, so that text is never generated twice."""
    connection.execute(_STORE, parameter(rows))


def register_variants(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds variants that are not there yet, in order of id, so that two workers never wait for each other."""
    connection.execute(_REGISTER, parameter(sorted(rows, key=lambda row: str(row["variant_id"]))))


# What was generated once stays as it is, whatever the version: only tasks that have no post.
STALE = """
    SELECT 'task:' || id AS key, utc_day(created_at) AS day, NULL AS code_version FROM tasks
    WHERE type = 'content.generation' AND status NOT IN ('failed', 'completed')
    AND created_at >= cast(:first AS timestamp) AT TIME ZONE 'UTC'
    AND created_at < (cast(:last AS timestamp) + interval '1 day') AT TIME ZONE 'UTC'
    AND NOT EXISTS (SELECT FROM posts WHERE posts.task_id = tasks.id)"""


# What the API lists and what people edit.


@dataclass(frozen=True, slots=True)
class Filter:
    """What a listed post must meet; None asks for nothing. `since` and `until` are closed UTC dates."""

    persona_id: str | None = None
    variant_id: str | None = None
    since: date | None = None
    until: date | None = None


def _conditions(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    if wanted.persona_id is not None:
        yield posts.c.persona_id == wanted.persona_id
    if wanted.variant_id is not None:
        yield posts.c.variant_id == wanted.variant_id
    if wanted.since is not None:
        yield posts.c.ts >= datetime.combine(wanted.since, time.min, UTC)
    if wanted.until is not None:
        yield posts.c.ts < datetime.combine(wanted.until, time.min, UTC) + timedelta(days=1)


def search(connection: Connection, wanted: Filter, order: Order, window: Window) -> Sequence[RowMapping]:
    """A page of posts, all columns."""
    return read(connection, select(posts).where(*_conditions(wanted)), order, window)


# xmin names the transaction that wrote the row: it differs after every change, whoever made it.
_ROW = select(posts, text("posts.xmin::text AS version"))


def find(connection: Connection, post_id: int, *, lock: bool = False) -> RowMapping | None:
    """All columns and the row's `version`; with `lock`, held until the transaction ends."""
    row = _ROW.where(posts.c.id == post_id)
    return connection.execute(row.with_for_update() if lock else row).mappings().one_or_none()


def edit(connection: Connection, post_id: int, values: Mapping[str, Any]) -> None:
    """Stores what a person changed; a new text makes the post's arc due."""
    connection.execute(update(posts).where(posts.c.id == post_id).values(values))
