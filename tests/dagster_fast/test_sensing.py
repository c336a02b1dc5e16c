"""Waiting for work: prompt, one at a time, and nothing slips between two turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import psycopg
import pytest

from threads_agent_dagster.dagster_fast.sensing import wait_for_work

CHANNEL = "work"
LOCK = 4711
NEVER = 3600.0


@pytest.fixture
def url(empty_database_url: str) -> str:
    address = empty_database_url.replace("+psycopg", "")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE TABLE work (id bigserial PRIMARY KEY, dispatched boolean NOT NULL DEFAULT false)")
        connection.execute(
            "CREATE FUNCTION announce() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_notify('work', ''); RETURN NULL; END $$"
        )
        connection.execute("CREATE TRIGGER announce AFTER INSERT ON work EXECUTE FUNCTION announce()")
    return empty_database_url


@pytest.fixture
def writer(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        yield connection


def waiting(connection: psycopg.Connection[Any]) -> list[int]:
    return [row[0] for row in connection.execute("SELECT id FROM work WHERE NOT dispatched ORDER BY id")]


def insert(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("INSERT INTO work DEFAULT VALUES RETURNING id").fetchone()
    assert row is not None
    return int(row[0])


def listeners(connection: psycopg.Connection[Any], state: str) -> int:
    """How many sensors are `idle` (listening) or `active` (standing by in the lock)."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sensor' AND state = %s AND query ~ %s"
    row = connection.execute(query, [state, "advisory_lock" if state == "active" else "SELECT id"]).fetchone()
    assert row is not None
    return int(row[0])


def test_work_that_waits_already_is_found_at_once(url: str, writer: psycopg.Connection[Any]) -> None:
    waiting_id = insert(writer)
    assert wait_for_work(url, CHANNEL, 10, LOCK, find=waiting, recheck_seconds=NEVER) == [waiting_id]


def test_nothing_is_returned_when_time_is_up(url: str) -> None:
    assert wait_for_work(url, CHANNEL, 0.05, LOCK, find=waiting) is None


def test_a_commit_wakes_the_listener(url: str, writer: psycopg.Connection[Any], until: Callable[..., Any]) -> None:
    with ThreadPoolExecutor() as pool:
        found = pool.submit(wait_for_work, url, CHANNEL, 20, LOCK, find=waiting, recheck_seconds=NEVER)
        until(lambda: listeners(writer, "idle"), "the sensor to listen")
        assert not found.done()
        event = insert(writer)
        assert found.result(timeout=20) == [event]


def test_work_that_comes_with_time_is_found_without_notification(
    url: str, writer: psycopg.Connection[Any], until: Callable[..., Any]
) -> None:
    writer.execute("ALTER TABLE work DISABLE TRIGGER announce")
    with ThreadPoolExecutor() as pool:
        found = pool.submit(wait_for_work, url, CHANNEL, 20, LOCK, find=waiting, recheck_seconds=0.05)
        until(lambda: listeners(writer, "idle"), "the sensor to listen")
        waiting_id = insert(writer)
        assert found.result(timeout=20) == [waiting_id]


def test_one_listens_and_the_next_gets_only_what_comes_later(
    url: str, writer: psycopg.Connection[Any], until: Callable[..., Any]
) -> None:
    def sensor() -> Future[list[int] | None]:
        return pool.submit(wait_for_work, url, CHANNEL, 20, LOCK, find=waiting, recheck_seconds=NEVER)

    with ThreadPoolExecutor() as pool:
        first = sensor()
        until(lambda: listeners(writer, "idle"), "the first to listen")
        second = sensor()
        until(lambda: listeners(writer, "active"), "the second to stand by")
        handed_out = insert(writer)
        assert first.result(timeout=20) == [handed_out]
        until(lambda: listeners(writer, "active") == 0, "the second to take its turn")
        # Its run is only being launched, so the table still says that the work waits.
        with pytest.raises(TimeoutError):
            second.result(timeout=0.3)
        later = insert(writer)
        assert second.result(timeout=20) == [handed_out, later]


def test_work_committed_while_nobody_listens_is_found_next(url: str, writer: psycopg.Connection[Any]) -> None:
    assert wait_for_work(url, CHANNEL, 0.05, LOCK, find=waiting, recheck_seconds=NEVER) is None
    waiting_id = insert(writer)
    assert wait_for_work(url, CHANNEL, 10, LOCK, find=waiting, recheck_seconds=NEVER) == [waiting_id]


def test_a_late_commit_is_found_though_its_id_is_old(
    url: str, writer: psycopg.Connection[Any], until: Callable[..., Any]
) -> None:
    with psycopg.connect(url.replace("+psycopg", "")) as slow, ThreadPoolExecutor() as pool:
        old = insert(slow)
        new = insert(writer)
        assert wait_for_work(url, CHANNEL, 10, LOCK, find=waiting, recheck_seconds=NEVER) == [new]
        writer.execute("UPDATE work SET dispatched = true")
        found = pool.submit(wait_for_work, url, CHANNEL, 20, LOCK, find=waiting, recheck_seconds=NEVER)
        until(lambda: listeners(writer, "idle"), "the sensor to listen")
        slow.commit()
        assert found.result(timeout=20) == [old]


def test_no_event_is_lost_between_the_turns_of_three_sensors(url: str) -> None:
    """Without rechecks, every event must come to somebody by its notification alone, while turns change all the time.

    A dispatched row is marked a moment later, as a run needs to start; so an event that fell into the gap between two
    turns would wait for ever.
    """
    events, writers = 120, 4
    dispatched: set[int] = set()
    done = threading.Event()

    def sensor() -> None:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as runs:
            while not done.is_set():
                found = wait_for_work(url, CHANNEL, NEVER, LOCK, find=waiting, recheck_seconds=NEVER) or []
                time.sleep(0.01)  # the daemon launches the run
                runs.execute("UPDATE work SET dispatched = true WHERE id = ANY(%s)", [found])
                dispatched.update(found)
                if len(dispatched) >= events:
                    done.set()

    def write() -> None:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            for _ in range(events // writers):
                insert(connection)

    with ThreadPoolExecutor() as pool:
        sensors = [pool.submit(sensor) for _ in range(3)]
        for finished in [pool.submit(write) for _ in range(writers)]:
            finished.result(timeout=60)
        assert done.wait(30), f"{events - len(dispatched)} events lost"
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            while wait(sensors, timeout=0.1).not_done:
                insert(connection)  # ends the wait of one
        for each in sensors:
            each.result()
