"""The sensor's arithmetic: waiting rows become few runs over ranges of days."""

from __future__ import annotations

import uuid
from datetime import date

import dagster as dg
import pytest
from sqlalchemy import Engine

from sensors import pending as sensor
from sensors.pending import ranges, request
from threads_agent_dagster.db import pending
from threads_agent_dagster.db.pending import Waiting


def _waiting(asset: str, day: date, rows: int = 1, newest: int = 1) -> Waiting:
    return Waiting(asset, day, rows, newest, "kind")


def test_neighbouring_days_of_a_chain_are_one_range() -> None:
    found = [
        _waiting("posts", date(2026, 1, 1), 2, 7),
        _waiting("emotion_trajectories", date(2026, 1, 2), 3, 9),
        _waiting("posts", date(2026, 1, 20), 1, 5),
    ]
    (only,) = ranges(found)
    assert (only.chain, only.start, only.end) == ("content_chain", date(2026, 1, 1), date(2026, 1, 20))
    assert (only.rows, only.newest) == (6, 9)


def test_distant_days_are_ranges_of_their_own_newest_first() -> None:
    found = [_waiting("achievements", date(2020, 1, 1)), _waiting("achievements", date(2026, 1, 1))]
    assert [one.start for one in ranges(found)] == [date(2026, 1, 1), date(2020, 1, 1)]


def test_chains_are_never_mixed_and_unpartitioned_ones_are_one_run() -> None:
    found = [
        _waiting("variant_performance", date(2020, 1, 1)),
        _waiting("variant_performance", date(2026, 1, 1)),
        _waiting("achievements", date(2026, 1, 1)),
    ]
    joined = ranges(found)
    assert sorted(one.chain for one in joined) == ["achievements_chain", "experiments_chain"]
    assert (
        "dagster/asset_partition_range_start"
        not in request(next(one for one in joined if one.chain == "experiments_chain"), "2026-01-01T00:00").tags
    )


def test_one_request_per_range_and_minute() -> None:
    (one,) = ranges([_waiting("posts", date(2026, 1, 1), newest=42)])
    asked = request(one, "2026-01-01T10:00")
    assert asked.run_key == "content_chain:2026-01-01:2026-01-01:42:2026-01-01T10:00"
    assert asked.tags["dagster/asset_partition_range_start"] == "2026-01-01"
    assert asked.tags["dagster/asset_partition_range_end"] == "2026-01-01"


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensor, "WAIT_SECONDS", 0.2)


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def _tick(instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    from threads_agent_dagster.definitions import defs

    result = sensor.pending_work[0](dg.build_sensor_context(instance, repository_def=defs.get_repository_def()))
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def test_a_tick_asks_for_what_waits_and_observes_the_inputs(
    instance: dg.DagsterInstance, engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert isinstance(_tick(instance), dg.SkipReason)
    with engine.begin() as connection:
        pending.mark(connection, "posts", [("task:1", date(2026, 1, 1)), ("task:2", date(2026, 1, 1))])
        keys = ("inbox:1", "commit:1", "commit:2", "commit:3", "achievement:1")
        pending.mark(connection, "achievements", [(key, date(2026, 1, 1)) for key in keys])
    result = _tick(instance)
    assert isinstance(result, dg.SensorResult)
    assert {asked.job_name for asked in result.run_requests or []} == {"content_chain", "achievements_chain"}
    observed = {event.asset_key.to_user_string(): event.metadata["waiting_rows"].value for event in result.asset_events}
    assert observed == {"tasks": 2, "github_deliveries": 1, "git_commits": 3}


def test_a_chain_with_an_unfinished_run_is_left_alone(
    instance: dg.DagsterInstance, engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    with engine.begin() as connection:
        pending.mark(connection, "posts", [("task:1", date(2026, 1, 1))])
    instance.add_run(dg.DagsterRun(job_name="content_chain", run_id=str(uuid.uuid4())))
    assert isinstance(_tick(instance), dg.SkipReason)
