"""Which feelings go with engagement, from the tables and back into one."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Engine, RowMapping, text

from threads_agent_dagster.db import effects as db
from threads_agent_dagster.domain.effects import FEWEST_COMPARISONS
from threads_agent_dagster.work.drain import Origin
from threads_agent_dagster.work.effects import refresh

ORIGIN = Origin("run-1", "1")
EXPERIMENTS = 2 * FEWEST_COMPARISONS
SEED = text("""
    WITH made AS (
        INSERT INTO experiments (id, name, status, plan) SELECT 'e' || n, 'e' || n, 'stopped', '{}'
        FROM generate_series(1, :experiments) AS n RETURNING id
    ), arms AS (
        INSERT INTO variants (variant_id, experiment_id, dimensions)
        SELECT id || '-' || arm, id, '{}' FROM made, generate_series(0, 1) AS arm RETURNING variant_id
    ), written AS (
        INSERT INTO posts (persona_id, hook, body, variant_id, ts)
        SELECT 'default', variant_id, '', variant_id, '2026-01-05' FROM arms RETURNING id, variant_id
    ), shown AS (
        INSERT INTO engagement_snapshots (event_id, post_id, impressions, engagements, observed_at)
        SELECT variant_id, id, 10000, CASE WHEN variant_id LIKE '%-1' THEN 200 ELSE 100 END, '2026-01-06' FROM written
        RETURNING id, post_id, impressions, engagements
    ), measured AS (
        INSERT INTO post_engagement (post_id, persona_id, day, snapshot_id, impressions, engagements, observed_at)
        SELECT post_id, 'default', '2026-01-05', id, impressions, engagements, '2026-01-06' FROM shown
    )
    INSERT INTO emotion_trajectories (post_id, persona_id, day, content_hash, segment_count, trajectory_type, reason,
        joy_avg, sentiment_compound, peaks, valleys, scorer_version)
    SELECT id, 'default', '2026-01-05', '', 1, 'insufficient', 'short',
        (variant_id LIKE '%-1')::int * 0.5 + (abs(hashtext(variant_id)) % 100) / 1000.0,
        (abs(hashtext(variant_id || 'x')) % 100) / 100.0, '{}', '{}', 'test@1' FROM written
""")


@pytest.fixture
def seeded(engine: Engine) -> Engine:
    """In every experiment the happier of two headlines was clicked twice as often."""
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO personas (id, name, voice) VALUES ('default', 'd', 'd') ON CONFLICT DO NOTHING")
        )
        connection.execute(SEED, {"experiments": EXPERIMENTS})
    return engine


def _found(engine: Engine) -> dict[str, RowMapping]:
    with engine.connect() as connection:
        return {row["feature"]: row for row in db.find(connection)}


def test_effects_are_found_within_experiments_with_their_origin(seeded: Engine) -> None:
    assert refresh(seeded, ORIGIN) == len(db.FEATURES)
    joy = _found(seeded)["joy"]
    assert (joy["verdict"], joy["design"], joy["comparisons"], joy["posts"]) == (
        "raises", "randomised", EXPERIMENTS, 2 * EXPERIMENTS,
    )  # fmt: skip
    assert joy["odds_ratio_low"] > 1
    assert (joy["scorer_version"], joy["run_id"], joy["code_version"]) == ("test@1", "run-1", "1")


def test_what_no_post_has_is_too_little_data_and_not_zero(seeded: Engine) -> None:
    refresh(seeded, ORIGIN)
    found = _found(seeded)
    assert (found["rising"]["verdict"], found["rising"]["odds_ratio"]) == ("too little data", None)
    assert found["anger"]["posts"] == 0


def test_a_second_look_replaces_the_first(seeded: Engine) -> None:
    refresh(seeded, ORIGIN)
    with seeded.begin() as connection:
        connection.execute(text("UPDATE post_engagement SET engagements = 100"))
    refresh(seeded, Origin("run-2", "1"))
    found = _found(seeded)
    assert len(found) == len(db.FEATURES)
    assert (found["joy"]["verdict"], found["joy"]["run_id"]) == ("no evidence", "run-2")
    assert np.isclose(found["joy"]["odds_ratio"], 1)


def test_posts_outside_experiments_are_compared_by_month_and_say_so(seeded: Engine) -> None:
    with seeded.begin() as connection:
        connection.execute(text("UPDATE posts SET variant_id = NULL"))
    refresh(seeded, ORIGIN)
    joy = _found(seeded)["joy"]
    assert (joy["design"], joy["comparisons"], joy["verdict"]) == ("observed", 1, "too little data")


def test_nothing_measured_gives_no_rows(engine: Engine) -> None:
    assert refresh(engine, ORIGIN) == 0
