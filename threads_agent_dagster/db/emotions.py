"""Reads the texts that wait for an arc, stores arcs with their segments and transitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, select, text

from threads_agent_dagster.db.bulk import insert_rows, parameter, replaced
from threads_agent_dagster.db.tables import POLARITIES, emotion_segments, emotion_trajectories, emotion_transitions
from threads_agent_dagster.domain.emotions import EMOTIONS


@dataclass(frozen=True, slots=True)
class PostText:
    """What an arc is made from; `key` is the pending row that asked for it."""

    key: str
    post_id: int
    persona_id: str
    day: date
    hook: str
    body: str


_TEXTS = text("""
    SELECT asked.key, posts.id, posts.persona_id, utc_day(posts.ts) AS day, posts.hook, posts.body
    FROM (
        SELECT key, substr(key, 6)::bigint AS post_id FROM unnest(cast(:keys AS text[])) AS key WHERE key LIKE 'post:%'
        UNION ALL
        SELECT key, (tasks.payload ->> 'post_id')::bigint
        FROM unnest(cast(:keys AS text[])) AS key JOIN tasks ON key = 'task:' || tasks.id
    ) AS asked JOIN posts ON posts.id = asked.post_id
""")


def read_texts(connection: Connection, keys: Sequence[str]) -> list[PostText]:
    """The posts behind `post:<id>` and `task:<id>`; those that are gone are missing."""
    return [PostText(*row) for row in connection.execute(_TEXTS, {"keys": list(keys)})]


_LOCKED = text("SELECT id, hook, body FROM posts WHERE id = ANY(:ids) ORDER BY id FOR SHARE")


def lock_texts(connection: Connection, post_ids: Sequence[int]) -> Mapping[int, tuple[str, str]]:
    """Post id → (hook, body) as they are now, held until the transaction ends."""
    rows = connection.execute(_LOCKED, {"ids": list(post_ids)})
    return {row.id: (row.hook, row.body) for row in rows}


def _columns(table: Table, *made_by_the_database: str) -> list[str]:
    return [column.name for column in table.columns if column.name not in made_by_the_database]


_ARC_COLUMNS = _columns(emotion_trajectories, "id", "created_at")
_STORE = insert_rows(
    "emotion_trajectories",
    _ARC_COLUMNS,
    f"ON CONFLICT (post_id) DO UPDATE SET {replaced(_ARC_COLUMNS)}, created_at = now() RETURNING post_id, id",
)
_CLEAR = text(
    "WITH gone AS (DELETE FROM emotion_transitions WHERE trajectory_id = ANY(:ids)) "
    "DELETE FROM emotion_segments WHERE trajectory_id = ANY(:ids)"
)
_STORE_SEGMENTS = insert_rows("emotion_segments", _columns(emotion_segments))
_STORE_TRANSITIONS = insert_rows("emotion_transitions", _columns(emotion_transitions))


def store_trajectories(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> Mapping[int, int]:
    """Replaces the arcs of their posts in place, without the old parts; returns post id → trajectory id."""
    ids = {row.post_id: row.id for row in connection.execute(_STORE, parameter(rows))}
    connection.execute(_CLEAR, {"ids": list(ids.values())})
    return ids


def store_parts(
    connection: Connection, segments: Sequence[Mapping[str, Any]], transitions: Sequence[Mapping[str, Any]]
) -> None:
    """Adds the segments and transitions of arcs that were just stored."""
    connection.execute(_STORE_SEGMENTS, parameter(segments))
    connection.execute(_STORE_TRANSITIONS, parameter(transitions))


STALE = """
    SELECT 'post:' || posts.id AS key, utc_day(posts.ts) AS day, arc.code_version
    FROM posts LEFT JOIN emotion_trajectories AS arc ON arc.post_id = posts.id
    WHERE posts.ts >= cast(:first AS timestamp) AT TIME ZONE 'UTC'
    AND posts.ts < (cast(:last AS timestamp) + interval '1 day') AT TIME ZONE 'UTC'
    AND (:force OR arc.id IS NULL OR arc.code_version IS DISTINCT FROM :code_version)"""


MEASURED = (
    "trajectory_type",
    "dominant_emotion",
    *(f"{name}_avg" for name in EMOTIONS),
    *(f"sentiment_{name}" for name in POLARITIES),
    "emotional_variance",
    "confidence",
)


def read_measured(connection: Connection, post_ids: Sequence[int]) -> Mapping[int, Mapping[str, Any]]:
    """Post id → the measured columns of its arc."""
    columns = [emotion_trajectories.c[name] for name in MEASURED]
    arcs = select(emotion_trajectories.c.post_id, *columns).where(emotion_trajectories.c.post_id.in_(post_ids))
    return {row["post_id"]: dict(row) for row in connection.execute(arcs).mappings()}


def find(connection: Connection, post_id: int) -> RowMapping | None:
    """The arc of a post, all columns."""
    arc = select(emotion_trajectories).where(emotion_trajectories.c.post_id == post_id)
    return connection.execute(arc).mappings().one_or_none()


def find_parts(connection: Connection, trajectory_id: int) -> tuple[Sequence[RowMapping], Sequence[RowMapping]]:
    """The segments and the transitions of an arc, in their order."""
    segments = select(emotion_segments).where(emotion_segments.c.trajectory_id == trajectory_id)
    transitions = select(emotion_transitions).where(emotion_transitions.c.trajectory_id == trajectory_id)
    return (
        connection.execute(segments.order_by(emotion_segments.c.index)).mappings().all(),
        connection.execute(transitions.order_by(emotion_transitions.c.from_index)).mappings().all(),
    )
