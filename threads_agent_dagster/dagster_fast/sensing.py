"""Sensors that wait in LISTEN inside their tick, and so start within milliseconds of the commit that makes work.

Dagster's sensor daemon looks at a sensor every 5 s at best, whatever interval it asks for; but a tick may last up to
60 s. So some copies of one sensor (three are enough) take turns: one listens while the others stand by behind an
advisory lock, and as soon as it returns with work, the next one listens while the daemon launches the run. It takes
`sensors: {use_threads: true}` in dagster.yaml, or the copies would wait for each other in the daemon.

    for copy in range(3):
        @dg.sensor(name=f"inbox_{copy}", minimum_interval_seconds=1, default_status=RUNNING, ...)
        def inbox(context):
            ranges = wait_for_work(url, "pending", 50, INBOX_LOCK, find=claimable_ranges)
            return [request(range) for range in ranges or []]
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg import sql

Work = TypeVar("Work")
Find = Callable[[psycopg.Connection[Any]], Work | None]

RECHECK_SECONDS = 1.0
TURN_SUFFIX = "_turn"


def wait_for_work(
    database_url: str,
    channel: str,
    seconds: float,
    lock_id: int,
    *,
    find: Find[Work],
    recheck_seconds: float = RECHECK_SECONDS,
) -> Work | None:
    """What `find` found (anything truthy), or None after `seconds` (keep it below Dagster's 60 s for a tick).

    `find` is called after every NOTIFY on `channel`, and every `recheck_seconds` for work that comes with time alone
    (an expired lease, a retry that is due). It shall leave out what an unfinished run works on: Dagster compares run
    keys within one sensor only, not between the copies. There is no blind gap: whoever stands by is listening already,
    work whose commit the returning copy has seen is not reported to the next one, and everything that is committed
    later is. Raises psycopg.OperationalError when the database is away.
    """
    deadline = time.monotonic() + seconds
    with psycopg.connect(libpq(database_url), autocommit=True, application_name="sensor") as connection:
        watch = _Watch(connection, channel)
        if not _take_turn(connection, lock_id, deadline):
            return None
        found = watch.look_after_turn(find)
        while not found and (remaining := deadline - time.monotonic()) > 0:
            found = watch.next(find, min(remaining, recheck_seconds))
        return found or None


class _Watch:
    """One connection that listens for work and for turns.

    PostgreSQL delivers the notifications of all channels in the order of their commits, the same to everyone. So a
    copy that is about to return sends a marker, waits until it sees it itself, and looks at the tables only then: what
    was committed before the marker it has seen; what comes after the marker is the next copy's.
    """

    def __init__(self, connection: psycopg.Connection[Any], channel: str) -> None:
        self._connection = connection
        self._turn = channel + TURN_SUFFIX
        for name in (channel, self._turn):
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(name)))

    def look_after_turn(self, find: Find[Work]) -> Work | None:
        heard = self._heard(0)
        if self._turn not in heard:  # no one handed over to us: the table may hold anything
            return self._look(find)
        return self._mark_and_look(find) if heard[-1] != self._turn else None

    def next(self, find: Find[Work], seconds: float) -> Work | None:
        return self._mark_and_look(find) if self._heard(seconds) else self._look(find)

    def _look(self, find: Find[Work]) -> Work | None:
        return self._mark_and_look(find) if find(self._connection) else None

    def _mark_and_look(self, find: Find[Work]) -> Work | None:
        self._connection.execute("SELECT pg_notify(%s, '')", [self._turn])
        while self._turn not in self._heard(1.0):
            continue
        return find(self._connection)

    def _heard(self, seconds: float) -> list[str]:
        return [notice.channel for notice in self._connection.notifies(timeout=seconds, stop_after=1)]


def _take_turn(connection: psycopg.Connection[Any], lock_id: int, deadline: float) -> bool:
    milliseconds = max(1, round((deadline - time.monotonic()) * 1000))
    connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{milliseconds}ms"])
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", [lock_id])
    except psycopg.errors.LockNotAvailable:
        return False
    return True


def libpq(database_url: str) -> str:
    """The URL without the driver that SQLAlchemy is told of."""
    scheme, separator, rest = database_url.partition("://")
    return scheme.partition("+")[0] + separator + rest
