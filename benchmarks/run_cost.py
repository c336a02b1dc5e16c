"""P2: what one run of one asset costs the database: sessions opened and transactions, counted by PostgreSQL itself.

Counted from the launch, by a process that lives on as the daemon does, to the end of the worker; the transactions of
the measurement are subtracted.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from sqlalchemy import Engine, QueuePool, text

from benchmarks.deployment import BEST_STOCK, OURS, Deployment, Flavour, postgres, wait_until
from benchmarks.harness import Limit, Row, Size, paired_ratio
from benchmarks.launching import Launcher, launching

CODE = """
import dagster as dg

@dg.asset
def alone() -> None: ...

defs = dg.Definitions(assets=[alone], executor=dg.in_process_executor)
"""
COUNTERS = "SELECT sessions, xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
OPEN = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
FLUSH = text("SELECT pg_stat_force_next_flush()")


class Cost(NamedTuple):
    """What one run did to the database; seconds from START to SUCCESS."""

    sessions: int
    transactions: int
    seconds: float


def run(size: Size) -> list[Row]:
    rounds = 9 if size is Size.FULL else 1
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as url, ExitStack() as stack:
        sides = [stack.enter_context(_counting(flavour, Path(folder), url)) for flavour in (OURS, BEST_STOCK)]
        for side in sides:
            side.measure()  # the first run of an asset creates what later ones find
        taken = [[side.measure() for side in sides] for _ in range(rounds)]
    return _rows([pair[0] for pair in taken], [pair[1] for pair in taken])


def _rows(ours: list[Cost], stock: list[Cost]) -> list[Row]:
    limits = {"sessions": Limit(at_most=2), "transactions": Limit(at_most=55), "seconds": None}
    rows = []
    for field, limit in limits.items():
        mine, theirs = ([float(getattr(cost, field)) for cost in costs] for costs in (ours, stock))
        counted = field != "seconds"
        row = Row(
            goal="P2",
            what=f"one-asset run: {'new database sessions' if field == 'sessions' else field}",
            unit="" if counted else "s",
            value=statistics.median(mine),
            peer_name="stock",
            peer=statistics.median(theirs),
            ratio=None if counted else paired_ratio(mine, theirs),
            limit=limit,
            samples=len(mine),
        )
        rows.append(row)
    return rows


@contextmanager
def _counting(flavour: Flavour, folder: Path, server_url: str) -> Iterator[Counter]:
    deployment = Deployment.create(flavour, folder, server_url, CODE)
    with launching(deployment) as launcher, psycopg.connect(server_url, autocommit=True) as outside:
        yield Counter(launcher, outside)


class Counter:
    """Reads the counters from another database, so that reading them counts nothing."""

    def __init__(self, launcher: Launcher, outside: psycopg.Connection[tuple[int, int]]) -> None:
        self._launcher = launcher
        self._outside = outside
        self._database = launcher.deployment.name

    def measure(self) -> Cost:
        run_id = self._launcher.create()
        self._settle()
        others = self._open() - self._idle()
        before, polls = self._read(), self._launcher.polls
        seconds = self._launcher.run(run_id)
        wait_until(lambda: self._open() <= others + self._idle(), "the worker to disconnect")
        own = self._settle()
        sessions, transactions = (now - then for now, then in zip(self._read(), before, strict=True))
        return Cost(sessions, transactions - (self._launcher.polls - polls) - own, seconds)

    def _settle(self) -> int:
        """Make every backend that stays report what it did; returns how many transactions that took."""
        self._launcher.flush_statistics()
        idle = [self._engine.connect() for _ in range(self._idle())]
        for connection in idle:
            connection.execute(FLUSH)
        for connection in idle:
            connection.close()
        return len(idle)

    @property
    def _engine(self) -> Engine:
        engine: Engine = self._launcher.instance.run_storage._engine  # type: ignore[attr-defined]
        return engine

    def _idle(self) -> int:
        """Connections that the launching process keeps; the stock storage keeps none."""
        pool = self._engine.pool
        return pool.checkedin() if isinstance(pool, QueuePool) else 0

    def _open(self) -> int:
        row = self._outside.execute(OPEN, [self._database]).fetchone()
        assert row is not None
        return row[0]

    def _read(self) -> tuple[int, int]:
        row = self._outside.execute(COUNTERS, [self._database]).fetchone()
        assert row is not None
        return row
