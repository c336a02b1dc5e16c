"""Any order of marks, claims, takeovers and stores, on live PostgreSQL: what is stored is never older than the input.

The model knows for each key which version of its input is marked and which was stored; the examples are the same in
every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection, Engine, text

from threads_agent_dagster.db import pending

ASSET, DAY = "machine", date(2026, 1, 1)
KEYS = ("a", "b")
PROFILE = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
STATE = text("SELECT key, claim, dead_at IS NOT NULL AS dead, attempts FROM pending WHERE asset = :asset")
EXPIRE = text("UPDATE pending SET lease_until = '2020-01-01' WHERE asset = :asset AND lease_until IS NOT NULL")
WAIT = text("UPDATE pending SET not_before = NULL WHERE asset = :asset")


class Queue(RuleBasedStateMachine):
    """`held` are the batches of workers that still live, with the input versions they read, zombies among them."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.inputs = dict.fromkeys(KEYS, 0)
        self.stored = dict.fromkeys(KEYS, 0)
        self.held: list[tuple[pending.Batch, dict[str, int]]] = []
        with self._begin() as connection:
            connection.execute(text("DELETE FROM pending"))

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            yield connection

    @rule(key=st.sampled_from(KEYS))
    def edit(self, key: str) -> None:
        with self._begin() as connection:
            pending.mark(connection, ASSET, [(key, DAY)])
        self.inputs[key] += 1

    @rule(limit=st.integers(1, 2))
    def claim(self, limit: int) -> None:
        """Fresh rows, else one that was tried before, as a drain does."""
        for again in (False, True):
            with self._begin() as connection:
                batch = pending.claim(connection, ASSET, None, limit=limit, lease_seconds=3600, again=again)
            if batch is not None:
                assert len(batch.rows) <= (1 if again else limit)
                self.held.append((batch, {row.key: self.inputs[row.key] for row in batch.rows}))
                return

    @rule()
    def time_passes(self) -> None:
        """Every lease ends, every pause is over, what was tried too often is dead and revived."""
        with self._begin() as connection:
            connection.execute(EXPIRE, {"asset": ASSET})
            pending.bury_exhausted(connection, ASSET)
            pending.redrive(connection, ASSET)
            connection.execute(WAIT, {"asset": ASSET})

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9))
    def store(self, which: int) -> None:
        batch, read = self.held.pop(which % len(self.held))
        with self._begin() as connection:
            ours = pending.fence(connection, batch, list(read))
            for key in ours:
                assert read[key] >= self.stored[key], "a zombie got through the fence"
                self.stored[key] = read[key]
            pending.finish(connection, batch, ours)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9), final=st.booleans())
    def fail(self, which: int, final: bool) -> None:
        batch, read = self.held.pop(which % len(self.held))
        with self._begin() as connection:
            pending.fail(connection, batch, dict.fromkeys(read, ("broken", final)))

    @invariant()
    def what_is_not_stored_is_in_the_queue(self) -> None:
        with self._begin() as connection:
            rows = {row.key: row for row in connection.execute(STATE, {"asset": ASSET})}
        for key in KEYS:
            assert (self.stored[key] == self.inputs[key]) or key in rows, f"{key} is lost"
        assert all(row.attempts <= pending.MAX_ATTEMPTS for row in rows.values())

    def teardown(self) -> None:
        """Whatever happened, one healthy worker then does all that is left."""
        self.held.clear()
        self.time_passes()
        for _ in KEYS:
            self.claim(len(KEYS))
            if self.held:
                self.store(0)
        assert self.stored == self.inputs


def test_a_zombie_with_older_input_is_refused(engine: Engine) -> None:
    """The order that chance finds too rarely, so that a fence without its token is always seen."""
    queue = type("QueueOnThisDatabase", (Queue,), {"engine": engine})()
    queue.edit("a")
    queue.claim(1)
    queue.edit("a")
    queue.time_passes()
    queue.claim(1)
    queue.store(1)
    queue.edit("a")  # the row is there again
    queue.store(0)
    queue.what_is_not_stored_is_in_the_queue()
    queue.teardown()


def test_the_queue_is_right_in_any_order(engine: Engine) -> None:
    machine = type("QueueOnThisDatabase", (Queue,), {"engine": engine})
    run_state_machine_as_test(machine, settings=PROFILE)
