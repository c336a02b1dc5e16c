"""P2: what a run of one asset, and a check more, cost the database: sessions and transactions, counted by PostgreSQL.

Counted from the launch, by a process that lives on as the daemon does, to the end of the worker; the transactions of
the measurement are subtracted.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
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

@dg.asset(check_specs=[dg.AssetCheckSpec(f"check_{n}", asset="alone") for n in range(%d)])
def alone():
    checks = [dg.AssetCheckResult(check_name=f"check_{n}", passed=True) for n in range(%d)]
    return dg.MaterializeResult(check_results=checks)

defs = dg.Definitions(assets=[alone], executor=dg.in_process_executor)
"""
CHECKS = 2
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
        sides = [
            stack.enter_context(_counting(flavour, Path(folder), url, checks))
            for checks in (0, CHECKS)
            for flavour in (OURS, BEST_STOCK)
        ]
        for side in sides:
            side.measure()  # the first run of an asset creates what later ones find
        ours, stock, ours_checked, stock_checked = zip(
            *([side.measure() for side in sides] for _ in range(rounds)), strict=True
        )
    return [*_rows(ours, stock), _check_row(ours, ours_checked, stock, stock_checked)]


def _check_row(
    ours: Sequence[Cost], ours_checked: Sequence[Cost], stock: Sequence[Cost], stock_checked: Sequence[Cost]
) -> Row:
    return Row(
        goal="P2",
        what="one check more: transactions",
        unit="",
        value=_per_check(ours, ours_checked),
        peer_name="stock",
        peer=_per_check(stock, stock_checked),
        limit=Limit(at_most=39),
        samples=len(ours),
        counted=True,
    )


def _per_check(without: Sequence[Cost], checked: Sequence[Cost]) -> float:
    more = statistics.median(cost.transactions for cost in checked) - statistics.median(
        cost.transactions for cost in without
    )
    return more / CHECKS


def _rows(ours: Sequence[Cost], stock: Sequence[Cost]) -> list[Row]:
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
            counted=counted,
        )
        rows.append(row)
    return rows


@contextmanager
def _counting(flavour: Flavour, folder: Path, server_url: str, checks: int) -> Iterator[Counter]:
    deployment = Deployment.create(flavour, folder, server_url, CODE % (checks, checks))
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
