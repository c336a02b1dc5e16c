"""Six workers under fire: killed, stopped for longer than their lease, while the inputs change under them.

The results must equal a recompute from scratch and nothing may wait. The same fire over a fence of per-row counters
must leave wrong results, or this test could not see a broken fence.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from threads_agent_dagster.db import pending

pytestmark = pytest.mark.timeout(900)
WORKERS = 6
EDITS_PER_SECOND = 16
INPUTS = 5000  # each is edited twice, so that no later edit heals what a zombie broke
LEASE_SECONDS = 0.6
STRIKES = 210
ROUNDS = 24  # of a quarter of a minute each; the first one usually does on an idle machine
SECONDS = 90.0
SETUP = """
CREATE TABLE fence_inputs (id int PRIMARY KEY, value bigint NOT NULL);
CREATE TABLE fence_outputs (id int PRIMARY KEY, value bigint NOT NULL);
CREATE FUNCTION mark_fence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending (asset, key, day, change) VALUES ('fence', 'input:' || NEW.id, '2026-01-01', {first})
    ON CONFLICT (asset, key) DO UPDATE SET change = {next}, attempts = {attempts}, error = NULL, dead_at = NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER mark AFTER UPDATE ON fence_inputs FOR EACH ROW EXECUTE FUNCTION mark_fence();
INSERT INTO fence_inputs SELECT id, 0 FROM generate_series(1, {inputs}) AS id;
INSERT INTO fence_outputs SELECT id, 1 FROM fence_inputs;
"""
MARKS = {
    "token": {"first": "nextval('pending_change')", "next": "excluded.change", "attempts": "0"},
    "counter": {"first": "1", "next": "pending.change + 1", "attempts": "pending.attempts"},
}
WRONG = text(
    "SELECT count(*) FROM fence_inputs AS i LEFT JOIN fence_outputs AS o USING (id) "
    "WHERE o.value IS DISTINCT FROM i.value * 7 + 1"
)
WAITING = text("SELECT count(*) FROM pending WHERE asset = 'fence'")
EDIT = text("UPDATE fence_inputs SET value = value + 1 WHERE id = :id")


class Workers:
    """Workers forked by one zygote, each known by its pid."""

    def __init__(self, database_url: str, fence: str) -> None:
        zygote = Path(__file__).with_name("drain_zygote.py")
        self._process = subprocess.Popen(
            [sys.executable, str(zygote), database_url, fence, str(LEASE_SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pids = [self._fork() for _ in range(WORKERS)]

    def _fork(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("fork\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def kill_one(self, chance: random.Random) -> None:
        index = chance.randrange(WORKERS)
        os.kill(self.pids[index], signal.SIGKILL)
        self.pids[index] = self._fork()

    def stop_one(self, chance: random.Random) -> None:
        """Stops a worker for longer than its lease; a timer lets it go on."""
        pid = chance.choice(self.pids)
        os.kill(pid, signal.SIGSTOP)
        timer = threading.Timer(LEASE_SECONDS * chance.uniform(1.5, 3), _go_on, [pid])
        timer.daemon = True
        timer.start()

    def end(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _go_on(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return  # it was killed while it was stopped


@contextmanager
def _edits(engine: Engine, seed: int, inputs: Iterator[int]) -> Iterator[None]:
    """Changes fresh inputs all the time, and each once more when a zombie of its first change may come back."""
    stop, chance = threading.Event(), random.Random(seed)
    again: deque[tuple[float, int]] = deque()

    def edit() -> None:
        while not stop.wait(1 / EDITS_PER_SECOND):
            if again and again[0][0] <= time.monotonic():
                id_ = again.popleft()[1]
            else:
                id_ = next(inputs)
                again.append((time.monotonic() + chance.uniform(1, 2.2), id_))
            with engine.begin() as connection:
                connection.execute(EDIT, {"id": id_})

    thread = threading.Thread(target=edit)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _fire(engine: Engine, workers: Workers, seed: int, inputs: Iterator[int], *, rounds: int = 1) -> None:
    chance, pause = random.Random(seed), threading.Event()
    with _edits(engine, seed, inputs):
        for strike in range(STRIKES // rounds):
            (workers.kill_one if strike % 2 else workers.stop_one)(chance)
            pause.wait(SECONDS / STRIKES)


def _settle(engine: Engine) -> None:
    """Waits until the workers have done everything; rows that were killed five times over are revived first."""
    pause, until = threading.Event(), time.monotonic() + 300  # only a busy machine needs more than seconds
    while time.monotonic() < until:
        with engine.begin() as connection:
            pending.redrive(connection, "fence")
            if connection.execute(WAITING).scalar_one() == 0:
                break
        pause.wait(0.1)
    pause.wait(LEASE_SECONDS * 3)  # the last stopped worker goes on and must not do harm


def _set_up(engine: Engine, fence: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(SETUP.format(inputs=INPUTS, **MARKS[fence])))


def _count(engine: Engine, statement: object) -> int:
    with engine.connect() as connection:
        return int(connection.execute(statement).scalar_one())  # type: ignore[call-overload]


def test_results_equal_a_recompute_whatever_dies(database_url: str, engine: Engine) -> None:
    _set_up(engine, "token")
    workers = Workers(database_url, "token")
    try:
        _fire(engine, workers, 0, iter(range(1, INPUTS + 1)))
        _settle(engine)
    finally:
        workers.end()
    assert _count(engine, WAITING) == 0
    assert _count(engine, WRONG) == 0


def test_a_fence_of_counters_is_seen_to_fail(database_url: str, engine: Engine) -> None:
    _set_up(engine, "counter")
    workers, wrong = Workers(database_url, "counter"), 0
    inputs = iter(range(1, INPUTS + 1))
    try:
        for round_ in range(ROUNDS):
            _fire(engine, workers, round_, inputs, rounds=6)
            _settle(engine)
            if wrong := _count(engine, WRONG):
                break
    finally:
        workers.end()
    if wrong == 0:
        pytest.fail("the counters were never caught: this fire cannot tell a broken fence from a good one")
