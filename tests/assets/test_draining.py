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
from threads_agent_dagster.definitions import defs
from threads_agent_dagster.work.backfills import JOBS, UNPARTITIONED
from threads_agent_dagster.work.drain import Drained, Job, drain

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


def materialise(asset: dg.AssetsDefinition = arcs, *, by_sensor: bool = False, **config: str) -> Any:
    tags = {"dagster/asset_partition_range_start": str(FIRST), "dagster/asset_partition_range_end": str(SECOND)}
    if by_sensor:
        tags["dagster/sensor_name"] = "pending_work_1"
    run_config = {"ops": {asset.key.to_user_string(): {"config": config}}}
    return dg.materialize([asset], resources={"database": Database()}, tags=tags, run_config=run_config)


def partitions(result: dg.ExecuteInProcessResult) -> set[Any]:
    return {event.partition for event in result.get_asset_materialization_events()}


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize("who", ["DRAIN", "BACKFILL"])
def test_days_that_are_not_done_wait_for_the_next_run(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, who: str
) -> None:
    monkeypatch.setenv(f"THREADS_AGENT_{who}_SECONDS", "2")
    result = materialise(by_sensor=who == "DRAIN")
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
    found = {each.check_name: each.passed for each in materialise(by_sensor=True).get_asset_check_evaluations()}
    assert found == {"nothing_is_wrong": True, "everything_is_wrong": False}


@pytest.fixture
def older(engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An arc and an achievement of another version."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    with engine.begin() as connection:
        connection.execute(text(SEED))


def observed(result: Any, label: str) -> dict[str, Any]:
    (metadata,) = [
        found
        for event in result.get_asset_observation_events()
        if label in (found := event.asset_observation_data.asset_observation.metadata)
    ]
    return {name: one.value for name, one in metadata.items()}


BOTH = pytest.mark.parametrize("asset", [emotions.emotion_trajectories, achievements.achievements], ids=str)


@BOTH
@pytest.mark.parametrize("mode", ["shadow", "plan"])
@pytest.mark.usefixtures("older")
def test_shadow_and_plan_are_observations_and_write_nothing(
    engine: Engine, asset: dg.AssetsDefinition, mode: str
) -> None:
    result = materialise(asset, mode=mode)
    assert result.success
    assert result.get_asset_materialization_events() == []
    metadata = observed(result, mode)
    if mode == "shadow":
        assert (metadata["compared_rows"], metadata["days"]) == (1, "2026-01-05 to 2026-01-07")
        assert "1 rows compared" in metadata["shadow"]
        assert metadata["distributions"].startswith("![")
    else:
        assert (metadata["rows"], metadata["partitions"], metadata["tokens"], metadata["usd"]) == (1, 1, 0, 0)
        assert "minutes" not in metadata, "nothing was measured"
        assert "| minutes | unknown" in metadata["plan"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pending")).scalar_one() == 0
        assert connection.execute(text("SELECT count(*) FROM backfills")).scalar_one() == 0
        made_by = f"SELECT run_id FROM {asset.key.to_user_string()}"
        assert connection.execute(text(made_by)).scalars().all() == ["run-1"]


@BOTH
@pytest.mark.usefixtures("older")
def test_a_backfill_shows_its_price_and_remembers_what_it_took(engine: Engine, asset: dg.AssetsDefinition) -> None:
    result = materialise(asset)
    assert observed(result, "plan")["rows"] == 1
    assert partitions(result) == {"2026-01-05", "2026-01-06", "2026-01-07"}
    assert observed(materialise(asset, mode="plan"), "plan")["rows"] == 0
    with engine.connect() as connection:
        assert connection.execute(text("SELECT outcome, rows FROM backfills")).one() == ("done", 1)
        drains, rows, seconds = connection.execute(text("SELECT drains, rows, seconds FROM drain_rates")).one()
    assert (drains, rows) == (1, 1)
    assert seconds > 0


def test_progress_is_told_a_few_times_a_minute() -> None:
    told: list[str] = []
    clock = iter([0.0, 1.0, 6.0, 7.0, 12.0])
    progress = draining.Progress(lambda text, *values: told.append(text % values), 400, clock=clock.__next__)
    for stored in (0, 100, 150, 200):
        progress(Drained(stored=stored))
    assert told == ["made 100 of 400 rows, 0.3 minutes left", "made 200 of 400 rows, 0.2 minutes left"]


def test_every_drained_asset_can_be_backfilled() -> None:
    drained = {
        key.to_user_string(): asset.partitions_def is not None
        for asset in defs.assets or []
        if isinstance(asset, dg.AssetsDefinition)
        and "force" in getattr(asset.op.config_schema.config_type, "fields", ())
        for key in asset.keys
    }
    assert drained == {name: name not in UNPARTITIONED for name in JOBS}
