"""The daily figures equal a recompute from the tables, whatever was written in between."""

from __future__ import annotations

import random
from typing import Any

from sqlalchemy import Connection, Engine, text

from threads_agent_dagster.work import metrics
from threads_agent_dagster.work.drain import Origin

ORIGIN = Origin("run-1", metrics.CODE_VERSION)
RECOMPUTED = text("""
    SELECT 'achievements' AS metric, utc_day(completed_at) AS day, category::text AS label, count(*) AS n,
        0::numeric AS total
    FROM achievements WHERE deleted_at IS NULL AND completed_at IS NOT NULL GROUP BY 2, 3
    UNION ALL
    SELECT 'impact', utc_day(completed_at), category::text, count(impact_score), coalesce(sum(impact_score::numeric), 0)
    FROM achievements WHERE deleted_at IS NULL AND completed_at IS NOT NULL GROUP BY 2, 3
    UNION ALL
    SELECT 'posts', utc_day(ts), persona_id, count(*), coalesce(sum(tokens_used), 0) FROM posts GROUP BY 2, 3
    UNION ALL
    SELECT 'arcs', day, trajectory_type, count(*), 0 FROM emotion_trajectories GROUP BY 2, 3
""")
STORED = text(
    "SELECT metric, day, label, n, total FROM dashboard_metrics_daily "
    "WHERE metric IN ('achievements', 'impact', 'posts', 'arcs')"
)
DAY = "timestamptz '2026-01-01' + make_interval(days => :day)"


def _write(connection: Connection, chance: random.Random) -> None:
    parameters: dict[str, Any] = {
        "day": chance.randint(0, 5),
        "score": chance.choice([None, round(chance.uniform(0, 100), 2)]),
        "category": chance.choice(["feature", "bugfix", "testing"]),
        "pick": chance.random(),
    }
    statement = chance.choice(
        [
            "INSERT INTO achievements (title, category, source_type, completed_at, impact_score) "
            f"VALUES ('t', cast(:category AS achievement_category), 'manual', {DAY}, :score)",
            "UPDATE achievements SET impact_score = :score, category = cast(:category AS achievement_category) "
            "WHERE id % 3 = floor(:pick * 3)",
            f"UPDATE achievements SET completed_at = {DAY} WHERE id % 5 = floor(:pick * 5)",
            "UPDATE achievements SET deleted_at = now() WHERE id % 7 = floor(:pick * 7)",
            "DELETE FROM achievements WHERE id % 11 = floor(:pick * 11)",
            f"INSERT INTO posts (persona_id, hook, body, ts, tokens_used) VALUES ('default', 'h', '', {DAY}, 3)",
            "INSERT INTO emotion_trajectories (post_id, persona_id, day, content_hash, segment_count, trajectory_type, "
            "reason, peaks, valleys, scorer_version) SELECT id, persona_id, utc_day(ts), '', 0, 'insufficient', 'r', "
            "'{}', '{}', 's' FROM posts ORDER BY id DESC LIMIT 2 ON CONFLICT DO NOTHING",
            "DELETE FROM posts WHERE id % 5 = floor(:pick * 5)",
        ]
    )
    connection.execute(text(statement), {name: value for name, value in parameters.items() if f":{name}" in statement})


def test_rollup_equals_a_recompute_after_random_writes(engine: Engine) -> None:
    chance = random.Random(7)
    for step in range(200):
        with engine.begin() as connection:
            _write(connection, chance)
        if step % 20 == 0:
            metrics.refresh(engine, ORIGIN)
    metrics.refresh(engine, ORIGIN)
    with engine.connect() as connection:
        stored = {tuple(row) for row in connection.execute(STORED) if row.n or row.total}
        recomputed = {tuple(row) for row in connection.execute(RECOMPUTED) if row.n or row.total}
    assert stored == recomputed
    assert len(recomputed) > 4


def test_the_view_sums_thirty_days_and_says_who_refreshed_it(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO achievements (title, category, source_type, completed_at, impact_score, time_saved_hours) "
                "VALUES ('a', 'feature', 'manual', now(), 40, 2), ('b', 'bugfix', 'manual', now(), 60, NULL), "
                "('c', 'bugfix', 'manual', now(), NULL, NULL), "
                "('old', 'testing', 'manual', now() - '31 days'::interval, 100, 100)"
            )
        )
    metrics.refresh(engine, ORIGIN)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM dashboard_metrics")).one()
    assert (row.total_achievements, row.avg_impact, row.total_time_saved, row.categories_covered) == (3, 50.0, 2.0, 2)
    assert row.engagement_rate is None, "nothing was measured"
    assert (row.run_id, row.code_version) == (ORIGIN.run_id, ORIGIN.code_version)


def test_a_second_refresh_folds_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO posts (persona_id, hook, body) VALUES ('default', 'h', 'b')"))
    assert metrics.refresh(engine, ORIGIN) == 1
    assert metrics.refresh(engine, ORIGIN) == 0
