"""Two daemons on one database: one works, the other waits and takes over."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from threads_agent_dagster.dagster_fast.daemon import LOST
from threads_agent_dagster.dagster_fast.sensing import libpq

WORKS = "Instance is configured with the following daemons"
WAITS = "another daemon works on this database since"
HOLDERS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"


class Daemon:
    """A real daemon with a log of its own."""

    def __init__(self, folder: Path, code: Path, url: str, name: str) -> None:
        home = folder / name
        home.mkdir()
        config = {"telemetry": {"enabled": False}, "storage": {"postgres": {"postgres_url": url}}}
        (home / "dagster.yaml").write_text(yaml.safe_dump(config))
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "threads_agent_dagster.dagster_fast.daemon", "run", "-m", "location"],
                cwd=code,
                env={**os.environ, "DAGSTER_HOME": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def said(self, words: str) -> bool:
        assert self.process.poll() is None or words in self._log.read_text(), self._log.read_text()
        return words in self._log.read_text()


@pytest.fixture
def start(tmp_path: Path, code: Path, dagster_database: str) -> Iterator[Callable[[str], Daemon]]:
    daemons: list[Daemon] = []

    def daemon(name: str) -> Daemon:
        daemons.append(Daemon(tmp_path, code, dagster_database, name))
        return daemons[-1]

    yield daemon
    for one in daemons:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def database(dagster_database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(libpq(dagster_database), autocommit=True) as connection:
        yield connection


def _cut(database: psycopg.Connection[Any]) -> list[int]:
    """Ends the sessions that hold an advisory lock; returns which those were."""
    pids = [pid for (pid,) in database.execute(HOLDERS)]
    for pid in pids:
        database.execute("SELECT pg_terminate_backend(%s)", [pid])
    return pids


def _holders(database: psycopg.Connection[Any]) -> list[int]:
    return [pid for (pid,) in database.execute(HOLDERS)]


def test_the_second_daemon_waits_and_takes_over_when_the_first_is_killed(
    start: Callable[[str], Daemon], until: Callable[..., Any]
) -> None:
    first = start("first")
    until(lambda: first.said(WORKS), "the first daemon to work")
    second = start("second")
    until(lambda: second.said(WAITS), "the second daemon to say that it waits")
    assert not second.said(WORKS)
    first.process.kill()
    until(lambda: second.said(WORKS), "the second daemon to take over")


def test_a_cut_connection_does_not_cost_a_daemon_its_turn_unless_another_waits(
    start: Callable[[str], Daemon], until: Callable[..., Any], database: psycopg.Connection[Any]
) -> None:
    first = start("first")
    until(lambda: first.said(WORKS), "the first daemon to work")
    (cut,) = _cut(database)
    until(lambda: (held := _holders(database)) and held != [cut], "the daemon to take its turn again")
    assert first.process.poll() is None
    second = start("second")
    until(lambda: second.said(WAITS), "the second daemon to wait")
    _cut(database)
    assert first.process.wait(60) == LOST
    until(lambda: second.said(WORKS), "the second daemon to take over")
