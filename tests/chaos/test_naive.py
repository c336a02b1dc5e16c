"""What the queue is for: the naive way (a cursor over ids, a run key, no fence) is seen to lose and to overwrite.

Each story is told to both; the naive one must come out wrong, or the story would prove nothing about the other.
"""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text

from tests.chaos.trial import TIERS, attempt
from threads_agent_dagster.db import pending

ASSET = "naive"
DAY = date(2026, 1, 1)
SET_UP = """
CREATE TABLE events (id bigserial PRIMARY KEY, name text NOT NULL);
CREATE TABLE results (name text PRIMARY KEY, value int NOT NULL);
"""
ADD = text("INSERT INTO events (name) VALUES (:name)")
STORE = text("INSERT INTO results VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
AFTER = text("SELECT id, name FROM events WHERE id > :cursor ORDER BY id")
RESULT = text("SELECT value FROM results WHERE name = 'late'")
EXPIRE = text("UPDATE pending SET lease_until = '2020-01-01'")


class Cursor:
    """The naive worker: what is beyond the cursor is new, and each run key runs once."""

    def __init__(self) -> None:
        self._cursor, self._run_keys = 0, set[int]()

    def names(self, connection: Connection) -> list[str]:
        rows = [row for row in connection.execute(AFTER, {"cursor": self._cursor}) if row.id not in self._run_keys]
        self._run_keys |= {row.id for row in rows}
        self._cursor = max([self._cursor, *(row.id for row in rows)])
        return [row.name for row in rows]


@pytest.fixture
def events(engine: Engine) -> Engine:
    with engine.begin() as connection:
        connection.execute(text(SET_UP))
    return engine


def _add(connection: Connection, name: str) -> None:
    connection.execute(ADD, {"name": name})
    pending.mark(connection, ASSET, [(name, DAY)])


def _claim(engine: Engine, *, again: bool = False) -> pending.Batch | None:
    with engine.begin() as connection:
        return pending.claim(connection, ASSET, None, limit=10, lease_seconds=60, again=again)


def _keys(batch: pending.Batch | None) -> list[str]:
    return [] if batch is None else [row.key for row in batch.rows]


def test_a_late_commit_is_lost_by_a_cursor_and_found_by_the_queue(events: Engine) -> None:
    cursor = Cursor()
    with events.connect() as late, late.begin() as transaction:
        _add(late, "late")  # has the smaller id, and commits last
        with events.begin() as early:
            _add(early, "early")
        with events.connect() as reader:
            assert cursor.names(reader) == ["early"]
        assert _keys(_claim(events)) == ["early"]
        transaction.commit()
    with events.connect() as reader:
        assert cursor.names(reader) == []  # lost for ever
    assert _keys(_claim(events)) == ["late"]


def _store(engine: Engine, batch: pending.Batch, value: int, *, fenced: bool) -> None:
    with engine.begin() as connection:
        ours = pending.fence(connection, batch, ["late"]) if fenced else {"late"}
        for name in ours:
            connection.execute(STORE, {"name": name, "value": value})
        pending.finish(connection, batch, ours)


@pytest.mark.parametrize(("fenced", "outcome"), [(True, 2), (False, 1)])
def test_a_zombie_overwrites_newer_results_unless_it_is_fenced(events: Engine, fenced: bool, outcome: int) -> None:
    with events.begin() as connection:
        _add(connection, "late")
    zombie = _claim(events)
    with events.begin() as connection:
        connection.execute(EXPIRE)
        pending.mark(connection, ASSET, [("late", DAY)])  # the input moved
    taker = _claim(events)
    assert zombie is not None
    assert taker is not None
    _store(events, taker, 2, fenced=fenced)
    _store(events, zombie, 1, fenced=fenced)
    with events.connect() as connection:
        assert connection.execute(RESULT).scalar_one() == outcome


@pytest.mark.e2e
@pytest.mark.timeout(1800)
def test_the_ledger_of_a_whole_platform_sees_what_the_naive_way_loses() -> None:
    with tempfile.TemporaryDirectory(prefix="ta-chaos-") as folder:
        outcome = attempt(Path(folder), TIERS["S"], seed=1, naive=True)
    assert outcome.verdict.lost["tasks"], outcome.report()
