"""The sensor of alerts against real runs: which failures are told, and where they go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from sensors import alerts as sensor
from tests.receiver import Receiver


@dg.op
def breaks() -> None:
    raise ValueError("the cause\nand more of it")


@dg.job
def broken() -> None:
    breaks()


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


@pytest.fixture(autouse=True)
def _environment(database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("THREADS_AGENT_ALERT_WEBHOOK_URL", receiver.url)
    monkeypatch.setenv("DAGSTER_URL", "https://dagster.example")


def _tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    result = sensor.alerts_sensor(dg.build_sensor_context(instance, cursor=cursor))
    assert isinstance(result, dg.SensorResult)
    return result


def _fail(instance: dg.DagsterInstance) -> str:
    return broken.execute_in_process(instance=instance, raise_on_error=False).run_id


def test_a_failed_run_is_posted_once_with_its_cause_and_address(
    instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    run_id = _fail(instance)
    first = _tick(instance)
    _tick(instance, first.cursor)
    _tick(instance, None)  # a lost cursor costs nothing
    (one,) = receiver.received
    assert one.json["data"]["error"] == "breaks: ValueError: the cause"
    assert one.json["data"]["url"] == f"https://dagster.example/runs/{run_id}"


def test_a_run_that_will_be_tried_again_is_no_failure_yet(instance: dg.DagsterInstance, receiver: Receiver) -> None:
    run_id = _fail(instance)
    instance.add_run_tags(run_id, {sensor.WILL_RETRY: "true"})
    _tick(instance)
    assert receiver.received == []
    instance.add_run_tags(run_id, {sensor.WILL_RETRY: "false"})
    _tick(instance)
    assert len(receiver.received) == 1


def test_whether_it_will_be_tried_again_is_waited_for() -> None:
    run = dg.DagsterRun(job_name="broken")
    assert not sensor._is_final(run, timedelta(seconds=1), retries=True)
    assert sensor._is_final(run, sensor.UNDECIDED * 2, retries=True)
    assert sensor._is_final(run, timedelta(seconds=1), retries=False)


def test_the_cursor_lags_so_that_what_commits_late_is_seen(instance: dg.DagsterInstance, receiver: Receiver) -> None:
    cursor = _tick(instance).cursor
    assert cursor is not None
    assert datetime.now(UTC) - datetime.fromisoformat(cursor) >= sensor.OVERLAP
    _fail(instance)
    _tick(instance, cursor)
    assert len(receiver.received) == 1


def test_more_failures_than_one_look_takes_are_all_told(
    instance: dg.DagsterInstance, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensor, "MOST_RUNS", 2)
    runs = {_fail(instance) for _ in range(5)}
    cursor = None
    for _ in range(6):
        cursor = _tick(instance, cursor).cursor
    assert {one.json["data"]["run_id"] for one in receiver.received} == runs


def test_without_a_receiver_the_log_is_enough(
    instance: dg.DagsterInstance, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THREADS_AGENT_ALERT_WEBHOOK_URL")
    _fail(instance)
    _tick(instance)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM outbox WHERE delivered_at IS NULL")).scalar_one() == 0
