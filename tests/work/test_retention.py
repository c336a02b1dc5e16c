"""Retention on a real Dagster instance: what is old goes, the status of every partition stays."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine, text

from resources.database import Database
from sensors.retention import retention
from threads_agent_dagster.api.apps import create_app
from threads_agent_dagster.db import retention as db
from threads_agent_dagster.local.dagster_home import storage_url
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work.api_keys import create
from threads_agent_dagster.work.retention import sweep

DAYS = dg.StaticPartitionsDefinition(["a", "b", "c"])
TABLE = dg.AssetKey("table")


@dg.asset_check(asset=TABLE)
def holds() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.asset(partitions_def=DAYS)
def table(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    context.log.info("a line")
    if context.partition_key == "b":
        raise ValueError("it broke")
    return dg.MaterializeResult(metadata={"dagster/row_count": 3})


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=SecretStr(database_url), _env_file=None)


@pytest.fixture
def instance(database_url: str, engine: Engine, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster in the same database, with a made, a failed and a missing partition, a check and an observation."""
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA dagster"))
    config = {"storage": {"postgres": {"postgres_url": storage_url(database_url)}}, "telemetry": {"enabled": False}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        for partition in ("a", "b"):
            dg.materialize([table, holds], instance=instance, partition_key=partition, raise_on_error=False)
        instance.report_runless_asset_event(dg.AssetObservation(TABLE, partition="a", metadata={"waiting_rows": 1}))
        yield instance


def _age(engine: Engine, days: int) -> None:
    columns = {
        "dagster.event_logs": "timestamp",
        "inbox": "received_at",
        "idempotency_keys": "created_at",
        "llm_calls": "settled_at",
        "outbox": "delivered_at",
    }
    with engine.begin() as connection:
        for table_name, column in columns.items():
            if connection.execute(text("SELECT to_regclass(:name)"), {"name": table_name}).scalar_one():
                statement = f'UPDATE {table_name} SET "{column}" = "{column}" - make_interval(days => :days)'
                connection.execute(text(statement), {"days": days})


def _what_people_see(instance: dg.DagsterInstance) -> dict[str, Any]:
    key = dg.AssetCheckKey(TABLE, "holds")
    checks = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])
    latest = instance.get_latest_materialization_event(TABLE)
    assert latest is not None
    assert latest.asset_materialization is not None
    return {
        "partitions": instance.get_status_by_partition(TABLE, DAYS.get_partition_keys(), DAYS),
        "made": instance.get_materialized_partitions(TABLE),
        "latest": latest.asset_materialization.metadata,
        "observed": len(instance.fetch_observations(TABLE, limit=10).records),
        "checks": {name: record.status for name, record in checks.items()},
        "runs": [(run.run_id, run.status) for run in instance.get_runs()],
        "failures": len(instance.all_logs(instance.get_runs()[0].run_id, of_type=dg.DagsterEventType.STEP_FAILURE)),
    }


def _rows(engine: Engine, statement: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement)))


EVENTS = "SELECT coalesce(dagster_event_type, 'LOG') AS type, count(*) FROM dagster.event_logs GROUP BY type"


def test_old_log_lines_go_and_the_status_of_partitions_stays(
    instance: dg.DagsterInstance, engine: Engine, settings: Settings
) -> None:
    before, events = _what_people_see(instance), dict(map(tuple, _rows(engine, EVENTS)))
    assert before["partitions"]["a"].name == "MATERIALIZED"
    assert before["partitions"]["b"].name == "FAILED"
    _age(engine, 29)
    assert sweep(engine, settings)["event_logs"] == 0
    _age(engine, 2)
    removed = sweep(engine, settings)["event_logs"]
    left = dict(map(tuple, _rows(engine, EVENTS)))
    assert removed == sum(events.values()) - sum(left.values()) > 10
    assert {"LOG", "STEP_START", "ENGINE_EVENT"} & set(left) == set()
    kept = {name: count for name, count in events.items() if name.startswith(("ASSET_", "PIPELINE_", "RUN_"))}
    assert kept
    assert {name: left[name] for name in kept} == kept
    assert _what_people_see(instance) == before
    assert sweep(engine, settings)["event_logs"] == 0


def test_events_of_an_unfinished_run_stay(instance: dg.DagsterInstance, engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE dagster.runs SET status = 'STARTED'"))
    _age(engine, 100)
    assert sweep(engine, settings)["event_logs"] == 0


def test_no_rule_names_an_event_of_an_asset_or_a_run() -> None:
    assert [name for name in db.DETAILS if name.startswith(("ASSET_", "PIPELINE_", "RUN_")) or "FAIL" in name] == [
        "RESOURCE_INIT_FAILURE"
    ]
    assert set(db.DETAILS) <= {one.value for one in dg.DagsterEventType}


def test_the_nightly_run_says_what_it_removed(
    instance: dg.DagsterInstance, engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    _age(engine, 100)
    result = retention.execute_in_process(instance=instance, resources={"database": Database()})
    (output,) = [event for event in result.events_for_node("let_go") if event.is_successful_output]
    metadata = output.step_output_data.metadata
    assert set(metadata) == {f"removed_{name}" for name in (*db.RULES, "event_logs")}
    assert metadata["removed_event_logs"].value > 10


DELIVER = (
    "INSERT INTO inbox (source, delivery_id, event, body, body_hash, day, status) "
    "SELECT 'github', s, 'push', convert_to('body of ' || s, 'UTF8'), 'hash of ' || s, date '2026-01-01', s FROM "
    "unnest(ARRAY['received', 'processed', 'ignored', 'failed']) AS s"
)
EVIDENCE = (
    "INSERT INTO achievements (title, category, source_type, completed_at, inbox_id) "
    "SELECT 't', 'feature', 'github_pr', now(), id FROM inbox WHERE delivery_id = 'evidence'"
)


def test_bodies_that_nothing_was_made_from_go_and_their_replay_stays_a_replay(
    engine: Engine, settings: Settings
) -> None:
    with engine.begin() as connection:
        connection.execute(text(DELIVER))
        connection.execute(
            text(
                "INSERT INTO inbox (source, delivery_id, event, body, body_hash, day, status) "
                "VALUES ('github', 'evidence', 'push', 'kept', 'hash', '2026-01-01', 'processed')"
            )
        )
        connection.execute(text(EVIDENCE))
    assert sweep(engine, settings)["inbox"] == 0
    _age(engine, 31)
    assert sweep(engine, settings)["inbox"] == 2
    emptied = {row.delivery_id for row in _rows(engine, "SELECT delivery_id FROM inbox WHERE body = ''")}
    assert emptied == {"processed", "ignored"}
    assert _rows(engine, "SELECT body_hash FROM inbox WHERE body = '' AND body_hash = ''") == []


def test_an_idempotency_key_is_free_again_after_its_days(engine: Engine, settings: Settings) -> None:
    headers = {"X-API-Key": create(engine, "test", ["editor"]), "Idempotency-Key": "order-1"}
    with TestClient(create_app("orchestrator", settings), headers=headers) as client:

        def queue(topic: str) -> tuple[int, str | None]:
            body = {"type": "content.generation", "payload": {"topic": topic}}
            answer = client.post("/task", json=body)
            return answer.status_code, answer.headers.get("idempotency-replayed")

        assert queue("one") == (202, None)
        _age(engine, 6)
        assert sweep(engine, settings)["idempotency_keys"] == 0
        assert queue("one") == (202, "true")
        assert queue("another")[0] == 422
        _age(engine, 2)
        assert sweep(engine, settings)["idempotency_keys"] == 1
        assert queue("another") == (202, None)


def test_settled_calls_and_delivered_messages_go_and_open_ones_stay(engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO llm_calls "
                "(request_hash, item, model, day, status, reserved_tokens, used_tokens, settled_at) "
                "VALUES ('a', 'i', 'm', '2026-01-01', 'answered', 9, 1, now()), "
                "('b', 'i', 'm', '2026-01-01', 'reserved', 9, NULL, NULL)"
            )
        )
        connection.execute(
            text("INSERT INTO outbox (topic, key, delivered_at) VALUES ('t', 'a', now()), ('t', 'b', NULL)")
        )
    _age(engine, 91)
    removed = sweep(engine, settings)
    assert (removed["llm_calls"], removed["outbox"]) == (1, 1)
    assert [row.request_hash for row in _rows(engine, "SELECT request_hash FROM llm_calls")] == ["b"]
    assert [row.key for row in _rows(engine, "SELECT key FROM outbox")] == ["b"]


def test_more_than_a_batch_goes_in_one_sweep(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "BATCH", 2)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO outbox (topic, key, delivered_at) "
                "SELECT 't', n::text, now() FROM generate_series(1, 7) AS n"
            )
        )
    _age(engine, 31)
    assert sweep(engine, settings)["outbox"] == 7


def test_zero_days_keep_for_ever(instance: dg.DagsterInstance, engine: Engine, settings: Settings) -> None:
    _age(engine, 10_000)
    for_ever = {f"keep_{name}_days": 0 for name in (*db.RULES, "event_logs")}
    assert sweep(engine, settings.model_copy(update=for_ever)) == {}
