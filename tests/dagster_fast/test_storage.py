"""The pooled storage: few sessions, none stale, none shared with a forked child, and the stock storage's own tables."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from sqlalchemy import text

from threads_agent_dagster.dagster_fast.storage import EventLogStorage, PooledPostgresStorage

BACKEND = text("SELECT pg_backend_pid()")


@dg.asset
def made() -> None: ...


@dg.asset(
    partitions_def=dg.DailyPartitionsDefinition("2026-01-01"),
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def daily() -> None: ...


@dg.asset_check(asset=daily)
def is_whole() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.asset(partitions_def=daily.partitions_def, backfill_policy=dg.BackfillPolicy.single_run(), deps=[daily])
def derived() -> None: ...


def plan(instance: dg.DagsterInstance) -> str:
    """A run over 90 days of two assets, created and not started."""
    job = dg.Definitions(
        [daily, derived], asset_checks=[is_whole], jobs=[dg.define_asset_job("days", "*")]
    ).resolve_job_def("days")
    first, last = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    tags = {first: "2026-01-01", last: "2026-03-31"}
    return instance.create_run_for_job(job, tags=tags, asset_selection={daily.key, derived.key}).run_id


def make(instance: dg.DagsterInstance) -> str:
    return dg.materialize([made], instance=instance).run_id


@pytest.fixture
def url(dagster_database: str) -> str:
    return dagster_database


@pytest.fixture
def storage(url: str) -> PooledPostgresStorage:
    return PooledPostgresStorage(url)


@pytest.fixture
def instance(storage: PooledPostgresStorage, tmp_path: Any) -> Iterator[dg.DagsterInstance]:
    config = {"custom": {"module": "threads_agent_dagster.dagster_fast.storage", "class": "PooledPostgresStorage"}}
    config["custom"]["config"] = {"postgres_url": storage.postgres_url}  # type: ignore[assignment]
    overrides = {"storage": config, "telemetry": {"enabled": False}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as instance:
        yield instance


@pytest.fixture
def outside(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url.replace("+psycopg2", ""), autocommit=True) as connection:
        yield connection


def sessions(connection: psycopg.Connection[Any]) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def backend(storage: PooledPostgresStorage) -> int:
    with storage.run_storage.connect() as connection:  # type: ignore[attr-defined]
        return int(connection.execute(BACKEND).scalar_one())


def test_three_storages_share_one_pool(storage: PooledPostgresStorage) -> None:
    parts = (storage.run_storage, storage.event_log_storage, storage.schedule_storage)
    assert len({id(part._engine) for part in parts}) == 1  # type: ignore[attr-defined]


def test_statements_share_a_session(storage: PooledPostgresStorage) -> None:
    assert backend(storage) == backend(storage)


def test_stock_storage_reads_what_was_written(instance: dg.DagsterInstance, url: str) -> None:
    run_id = make(instance)
    stock = DagsterPostgresStorage(url)
    (run,) = stock.run_storage.get_runs(dg.RunsFilter(run_ids=[run_id]))
    assert run.status == dg.DagsterRunStatus.SUCCESS
    ours = [entry.to_json() for entry in instance.event_log_storage.get_logs_for_run(run_id)]
    assert ours == [entry.to_json() for entry in stock.event_log_storage.get_logs_for_run(run_id)]
    assert stock.event_log_storage.get_latest_materialization_events([dg.AssetKey("made")])[dg.AssetKey("made")]


def test_events_are_not_announced_to_nobody(instance: dg.DagsterInstance, outside: psycopg.Connection[Any]) -> None:
    outside.execute("LISTEN run_events")
    make(instance)
    outside.execute("NOTIFY run_events, 'ours'")
    assert [notice.payload for notice in outside.notifies(timeout=10, stop_after=1)] == ["ours"]


def test_connection_that_the_server_closed_is_replaced(
    storage: PooledPostgresStorage, outside: psycopg.Connection[Any]
) -> None:
    before = backend(storage)
    outside.execute("SELECT pg_terminate_backend(%s, 10000)", [before])
    assert backend(storage) not in (before, None)


def test_forked_child_opens_a_session_of_its_own(
    storage: PooledPostgresStorage, outside: psycopg.Connection[Any]
) -> None:
    before = backend(storage)
    child = os.fork()
    if child == 0:
        os._exit(0 if backend(storage) != before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert backend(storage) == before


def test_table_that_appears_later_is_seen(storage: PooledPostgresStorage, outside: psycopg.Connection[Any]) -> None:
    events: Any = storage.event_log_storage
    assert not events.has_table("later")
    outside.execute("CREATE TABLE later ()")
    assert events.has_table("later")


def test_questions_get_the_stock_answers(storage: PooledPostgresStorage, url: str) -> None:
    stock: Any = DagsterPostgresStorage(url)
    ours: Any = storage
    for part, question in [
        ("run_storage", "has_run_stats_index_cols"),
        ("run_storage", "has_backfill_id_column"),
        ("run_storage", "has_bulk_actions_selector_cols"),
        ("run_storage", "has_backfill_tags_table"),
        ("schedule_storage", "has_instigators_table"),
        ("schedule_storage", "has_secondary_index_table"),
    ]:
        ask = getattr(getattr(ours, part), question)
        assert ask() is getattr(getattr(stock, part), question)() is True
        assert ask() is True


def test_run_of_an_asset_needs_two_sessions(instance: dg.DagsterInstance, outside: psycopg.Connection[Any]) -> None:
    before = sessions(outside)
    make(instance)
    assert sessions(outside) - before <= 2


def test_planned_days_are_stored_as_by_the_stock_storage(
    instance: dg.DagsterInstance, outside: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "50")
    ours = plan(instance)
    monkeypatch.setattr(EventLogStorage, "store_event_batch", PostgresEventLogStorage.store_event_batch)
    stock = plan(instance)

    def rows(run_id: str) -> list[Any]:
        query = """SELECT asset_key, partition, dagster_event_type, step_key, event::jsonb - 'timestamp' - 'run_id'
            - 'dagster_event' FROM event_logs WHERE run_id = %s ORDER BY 1, 3, 2"""
        return outside.execute(query, [run_id]).fetchall()

    assert len(rows(ours)) == 2 * 90 + 1
    assert rows(ours) == rows(stock)


def test_planned_days_are_sent_together(
    instance: dg.DagsterInstance, storage: PooledPostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "50")
    inserts: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        inserts.extend([statement] if statement.startswith("INSERT INTO event_logs") else [])

    engine = instance.event_log_storage._engine  # type: ignore[attr-defined]
    sa.event.listen(engine, "before_cursor_execute", note)
    plan(instance)
    assert len(inserts) == math.ceil(181 / 50) + 1, "one for the check, which is no materialisation"


def test_asset_remembers_the_run_that_planned_it_last(instance: dg.DagsterInstance) -> None:
    plan(instance)
    run_id = plan(instance)
    records = instance.get_asset_records([daily.key, derived.key])
    assert [record.asset_entry.last_run_id for record in records] == [run_id, run_id]
