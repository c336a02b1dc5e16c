"""The vectors of achievements: which wait, storing them, and which are nearest.

Vectors have length 1, so that the inner product is the cosine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, RowMapping, text

from threads_agent_dagster.db.achievements import LISTED
from threads_agent_dagster.db.bulk import insert_rows, parameter, replaced


@dataclass(frozen=True, slots=True)
class AchievementText:
    """What a vector is made from; `key` is the pending row that asked for it."""

    key: str
    achievement_id: int
    title: str
    description: str


_TEXTS = text("""
    SELECT key, id, title, coalesce(description, '') FROM unnest(cast(:keys AS text[])) AS key
    JOIN achievements ON id = substr(key, 13)::int
""")


def read_texts(connection: Connection, keys: Sequence[str]) -> list[AchievementText]:
    """The achievements behind `achievement:<id>`; those that are gone are missing."""
    return [AchievementText(*row) for row in connection.execute(_TEXTS, {"keys": list(keys)})]


_LOCKED = text("""
    SELECT id, title, coalesce(description, '') AS description FROM achievements WHERE id = ANY(:ids)
    ORDER BY id FOR SHARE
""")


def lock_texts(connection: Connection, achievement_ids: Sequence[int]) -> Mapping[int, tuple[str, str]]:
    """Achievement id → (title, description) as they are now, held until the transaction ends."""
    rows = connection.execute(_LOCKED, {"ids": list(achievement_ids)})
    return {row.id: (row.title, row.description) for row in rows}


_COLUMNS = ("achievement_id", "model", "dimensions", "content_hash", "embedding", "run_id", "code_version")
_STORE = insert_rows(
    "achievement_embeddings",
    _COLUMNS,
    f"ON CONFLICT (achievement_id) DO UPDATE SET {replaced(_COLUMNS)}, updated_at = now()",
)


def store_vectors(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds vectors (`embedding` as a list of numbers) or replaces those of the same achievements."""
    connection.execute(_STORE, parameter(rows))


_MODELS = text("SELECT min(model) AS first, max(model) AS last FROM achievement_embeddings")


def models(connection: Connection) -> set[str]:
    """The models of the stored vectors, two of them if there are more; empty without vectors."""
    return set(connection.execute(_MODELS).one()) - {None}


STALE = """
    SELECT 'achievement:' || id AS key, utc_day(coalesce(completed_at, created_at)) AS day, stored.code_version
    FROM achievements LEFT JOIN achievement_embeddings AS stored ON stored.achievement_id = id
    WHERE :force OR stored.achievement_id IS NULL OR stored.code_version IS DISTINCT FROM :code_version"""


_VECTOR = text("""
    SELECT model, cast(embedding AS text) AS embedding FROM achievement_embeddings WHERE achievement_id = :id
""")
# Only the nearest meet the wide rows of achievements: one by one in their order, until enough of them are not deleted.
_NEAREST = text(
    """
    WITH near AS MATERIALIZED (
        SELECT achievement_id, least(1, -(embedding <#> cast(:vector AS halfvec))) AS similarity
        FROM achievement_embeddings
        WHERE embedding <#> cast(:vector AS halfvec) <= -cast(:at_least AS double precision) AND achievement_id <> :id
    )
    SELECT {listed}, near.similarity
    FROM (SELECT * FROM near ORDER BY similarity DESC, achievement_id OFFSET 0) AS near
    CROSS JOIN LATERAL (
        SELECT * FROM achievements WHERE id = near.achievement_id AND deleted_at IS NULL OFFSET 0
    ) AS achievements
    ORDER BY similarity DESC, near.achievement_id LIMIT :limit
""".format(listed=", ".join(str(column) for column in LISTED))
)


def vector_of(connection: Connection, achievement_id: int) -> Row[Any] | None:
    """(model, embedding as PostgreSQL writes it); None until the achievement has its vector."""
    return connection.execute(_VECTOR, {"id": achievement_id}).one_or_none()


def nearest(
    connection: Connection, achievement_id: int, vector: str, *, at_least: float, limit: int
) -> Sequence[RowMapping]:
    """Achievements by `similarity`, the cosine to `vector`, largest first: exact, by looking at every vector."""
    asked = {"id": achievement_id, "vector": vector, "at_least": at_least, "limit": limit}
    return connection.execute(_NEAREST, asked).mappings().all()
