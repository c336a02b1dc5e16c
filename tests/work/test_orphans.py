"""What a dead worker had claimed is free at once; what a living or stopped one has claimed is not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine, text

from threads_agent_dagster.db import pending
from threads_agent_dagster.work import drain as drains
from threads_agent_dagster.work.drain import Heartbeat

DAY = date(2026, 1, 1)
WORKS_FOR_EVER = """
import sys, time
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.work.drain import Job, Origin, drain
job = Job("toy", "1", lambda _, rows: [], lambda _: time.sleep(600), lambda *_: set())
drain(make_engine(sys.argv[1]), job, None, Origin(None, "1"), lease_seconds=300)
"""


@pytest.fixture
def worker(engine: Engine, database_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has claimed a row for five minutes and computes."""
    with engine.begin() as connection:
        pending.mark(connection, "toy", [("a", DAY)])
    with subprocess.Popen([sys.executable, "-c", WORKS_FOR_EVER, database_url]) as process:
        _until(lambda: _leased(engine))
        yield process
        process.kill()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _leased(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.execute(text("SELECT count(*) FROM pending WHERE claim IS NOT NULL")).scalar_one())


def _release(engine: Engine) -> int:
    with engine.begin() as connection:
        return pending.release_orphans(connection)


def test_the_claims_of_a_killed_worker_are_free_long_before_their_lease_ends(
    engine: Engine, worker: subprocess.Popen[bytes]
) -> None:
    assert _release(engine) == 0
    worker.kill()
    _until(lambda: _release(engine) == 1)
    with engine.begin() as connection:
        again = pending.claim(connection, "toy", None, limit=1, lease_seconds=30, again=True)
    assert again is not None
    assert again.rows[0].attempts == 2, "the attempt that died counts"


def test_a_stopped_worker_lives(engine: Engine, worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGSTOP)
    assert _release(engine) == 0
    assert _leased(engine)


def test_a_worker_whose_session_was_cut_vouches_for_itself_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drains, "HEARTBEAT_SECONDS", 0.05)
    with engine.begin() as connection:
        pending.mark(connection, "toy", [("a", DAY)])
    with Heartbeat(engine, "toy", 300) as heartbeat:
        _cut(engine)
        _until(lambda: heartbeat.holder in _vouched_for(engine))
        with engine.begin() as connection:
            pending.claim(connection, "toy", None, limit=1, lease_seconds=300, again=False, holder=heartbeat.holder)
        assert _release(engine) == 0
    _until(lambda: _release(engine) == 1)


def _vouched_for(engine: Engine) -> set[Any]:
    with engine.connect() as connection:
        return set(connection.execute(text("SELECT objid::bigint FROM pg_locks WHERE objsubid = 2")).scalars())


def _cut(engine: Engine) -> None:
    """Returns once the session has ended: until then it still vouches."""
    cut = "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
    with engine.connect() as connection:
        assert connection.execute(text(cut)).scalars().all() == [True]


def test_a_claim_without_a_holder_waits_for_its_lease(engine: Engine) -> None:
    with engine.begin() as connection:
        pending.mark(connection, "toy", [("a", DAY)])
        pending.claim(connection, "toy", None, limit=1, lease_seconds=300, again=False)
    assert _release(engine) == 0
