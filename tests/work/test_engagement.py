"""The newest snapshot counts, whatever order snapshots arrive in."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, text

from threads_agent_dagster.work import engagement, experiments
from threads_agent_dagster.work.drain import Origin, drain


def _execute(engine: Engine, statement: str) -> Any:
    with engine.begin() as connection:
        return connection.execute(text(statement))


def _drain(engine: Engine, job: Any) -> int:
    return drain(engine, job, None, Origin("run-1", job.code_version)).stored


def test_the_newest_snapshot_is_the_rate(engine: Engine) -> None:
    _execute(engine, "INSERT INTO posts (id, persona_id, hook, body) VALUES (1, 'default', 'h', 'b')")
    for event, day, engagements in (("late", 9, 30), ("early", 3, 10)):
        _execute(
            engine,
            "INSERT INTO engagement_snapshots (event_id, post_id, impressions, engagements, observed_at) "
            f"VALUES ('{event}', 1, 100, {engagements}, '2026-01-0{day}')",
        )
        assert _drain(engine, engagement.job()) == 1
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM post_engagement")).one()
        rate = connection.execute(text("SELECT engagement_rate FROM posts")).scalar_one()
    assert (row.engagements, row.engagement_rate, rate, row.run_id) == (30, 0.3, 0.3, "run-1")


def test_a_post_that_nobody_saw_has_no_rate(engine: Engine) -> None:
    _execute(engine, "INSERT INTO posts (id, persona_id, hook, body) VALUES (1, 'default', 'h', 'b')")
    _execute(
        engine,
        "INSERT INTO engagement_snapshots (event_id, post_id, impressions, engagements, observed_at) "
        "VALUES ('e', 1, 0, 0, now())",
    )
    _drain(engine, engagement.job())
    with engine.connect() as connection:
        assert connection.execute(text("SELECT engagement_rate FROM post_engagement")).scalar_one() is None


def test_observations_become_statistics_with_an_interval(engine: Engine) -> None:
    _execute(engine, "INSERT INTO variants (variant_id) VALUES ('shown'), ('never')")
    _execute(
        engine,
        "INSERT INTO observations (event_id, variant_id, impressions, successes, observed_at) "
        "VALUES ('a', 'shown', 60, 6, '2026-01-01'), ('b', 'shown', 40, 4, '2026-01-02')",
    )
    assert _drain(engine, experiments.job()) == 2
    with engine.connect() as connection:
        rows = {row.variant_id: row for row in connection.execute(text("SELECT * FROM variant_performance"))}
    shown, never = rows["shown"], rows["never"]
    assert (shown.impressions, shown.successes, shown.mean_performance) == (100, 10, 0.1)
    assert 0.05 < shown.ci_low < 0.1 < shown.ci_high < 0.2
    assert shown.last_used.isoformat() == "2026-01-02T00:00:00+00:00"
    assert (never.impressions, never.mean_performance, never.ci_low, never.confidence_level) == (0, None, None, None)
