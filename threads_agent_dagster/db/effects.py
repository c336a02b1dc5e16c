"""Reads what arcs felt and what readers did, stores what the one does to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, select, text

from threads_agent_dagster.db.bulk import insert_rows, parameter
from threads_agent_dagster.db.tables import emotion_effects
from threads_agent_dagster.domain.emotions import EMOTIONS

_SHAPES = ("rising", "falling", "stable", "volatile")
FEATURES = (*EMOTIONS, "compound", "strength", "variance", *_SHAPES)
_COLUMNS = [
    *(f"{name}_avg AS {name}" for name in EMOTIONS),
    "sentiment_compound AS compound",
    "abs(sentiment_compound) AS strength",
    "emotional_variance AS variance",
    *(
        f"CASE WHEN trajectory_type <> 'insufficient' THEN (trajectory_type = '{name}')::int END AS {name}"
        for name in _SHAPES
    ),
]
_MEASURED = text(f"""
    SELECT posts.persona_id, CASE WHEN variants.experiment_id IS NULL THEN 'observed' ELSE 'randomised' END AS design,
        coalesce(variants.experiment_id, to_char(posts.ts AT TIME ZONE 'UTC', 'YYYY-MM')) AS comparison,
        measured.impressions, measured.engagements, arc.scorer_version, {", ".join(_COLUMNS)}
    FROM emotion_trajectories AS arc
    JOIN post_engagement AS measured USING (post_id)
    JOIN posts ON posts.id = arc.post_id
    LEFT JOIN variants ON variants.variant_id = posts.variant_id
    WHERE measured.impressions > 0
    ORDER BY persona_id, design, comparison, arc.post_id
""")


def read_measured(connection: Connection) -> Sequence[RowMapping]:
    """One row per post with an arc and a measurement, sorted by persona, design and comparison."""
    return connection.execute(_MEASURED).mappings().all()


_NAMES = [column.name for column in emotion_effects.columns if column.name != "created_at"]
_STORE = insert_rows("emotion_effects", _NAMES)


def replace_all(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """These rows are the whole table then."""
    connection.execute(text("DELETE FROM emotion_effects"))
    connection.execute(_STORE, parameter(rows))


def find(connection: Connection) -> Sequence[RowMapping]:
    """All effects, the surest of each persona first."""
    order = (
        emotion_effects.c.persona_id,
        emotion_effects.c.design,
        emotion_effects.c.q_value,
        emotion_effects.c.feature,
    )
    return connection.execute(select(emotion_effects).order_by(*order)).mappings().all()
