"""Claim, compute, store: what happens to good rows, failing rows, poison, and rows whose input moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from threads_agent_dagster.db import pending
from threads_agent_dagster.db.pending import MAX_ATTEMPTS, Claimed, Days, Priority
from threads_agent_dagster.errors import Unavailable
from threads_agent_dagster.work.drain import Drained, Failure, Job, Origin, drain

DAY = date(2026, 1, 1)
ORIGIN = Origin("run-1", "1")


class Recorder:
    """A job that records the batches it computed and the keys it stored."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.stored: list[str] = []
        self.dead: dict[str, str] = {}
        self.job: Job[list[str], str] = Job(
            asset="toy",
            code_version="1",
            load=lambda _, rows: [row.key for row in rows],
            compute=self.compute,
            store=self.store,
            dead=lambda _, dead: self.dead.update(dead),
            batch_size=3,
        )

    def compute(self, keys: Sequence[str]) -> Mapping[str, str | Failure]:
        self.batches.append(list(keys))
        if any(key.startswith("poison") for key in keys):
            raise ValueError("poison")
        return {key: Failure("bad payload") if key.startswith("bad") else key.upper() for key in keys}

    def store(self, connection: Connection, results: Mapping[str, str], origin: Origin) -> set[str]:
        assert origin is ORIGIN
        self.stored += results.values()
        return set()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def _mark(engine: Engine, *keys: str, day: date = DAY, priority: int = Priority.MEDIUM) -> None:
    with engine.begin() as connection:
        pending.mark(connection, "toy", [(key, day) for key in keys], priority)


def _rows(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return {row.key: row for row in connection.execute(text("SELECT * FROM pending WHERE asset = 'toy'"))}


def _drain(engine: Engine, job: Job[Any, Any], days: Days | None = None) -> Drained:
    return drain(engine, job, days, ORIGIN, seconds=30)


def test_everything_waiting_is_stored_in_batches_and_leaves_the_queue(engine: Engine, recorder: Recorder) -> None:
    _mark(engine, "a", "b", "c", "d")
    assert _drain(engine, recorder.job).stored == 4
    assert sorted(recorder.stored) == ["A", "B", "C", "D"]
    assert [len(batch) for batch in recorder.batches] == [3, 1]
    assert _rows(engine) == {}


def test_only_the_days_of_the_range_are_worked_on(engine: Engine, recorder: Recorder) -> None:
    _mark(engine, "old", day=date(2020, 1, 1))
    _mark(engine, "new")
    _drain(engine, recorder.job, Days(DAY, DAY))
    assert recorder.stored == ["NEW"]
    assert set(_rows(engine)) == {"old"}


def test_high_priority_goes_first_then_age(engine: Engine, recorder: Recorder) -> None:
    _mark(engine, "low", priority=Priority.LOW)
    _mark(engine, "first")
    _mark(engine, "second")
    _mark(engine, "high", priority=Priority.HIGH)
    _drain(engine, replace(recorder.job, batch_size=1))
    assert recorder.stored == ["HIGH", "FIRST", "SECOND", "LOW"]


def test_low_priority_does_not_starve(engine: Engine, recorder: Recorder) -> None:
    _mark(engine, "low", priority=Priority.LOW)
    with engine.begin() as connection:
        connection.execute(text("SELECT setval('pending_change', 3000000)"))
    _mark(engine, "high", priority=Priority.HIGH)
    _drain(engine, replace(recorder.job, batch_size=1))
    assert recorder.stored == ["LOW", "HIGH"]


def test_a_row_that_can_never_succeed_is_dead_with_its_error(engine: Engine, recorder: Recorder) -> None:
    _mark(engine, "good", "bad")
    done = _drain(engine, recorder.job)
    assert (done.stored, done.failed, done.dead) == (1, 1, 1)
    assert recorder.dead == {"bad": "bad payload"}
    assert _rows(engine)["bad"].dead_at is not None


def test_poison_takes_nobody_with_it(engine: Engine, recorder: Recorder) -> None:
    _mark(engine, "a", "poison", "b")
    for _ in range(MAX_ATTEMPTS + 1):
        _drain(engine, recorder.job)
        with engine.begin() as connection:  # the back-off is waited for elsewhere
            connection.execute(text("UPDATE pending SET not_before = NULL"))
    assert sorted(recorder.stored) == ["A", "B"]
    (dead,) = _rows(engine).values()
    assert (dead.key, dead.attempts, dead.error) == ("poison", MAX_ATTEMPTS, "ValueError: poison")
    assert recorder.batches.count(["poison"]) == MAX_ATTEMPTS - 1, "from the second attempt on it is claimed alone"
    assert recorder.dead == {"poison": "ValueError: poison"}


def test_a_worker_that_always_dies_buries_its_row(engine: Engine, recorder: Recorder) -> None:
    _mark(engine, "a")
    for attempt in range(MAX_ATTEMPTS):
        with engine.begin() as connection:
            batch = pending.claim(connection, "toy", None, limit=5, lease_seconds=0, again=attempt > 0)
            assert batch is not None
    _drain(engine, recorder.job)
    assert recorder.stored == []
    assert recorder.dead == {"a": "the worker died or lost its lease 5 times"}


def test_redrive_revives_the_dead(engine: Engine, recorder: Recorder) -> None:
    _mark(engine, "bad")
    _drain(engine, recorder.job)
    with engine.begin() as connection:
        assert len(pending.redrive(connection, "toy")) == 1
    recorder.job = replace(recorder.job, compute=lambda keys: {key: key for key in keys})
    assert _drain(engine, recorder.job).stored == 1
    assert _rows(engine) == {}


def test_a_row_whose_input_moves_meanwhile_is_done_again(engine: Engine, recorder: Recorder) -> None:
    moved = iter([True])

    def compute(keys: Sequence[str]) -> Mapping[str, str | Failure]:
        if next(moved, False):
            _mark(engine, "a")
        return recorder.compute(keys)

    _mark(engine, "a")
    _drain(engine, replace(recorder.job, compute=compute))
    assert recorder.stored == ["A", "A"]
    assert _rows(engine) == {}


def test_results_of_a_lost_claim_are_dropped(engine: Engine, recorder: Recorder) -> None:
    def compute(keys: Sequence[str]) -> Mapping[str, str | Failure]:
        with engine.begin() as connection:  # the lease ended and another worker took over
            connection.execute(text("UPDATE pending SET claim = nextval('pending_change')"))
        return recorder.compute(keys)

    _mark(engine, "a")
    done = drain(engine, replace(recorder.job, compute=compute), None, ORIGIN, seconds=30)
    assert (done.stored, done.lost) == (0, 1)
    assert recorder.stored == []
    assert set(_rows(engine)) == {"a"}


def test_when_a_dependency_is_away_no_row_is_blamed(engine: Engine, recorder: Recorder) -> None:
    def compute(_: Sequence[str]) -> Mapping[str, str | Failure]:
        raise Unavailable("the model does not answer")

    _mark(engine, "a", "b")
    assert _drain(engine, replace(recorder.job, compute=compute)).postponed == 2
    rows = _rows(engine)
    assert {row.attempts for row in rows.values()} == {0}
    assert {row.error for row in rows.values()} == {"the model does not answer"}


def test_input_that_is_gone_leaves_the_queue(engine: Engine, recorder: Recorder) -> None:
    _mark(engine, "gone")
    done = _drain(engine, replace(recorder.job, load=lambda *_: []))
    assert done.stored == 0
    assert _rows(engine) == {}


def test_claimed_rows_are_left_alone_until_their_lease_ends(engine: Engine, recorder: Recorder) -> None:
    _mark(engine, "a")
    with engine.begin() as connection:
        pending.claim(connection, "toy", None, limit=5, lease_seconds=60, again=False)
    assert _drain(engine, recorder.job).stored == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE pending SET lease_until = clock_timestamp() - interval '1 second'"))
    assert _drain(engine, recorder.job).stored == 1


def test_claims_say_so_in_the_claiming_transaction(engine: Engine, recorder: Recorder) -> None:
    seen: list[Claimed] = []
    _mark(engine, "a")
    _drain(engine, replace(recorder.job, claimed=lambda _, rows: seen.extend(rows)))
    assert [(row.key, row.attempts) for row in seen] == [("a", 1)]
