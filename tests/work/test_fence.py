"""The fence under fire: workers die and are stopped for longer than their lease while the inputs change.

The results must equal a recompute from scratch and nothing may wait. What a fence of per-row counters would let through
is told step by step, to both kinds of fence.
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

# The mistake that the sequence tokens exist to avoid: counters of a row restart when the row was deleted.
COUNTER_CLAIM = """
WITH chosen AS MATERIALIZED (
    SELECT asset, key FROM pending WHERE asset = :asset AND dead_at IS NULL AND :limit > 0
    AND coalesce(cast(:holder AS bigint), 1) > 0
    AND (lease_until IS NULL OR lease_until < clock_timestamp()) AND cast(:first AS date) IS NOT DISTINCT FROM :last
    ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE pending SET claim = pending.attempts + 1, attempts = pending.attempts + 1,
    lease_until = clock_timestamp() + make_interval(secs => :lease)
FROM chosen WHERE pending.asset = chosen.asset AND pending.key = chosen.key
RETURNING pending.claim AS token, pending.key, pending.day, pending.change, pending.attempts, pending.priority
"""


class Workers:
    """Workers forked by one zygote, each known by its pid."""

    def __init__(self, database_url: str) -> None:
        zygote = Path(__file__).with_name("drain_zygote.py")
        self._process = subprocess.Popen(
            [sys.executable, str(zygote), database_url, str(LEASE_SECONDS)],
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


def _fire(engine: Engine, workers: Workers, seed: int, inputs: Iterator[int]) -> None:
    chance, pause = random.Random(seed), threading.Event()
    with _edits(engine, seed, inputs):
        for strike in range(STRIKES):
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
    workers = Workers(database_url)
    try:
        _fire(engine, workers, 0, iter(range(1, INPUTS + 1)))
        _settle(engine)
    finally:
        workers.end()
    assert _count(engine, WAITING) == 0
    assert _count(engine, WRONG) == 0


def _claim(engine: Engine, lease_seconds: float) -> pending.Batch:
    with engine.begin() as connection:
        batch = pending.claim(connection, "fence", None, limit=1, lease_seconds=lease_seconds, again=False)
        batch = batch or pending.claim(connection, "fence", None, limit=1, lease_seconds=lease_seconds, again=True)
    assert batch is not None
    return batch


def _store(engine: Engine, batch: pending.Batch, value: int) -> None:
    """What a drain does: nothing is written unless the claim still stands."""
    with engine.begin() as connection:
        ours = pending.fence(connection, batch, ["input:1"])
        if ours:
            connection.execute(text("UPDATE fence_outputs SET value = :v WHERE id = 1"), {"v": value * 7 + 1})
            pending.finish(connection, batch, ours)


@pytest.mark.parametrize(("fence", "wrong"), [("token", 0), ("counter", 1)])
def test_a_zombie_finds_its_number_again_only_behind_a_fence_of_counters(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, fence: str, wrong: int
) -> None:
    """One input changes twice; who worked on its first value comes back while another works on the second."""
    _set_up(engine, fence)
    if fence == "counter":
        monkeypatch.setattr(pending, "_CLAIM_FRESH", text(COUNTER_CLAIM))
    with engine.begin() as connection:
        connection.execute(EDIT, {"id": 1})
    zombie = _claim(engine, lease_seconds=-1)
    _store(engine, _claim(engine, lease_seconds=30), value=1)
    with engine.begin() as connection:
        connection.execute(EDIT, {"id": 1})
    second = _claim(engine, lease_seconds=30)
    _store(engine, zombie, value=1)
    _store(engine, second, value=2)
    assert _count(engine, WRONG) == wrong
