"""Themes: the vectors they are found on, storing them, and their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, RowMapping, text

from threads_agent_dagster.db.bulk import insert_rows, parameter

_HEADER = 4  # bytes before the numbers in pgvector's binary form: dimensions, flags


@dataclass(frozen=True, slots=True)
class Embedded:
    """All achievements that have a vector. `vectors` has a row for each of `ids` and `titles`."""

    ids: list[int]
    titles: list[str]
    vectors: NDArray[np.float32]


# Binary, or a hundred thousand vectors would arrive as 400 MB of decimal digits.
_EMBEDDED = """
    SELECT achievement_id, title, halfvec_send(embedding)
    FROM achievement_embeddings JOIN achievements ON id = achievement_id
    WHERE deleted_at IS NULL ORDER BY achievement_id
"""


def read_embedded(connection: Connection) -> Embedded:
    """The vectors in order of id."""
    driver: Any = connection.connection.driver_connection
    with driver.cursor(binary=True) as cursor:
        rows = cursor.execute(_EMBEDDED).fetchall()
    numbers = np.frombuffer(b"".join(row[2][_HEADER:] for row in rows), dtype=">f2").astype(np.float32)
    return Embedded([row[0] for row in rows], [row[1] for row in rows], numbers.reshape(len(rows), -1))


_THEME_COLUMNS = ("id", "label", "words", "run_id", "code_version")
_STORE = insert_rows("achievement_themes", _THEME_COLUMNS)
_STORE_MEMBERS = text("""
    INSERT INTO achievement_theme_members (achievement_id, theme_id, closeness)
    SELECT * FROM unnest(cast(:ids AS int[]), cast(:themes AS int[]), cast(:closeness AS float8[]))
    AS member (achievement_id, theme_id, closeness)
    WHERE EXISTS (SELECT FROM achievements WHERE id = achievement_id) ORDER BY 1
""")
_LOCK = text("LOCK TABLE achievement_themes IN SHARE ROW EXCLUSIVE MODE")
_CLEAR = text("DELETE FROM achievement_themes")


def replace_themes(
    connection: Connection, themes: Sequence[Mapping[str, Any]], members: Sequence[tuple[int, int, float]]
) -> None:
    """Stores themes and their (achievement id, theme id, closeness) in place of the former ones."""
    connection.execute(_LOCK)
    connection.execute(_CLEAR)
    connection.execute(_STORE, parameter(themes))
    ids, theme_ids, closeness = zip(*members, strict=True) if members else ((), (), ())
    connection.execute(_STORE_MEMBERS, {"ids": list(ids), "themes": list(theme_ids), "closeness": list(closeness)})


STALE = """
    SELECT 'themes:all' AS key, utc_day(now()) AS day, max(code_version) AS code_version FROM achievement_themes
    HAVING :force OR count(*) = 0 OR bool_or(code_version IS DISTINCT FROM :code_version)"""


_FIGURES = text("""
    SELECT themes.id, themes.label, themes.words, count(*) AS achievements, avg(impact_score) AS avg_impact,
        max(impact_score) AS max_impact, sum(time_saved_hours) AS time_saved_hours,
        count(*) FILTER (WHERE portfolio_ready) AS portfolio_ready,
        min(completed_at) AS first_completed_at, max(completed_at) AS last_completed_at
    FROM achievement_themes AS themes JOIN achievement_theme_members AS members ON members.theme_id = themes.id
    JOIN achievements ON achievements.id = members.achievement_id
    WHERE deleted_at IS NULL GROUP BY themes.id ORDER BY achievements DESC, themes.id
""")


def figures(connection: Connection) -> Sequence[RowMapping]:
    """One row per theme, the largest first."""
    return connection.execute(_FIGURES).mappings().all()
