"""A run that hands over when its time is up: it succeeds, and materialises only the days that are done."""

import functools
import itertools
from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from assets import achievements, draining, emotions
from assets.draining import DAYS, DrainConfig, drain_days, sentences
from resources.database import Database
from threads_agent_dagster.db import pending
from threads_agent_dagster.work.drain import Job, drain

SEED = """
INSERT INTO posts (id, persona_id, hook, body, ts) VALUES (101, 'default', 'A hook', 'I am so happy.', '2026-01-05');
INSERT INTO emotion_trajectories (post_id, persona_id, day, content_hash, segment_count, trajectory_type, joy_avg,
    peaks, valleys, scorer_version, run_id, code_version)
VALUES (101, 'default', '2026-01-05', 'hash', 2, 'rising', 0.5, '{}', '{}', 's@1', 'run-1', 'older');
INSERT INTO achievements (id, title, category, source_type, source_key, completed_at, impact_score, run_id,
    code_version)
VALUES (101, 'Ship it', 'feature', 'manual', 'manual:1', '2026-01-05', 30, 'run-1', 'older');
DELETE FROM pending;
"""
ASSET = "emotion_trajectories"
FIRST, SECOND = date(2026, 1, 5), date(2026, 1, 7)
CHECKS = {"nothing_is_wrong": "SELECT 1 AS id WHERE false", "everything_is_wrong": "SELECT 1 AS id"}
JOB: Job[list[str], int] = Job(
    ASSET,
    "1",
    load=lambda _connection, rows: [row.key for row in rows],
    compute=lambda keys: dict.fromkeys(keys, 1),
    store=lambda _connection, _results, _origin: set(),
    stale="SELECT '' AS key, current_date AS day, NULL AS code_version WHERE false",
    batch_size=1,
)


@dg.asset(
    name=ASSET,
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=sentences(ASSET, CHECKS),
    output_required=False,
)
def arcs(context: dg.AssetExecutionContext, config: DrainConfig, database: Database) -> Iterator[draining.Event]:
    rows = "SELECT day, count(*) AS rows FROM pending WHERE day BETWEEN :first AND :last GROUP BY day"
    yield from drain_days(context, config, database, JOB, CHECKS, rows_per_day=rows)


@pytest.fixture
def waiting(engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row on each of two days, and a clock on which every look takes a second."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setattr(draining, "drain", functools.partial(drain, clock=itertools.count().__next__))
    with engine.begin() as connection:
        pending.mark(connection, ASSET, [("post:1", FIRST), ("post:2", SECOND)])


def materialise() -> dg.ExecuteInProcessResult:
    tags = {"dagster/asset_partition_range_start": str(FIRST), "dagster/asset_partition_range_end": str(SECOND)}
    return dg.materialize([arcs], resources={"database": Database()}, tags=tags)


def partitions(result: dg.ExecuteInProcessResult) -> set[Any]:
    return {event.partition for event in result.get_asset_materialization_events()}


@pytest.mark.usefixtures("waiting")
def test_days_that_are_not_done_wait_for_the_next_run(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    monkeypatch.setenv("THREADS_AGENT_DRAIN_SECONDS", "2")
    result = materialise()
    assert result.success
    assert partitions(result) == {"2026-01-05", "2026-01-06"}
    with engine.connect() as connection:
        assert pending.open_days(connection, ASSET, pending.Days(FIRST, SECOND)) == {SECOND}


@pytest.mark.usefixtures("waiting")
def test_a_run_that_has_done_everything_materialises_every_day() -> None:
    assert partitions(materialise()) == {"2026-01-05", "2026-01-06", "2026-01-07"}


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize("seconds", ["2", "60"])
def test_checks_speak_in_either_case(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    monkeypatch.setenv("THREADS_AGENT_DRAIN_SECONDS", seconds)
    found = {each.check_name: each.passed for each in materialise().get_asset_check_evaluations()}
    assert found == {"nothing_is_wrong": True, "everything_is_wrong": False}


@pytest.mark.parametrize(
    ("asset", "rows"),
    [(emotions.emotion_trajectories, "emotion_trajectories"), (achievements.achievements, "achievements")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_shadow_is_an_observation_and_nothing_else(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch, asset: dg.AssetsDefinition, rows: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    with engine.begin() as connection:
        connection.execute(text(SEED))
    tags = {"dagster/asset_partition_range_start": str(FIRST), "dagster/asset_partition_range_end": str(SECOND)}
    config = {"ops": {rows: {"config": {"shadow": True}}}}
    result = dg.materialize([asset], resources={"database": Database()}, tags=tags, run_config=config)
    assert result.success
    assert result.get_asset_materialization_events() == []
    (observation,) = result.get_asset_observation_events()
    metadata = observation.asset_observation_data.asset_observation.metadata
    assert (metadata["compared_rows"].value, metadata["days"].value) == (1, "2026-01-05 to 2026-01-07")
    assert "1 rows compared" in str(metadata["shadow"].value)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pending")).scalar_one() == 0
        assert connection.execute(text(f"SELECT run_id FROM {rows}")).scalars().all() == ["run-1"]
