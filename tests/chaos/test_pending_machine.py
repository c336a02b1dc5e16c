"""Any order of deliveries, marks, claims, takeovers and stores, on live PostgreSQL: nothing is lost, nothing goes back.

The model knows which deliveries were acknowledged, and for each key which version of its input is marked and which was
stored. The examples are the same in every run; `CHAOS_EXAMPLES=2000` walks ten times as many.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection, Engine, text

from tests.chaos.traffic import push, sha_of
from threads_agent_dagster.db import pending
from threads_agent_dagster.work.inbox import Delivery, accept

pytestmark = pytest.mark.timeout(3600)
ASSET, DAY = "machine", date(2026, 1, 1)
KEYS = ("a", "b")
IDS, BODIES = ("one", "two", "three"), tuple(push(sha_of(name), 1) for name in ("x", "y"))
RECEIVED_AT = datetime(2026, 1, 1, tzinfo=UTC)
PROFILE = settings(
    max_examples=int(os.environ.get("CHAOS_EXAMPLES", "200")),
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
STATE = text("SELECT key, claim, dead_at IS NOT NULL AS dead, attempts FROM pending WHERE asset = :asset")
EXPIRE = text("UPDATE pending SET lease_until = '2020-01-01' WHERE asset = :asset AND lease_until IS NOT NULL")
ARRIVED = text(
    "SELECT delivery_id, body, pending.key IS NOT NULL AS marked FROM inbox "
    "LEFT JOIN pending ON pending.asset = 'achievements' AND pending.key = 'inbox:' || inbox.id ORDER BY inbox.id"
)
WAIT = text("UPDATE pending SET not_before = NULL WHERE asset = :asset")


class Queue(RuleBasedStateMachine):
    """`held` are the batches of workers that still live, with the input versions they read, zombies among them."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.inputs = dict.fromkeys(KEYS, 0)
        self.stored = dict.fromkeys(KEYS, 0)
        self.held: list[tuple[pending.Batch, dict[str, int]]] = []
        self.arrived: list[tuple[str, bytes]] = []
        with self._begin() as connection:
            connection.execute(text("DELETE FROM pending"))
            connection.execute(text("DELETE FROM inbox"))

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            yield connection

    @rule(key=st.sampled_from(KEYS))
    def edit(self, key: str) -> None:
        with self._begin() as connection:
            pending.mark(connection, ASSET, [(key, DAY)])
        self.inputs[key] += 1

    @rule(id_=st.sampled_from(IDS), body=st.sampled_from(BODIES), dies=st.booleans())
    def deliver(self, id_: str, body: bytes, dies: bool) -> None:
        """Acknowledged only when it is committed; a known id or a known body changes nothing."""
        delivery = Delivery(id_, "push", body, json.loads(body), {}, RECEIVED_AT)
        with self.engine.connect() as connection, connection.begin() as transaction:
            accepted = accept(connection, delivery)
            if dies:
                transaction.rollback()
                return
        known = any(id_ == other or body == same for other, same in self.arrived)
        assert accepted.duplicate == known
        if not known:
            self.arrived.append((id_, body))

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

    @invariant()
    def every_acknowledged_delivery_is_there_once_with_its_work(self) -> None:
        with self._begin() as connection:
            rows = connection.execute(ARRIVED).all()
        assert [(row.delivery_id, bytes(row.body)) for row in rows] == self.arrived
        assert all(row.marked for row in rows)

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
