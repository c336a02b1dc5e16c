"""Alerts: each failure once, whatever dies; at most so many an hour, with the number of those withheld."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from tests.receiver import Receiver
from threads_agent_dagster.clients import alerts as clients
from threads_agent_dagster.db import pending
from threads_agent_dagster.db.alerts import tell_dead, tell_failed_run
from threads_agent_dagster.work import alerts, dead_letters
from threads_agent_dagster.work.drain import Drained, Failure, Job, Origin, drain

DAY = date(2026, 1, 1)
Deliver = Callable[..., Drained]


@pytest.fixture
def deliver(engine: Engine, receiver: Receiver) -> Deliver:
    """Drains the outbox to the receiver, as the sensor does."""

    def run(per_hour: int = 30, send: alerts.Send | None = None) -> Drained:
        post = clients.Receiver(SecretStr(receiver.url), None).send
        return drain(engine, alerts.job(send or post, per_hour, 15), None, Origin(None, "1"), seconds=20)

    return run


def _fail_runs(engine: Engine, *ids: str) -> None:
    with engine.begin() as connection:
        for run_id in ids:
            tell_failed_run(connection, run_id, "metrics", "it broke", f"http://dagster/runs/{run_id}")


def _let_time_pass(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE pending SET not_before = NULL"))
        connection.execute(text("UPDATE outbox SET delivered_at = delivered_at - interval '61 minutes'"))


def _kill_a_row(engine: Engine, key: str) -> None:
    """A row of the table `toy` dies as rows do."""
    with engine.begin() as connection:
        pending.mark(connection, "toy", [(key, DAY)])

    def compute(keys: list[str]) -> Mapping[str, str | Failure]:
        return {key: Failure("it is no JSON") for key in keys}

    job: Job[list[str], str] = Job(
        asset="toy",
        code_version="1",
        load=lambda _, rows: [row.key for row in rows],
        compute=compute,
        store=lambda *_: set(),
    )
    assert drain(engine, job, None, Origin(None, "1")).dead == 1


def _waiting(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM pending WHERE asset = 'alerts' ORDER BY change")))


def test_a_failed_run_is_told_once_however_often_it_is_seen(
    engine: Engine, deliver: Deliver, receiver: Receiver
) -> None:
    _fail_runs(engine, "a", "a")
    assert deliver().stored == 1
    _fail_runs(engine, "a")
    assert deliver().stored == 0
    (one,) = receiver.received
    assert one.json["type"] == "run.failed"
    assert one.json["text"] == "Run of metrics failed: it broke http://dagster/runs/a"
    assert one.json["data"] == {"run_id": "a", "job": "metrics", "error": "it broke", "url": "http://dagster/runs/a"}
    assert one.json["withheld"] == 0


def test_a_row_that_dies_is_told_of_in_the_transaction_in_which_it_dies(
    engine: Engine, deliver: Deliver, receiver: Receiver
) -> None:
    _kill_a_row(engine, "task:1")
    assert deliver().stored == 1
    assert receiver.received[0].json["data"] | {"day": None} == {
        "asset": "toy",
        "key": "task:1",
        "day": None,
        "attempts": 1,
        "error": "it is no JSON",
    }
    _kill_a_row(engine, "task:1")  # it was marked anew and died again: that is another failure
    assert deliver().stored == 1


def test_what_is_rolled_back_is_not_told(engine: Engine) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        tell_failed_run(connection, "a", "metrics", "it broke", "")
        transaction.rollback()
    assert _waiting(engine) == []


def test_an_alert_that_dies_makes_no_alert_and_is_redriven(
    engine: Engine, deliver: Deliver, receiver: Receiver
) -> None:
    receiver.answers = [(404, {}, b"")]
    _fail_runs(engine, "a")
    assert deliver().dead == 1
    (dead,) = _waiting(engine)
    assert dead.dead_at is not None
    assert "404" in dead.error
    with engine.begin() as connection:
        tell_dead(connection, "alerts", [dead.key])
        assert dead_letters.redrive(connection, "alerts", dead.key) == 1
    assert deliver().stored == 1
    assert len(receiver.received) == 2
    assert _waiting(engine) == []


def test_a_receiver_that_is_away_is_tried_later_and_gets_everything(
    engine: Engine, deliver: Deliver, receiver: Receiver
) -> None:
    receiver.answers = [(503, {"Retry-After": "120"}, b"")]
    _fail_runs(engine, "a", "b")
    assert deliver().postponed == 2
    assert deliver().stored == 0, "it is not asked again before its time"
    assert [row.attempts for row in _waiting(engine)] == [0, 0]
    _let_time_pass(engine)
    assert deliver().stored == 2
    assert len(receiver.received) == 3


def test_a_receiver_that_fails_in_the_middle_gets_nothing_twice(
    engine: Engine, deliver: Deliver, receiver: Receiver
) -> None:
    receiver.answers = [(200, {}, b""), (503, {}, b"")]
    _fail_runs(engine, "a", "b", "c")
    assert deliver().stored == 3, "what was sent is stored, the others are tried again at once"
    told = [one.json["data"]["run_id"] for one in receiver.received]
    assert told == ["a", "b", "b", "c"]


def test_above_the_limit_alerts_are_counted_and_not_lost(engine: Engine, deliver: Deliver, receiver: Receiver) -> None:
    _fail_runs(engine, "a", "b")
    assert deliver(per_hour=2).stored == 2
    _fail_runs(engine, "c", "d", "e", "f", "g")
    assert deliver(per_hour=2).postponed == 5
    assert len(receiver.received) == 2
    _let_time_pass(engine)
    assert deliver(per_hour=2).stored == 5
    first, second = receiver.received[2:]
    assert (first.json["data"]["run_id"], first.json["withheld"]) == ("c", 3)
    assert "3 more alerts were withheld" in first.json["text"]
    assert (second.json["data"]["run_id"], second.json["withheld"]) == ("d", 0)
    with engine.connect() as connection:
        withheld = connection.execute(text("SELECT count(*) FROM outbox WHERE withheld")).scalar_one()
    assert withheld == 3


def test_a_sender_that_dies_after_posting_posts_again_under_the_same_id(
    engine: Engine, deliver: Deliver, receiver: Receiver
) -> None:
    def post_and_die(message_id: str, *arguments: Any) -> None:
        clients.Receiver(SecretStr(receiver.url), None).send(message_id, *arguments)
        raise KeyboardInterrupt

    _fail_runs(engine, "a")
    with pytest.raises(KeyboardInterrupt):
        deliver(send=post_and_die)
    with engine.begin() as connection:
        connection.execute(text("UPDATE pending SET lease_until = clock_timestamp()"))
    assert deliver().stored == 1
    first, again = receiver.received
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
