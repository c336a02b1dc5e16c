"""The queue tells who listens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text

from threads_agent_dagster.db import pending


def _mark(connection: Connection) -> None:
    pending.mark(connection, "posts", [("task:1", date(2026, 1, 1)), ("task:2", date(2026, 1, 1))])


def _mark_twice(connection: Connection) -> None:
    _mark(connection)
    _mark(connection)


def _insert_post(connection: Connection) -> None:
    connection.execute(text("INSERT INTO posts (persona_id, hook, body, ts) VALUES ('default', 'A hook', '', now())"))


@pytest.mark.parametrize("cause", [_mark, _mark_twice, _insert_post])
def test_marked_rows_are_announced_once_when_they_are_committed(
    engine: Engine, database_url: str, cause: Callable[[Connection], None]
) -> None:
    with psycopg.connect(database_url, autocommit=True) as listener, engine.connect() as connection:
        listener.execute(f"LISTEN {pending.CHANNEL}")
        cause(connection)
        assert list(listener.notifies(timeout=0)) == []
        connection.commit()
        assert [notice.channel for notice in listener.notifies(timeout=60, stop_after=1)] == [pending.CHANNEL]
        assert list(listener.notifies(timeout=0)) == []


def test_a_claim_and_its_heartbeat_are_silent_and_a_moved_input_is_not(engine: Engine, database_url: str) -> None:
    with engine.begin() as connection:
        _mark(connection)
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute(f"LISTEN {pending.CHANNEL}")
        with engine.begin() as connection:
            batch = pending.claim(connection, "posts", None, limit=10, lease_seconds=30, again=False)
            assert batch is not None
            assert pending.extend(connection, "posts", batch.token, 30) == 2
        assert list(listener.notifies(timeout=0)) == []
        with engine.begin() as connection:
            _mark(connection)
        assert [notice.payload for notice in listener.notifies(timeout=60, stop_after=1)] == ["posts"]
