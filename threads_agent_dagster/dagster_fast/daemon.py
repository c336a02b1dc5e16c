"""Dagster's daemon, once per database: `python -m threads_agent_dagster.dagster_fast.daemon run -w workspace.yaml`.

The options are those of `dagster-daemon`. Two daemons on one database ask for every run twice, and Dagster only warns.
Here the second one waits, says so, and takes over in the moment in which the first one ends. The lock is a session's:
PostgreSQL gives it back when the process dies, whatever killed it, or when its machine has been silent for 25 s.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

import psycopg
from dagster import DagsterInstance
from dagster._daemon.cli import cli

from threads_agent_dagster.dagster_fast.sensing import libpq
from threads_agent_dagster.errors import ConfigurationError

LOCK = 7_202_600_002  # PostgreSQL's number of the advisory lock; any that nobody else takes
LOOK_SECONDS = 2.0
RECONNECT_SECONDS = 1.0
LOST = 3  # exit code of a daemon that another one has replaced
SESSION = {
    "tcp_keepalives_idle": "10",  # s; with the next two: a machine that vanished is noticed after 25 s
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "lock_timeout": "0",
    "statement_timeout": "0",
    "idle_session_timeout": "0",
    "timezone": "UTC",
}
HOLDER = (
    "SELECT activity.pid, activity.backend_start FROM pg_locks JOIN pg_stat_activity AS activity USING (pid) "
    "WHERE locktype = 'advisory' AND classid = %(lock)s >> 32 AND objid = %(lock)s & 4294967295 AND objsubid = 1 "
    "AND granted AND activity.datname = current_database()"
)
log = logging.getLogger("dagster_fast.daemon")


class Turn:
    """The right to be the daemon of a database, held by an open session."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: psycopg.Connection[Any] | None = None

    def take(self) -> None:
        """Returns once it is ours; waits while another daemon has it or PostgreSQL is away."""
        while self._session is None:
            try:
                self._session = self._wait(_connect(self._url))
            except psycopg.OperationalError as error:
                log.warning("PostgreSQL does not answer (%s); trying again", type(error).__name__)
                time.sleep(RECONNECT_SECONDS)

    def keep(self) -> None:
        """Returns when the turn is lost to another daemon. A restart of PostgreSQL alone does not lose it."""
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                if self._session is None:
                    session = _connect(self._url)
                    if not _try(session):
                        return
                    self._session = session
                self._session.execute("SELECT 1")
            except psycopg.OperationalError:
                self._session = None

    def _wait(self, session: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
        if not _try(session):
            holder = session.execute(HOLDER, {"lock": LOCK}).fetchone()
            since = f"since {holder[1]:%Y-%m-%d %H:%M:%S} UTC (its session: {holder[0]})" if holder else "already"
            log.warning("another daemon works on this database %s; this one waits until it ends", since)
            session.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            log.warning("the other daemon has ended; this one takes over")
        return session


def _connect(url: str) -> psycopg.Connection[Any]:
    session = psycopg.connect(libpq(url), autocommit=True, connect_timeout=5, application_name="threads-agent-daemon")
    for name, value in SESSION.items():
        session.execute("SELECT set_config(%s, %s, false)", [name, value])
    return session


def _try(session: psycopg.Connection[Any]) -> bool:
    row = session.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
    return row is not None and bool(row[0])


def database_url() -> str:
    """Where the instance of DAGSTER_HOME keeps its runs. Raises ConfigurationError when that is not PostgreSQL."""
    with DagsterInstance.get() as instance:
        url: str | None = getattr(instance.run_storage, "postgres_url", None)
    if url is None:
        raise ConfigurationError("one daemon per database needs Dagster's storage in PostgreSQL; see dagster.yaml")
    return url


def _watch(turn: Turn) -> None:
    turn.keep()
    log.error("another daemon has taken over this database; this one ends")
    os._exit(LOST)


def _log_to_stderr() -> None:
    """Only what is said here: Dagster sets up its own logging later."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.propagate = False


def main() -> None:
    _log_to_stderr()
    turn = Turn(database_url())
    turn.take()
    threading.Thread(target=_watch, args=[turn], name="turn", daemon=True).start()
    cli(obj={}, prog_name="dagster-daemon")


if __name__ == "__main__":
    main()
