"""The one way to work: claim rows, compute with no transaction open, store behind the fence, until nothing is left.

A batch that fails as a whole is given back, and each of its rows is then tried alone, so that one poison row cannot
take others with it; after five attempts it is dead, with its error. When something that all rows need does not answer
(`errors.Unavailable`), the batch is postponed and no row is blamed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from psycopg.errors import DeadlockDetected, SerializationFailure
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from threads_agent_dagster.db import alerts, backfills, pending
from threads_agent_dagster.db.pending import Batch, Claimed, Days
from threads_agent_dagster.domain.backfills import Compared, Spent
from threads_agent_dagster.errors import PermanentFailure, Unavailable

log = logging.getLogger(__name__)

BATCH_SIZE = 500
HEARTBEAT_SECONDS = 5.0
POSTPONE_SECONDS = 10.0
STORE_ATTEMPTS = 5

Inputs = TypeVar("Inputs")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Origin:
    """What is stored beside every derived row: the Dagster run and the version of the code."""

    run_id: str | None
    code_version: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one row could not be computed; a final one is not tried again."""

    error: str
    final: bool = True


@dataclass(frozen=True, slots=True)
class Job(Generic[Inputs, Result]):
    """How one noun turns pending rows into table rows.

    load     reads the inputs of claimed rows; a row whose input is gone has no result and just leaves the queue
    compute  works without a connection; key → result or Failure
    store    writes results in the fenced transaction; returns the keys whose input moved and that must be done again
    claimed  says in the claiming transaction that work began (optional), `dead` that it never will succeed
    stale    is a SELECT of what is missing or of another version, as `db.backfills.Stale` wants it; empty: never stale
    spent    says what a run paid others, None where nobody counts it (optional: the job asks nobody who is paid)
    compare  reads the rows that are there and sets them beside results, for a backfill in shadow (optional)
    """

    asset: str
    code_version: str
    load: Callable[[Connection, Sequence[Claimed]], Inputs]
    compute: Callable[[Inputs], Mapping[str, Result | Failure]]
    store: Callable[[Connection, Mapping[str, Result], Origin], set[str]]
    stale: str = ""
    claimed: Callable[[Connection, Sequence[Claimed]], None] | None = None
    dead: Callable[[Connection, Mapping[str, str]], None] | None = None
    compare: Callable[[Connection, Mapping[str, Result]], Sequence[Compared]] | None = None
    spent: Callable[[Connection, str], Spent | None] | None = None
    batch_size: int = BATCH_SIZE


@dataclass
class Drained:
    """What one drain did, in rows."""

    stored: int = 0
    failed: int = 0
    dead: int = 0
    postponed: int = 0
    lost: int = 0
    errors: list[str] = field(default_factory=list)

    def note(self, error: str) -> None:
        """Keeps the first few errors as samples."""
        if len(self.errors) < 5:
            self.errors.append(error)


class Clock(Protocol):
    def __call__(self) -> float: ...


class Heartbeat:
    """While the block runs: renews the lease of `token`, and of the backfill if it is one, every few seconds, and
    vouches for `holder` by a session.
    """

    def __init__(self, engine: Engine, asset: str, lease_seconds: float, backfill: str | None = None) -> None:
        self._engine, self._asset, self._lease, self._backfill = engine, asset, lease_seconds, backfill
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{asset}", daemon=True)
        self.token: int | None = None

    def __enter__(self) -> Self:
        self._session = self._open()
        self.holder = pending.new_holder(self._session)
        pending.vouch(self._session, self.holder)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._session.close()

    def _open(self) -> Connection:
        """A session of its own, closed and not reused: what it vouches for ends with it."""
        session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        session.detach()
        return session

    def _beat(self) -> None:
        while not self._stop.wait(min(HEARTBEAT_SECONDS, self._lease / 3)):
            try:
                self._renew()
            except OperationalError as error:  # the fence stays right without the lease; only work may be done twice
                log.warning("lease of %s not renewed: %s", self._asset, error)

    def _renew(self) -> None:
        if self._session.closed or self._session.invalidated:
            self._session.close()
            self._session = self._open()
            pending.vouch(self._session, self.holder)
        pending.extend(self._session, self._asset, self.token or 0, self._lease)  # always: it notices a cut session
        if self._backfill is not None:
            backfills.extend(self._session, self._backfill, self._asset, self._lease)


def drain(
    engine: Engine,
    job: Job[Inputs, Result],
    days: Days | None,
    origin: Origin,
    *,
    seconds: float = 60.0,
    lease_seconds: float = 30.0,
    backfill: str | None = None,
    progress: Callable[[Drained], None] = lambda _: None,
    clock: Clock = time.monotonic,
) -> Drained:
    """Works on the claimable rows of `job.asset` within `days` until none is left or `seconds` have passed.

    Who interrupts it (Dagster's termination is a BaseException) gets the claimed rows back into the queue, unblamed.
    """
    done, until = Drained(), clock() + seconds
    with engine.begin() as connection:
        pending.release_orphans(connection)
    _bury(engine, job, done)
    with Heartbeat(engine, job.asset, lease_seconds, backfill) as heartbeat:
        while clock() < until:
            worked = False
            for again in (False, True):  # fresh rows by the batch, then one that may be poison, alone
                batch = _claim(engine, job, days, lease_seconds, heartbeat.holder, again, backfill)
                if batch is None:
                    continue
                heartbeat.token, worked = batch.token, True
                _work(engine, job, batch, origin, done)
                heartbeat.token = None
                progress(done)
            if not worked or done.postponed:
                break
    return done


def _claim(
    engine: Engine,
    job: Job[Inputs, Result],
    days: Days | None,
    lease_seconds: float,
    holder: int,
    again: bool,
    backfill: str | None,
) -> Batch | None:
    with engine.begin() as connection:
        batch = pending.claim(
            connection,
            job.asset,
            days,
            limit=job.batch_size,
            lease_seconds=lease_seconds,
            again=again,
            backfill=backfill,
            holder=holder,
        )
        if batch is not None and job.claimed is not None:
            job.claimed(connection, batch.rows)
    return batch


def _work(engine: Engine, job: Job[Inputs, Result], batch: Batch, origin: Origin, done: Drained) -> None:
    try:
        with engine.connect() as connection:
            inputs = job.load(connection, batch.rows)
        results = job.compute(inputs)
        _store(engine, job, batch, results, origin, done)
    except Unavailable as error:
        with engine.begin() as connection:
            pending.postpone(connection, batch, str(error), error.seconds or POSTPONE_SECONDS)
        done.postponed += len(batch.rows)
        done.note(str(error))
    except OperationalError:
        raise  # the database went away: nothing can be said about the rows, their lease ends by itself
    except Exception as error:  # noqa: BLE001 - whatever a row does to us stays with that row
        log.warning("%s: a batch of %d failed: %r", job.asset, len(batch.rows), error)
        final = isinstance(error, PermanentFailure) and len(batch.rows) == 1
        _fail(engine, job, batch, {row.key: Failure(describe(error), final) for row in batch.rows}, done)
    except BaseException:  # interrupted: nobody is to blame, and nobody need wait for the lease to end
        with suppress(OperationalError), engine.begin() as connection:
            pending.postpone(connection, batch, None, 0)
        raise


def describe(error: Exception) -> str:
    """One line without the statement and the parameters that SQLAlchemy appends."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {cause}".splitlines()[0][:500]


def _store(
    engine: Engine,
    job: Job[Inputs, Result],
    batch: Batch,
    results: Mapping[str, Result | Failure],
    origin: Origin,
    done: Drained,
) -> None:
    failures = {key: result for key, result in results.items() if isinstance(result, Failure)}
    good = {key: result for key, result in results.items() if not isinstance(result, Failure)}
    for attempt in range(1, STORE_ATTEMPTS + 1):
        try:
            with engine.begin() as connection:
                ours = pending.fence(connection, batch, [row.key for row in batch.rows if row.key not in failures])
                stored = {key: result for key, result in good.items() if key in ours}
                moved = job.store(connection, stored, origin) if stored else set()
                pending.finish(connection, batch, ours - moved)
                pending.release(connection, batch, moved)
            break
        except OperationalError as error:
            if attempt == STORE_ATTEMPTS or not isinstance(error.orig, DeadlockDetected | SerializationFailure):
                raise
    done.stored += len(stored) - len(moved)
    done.lost += len(good) - len(stored)
    if failures:
        _fail(engine, job, batch, failures, done)


def _fail(
    engine: Engine, job: Job[Inputs, Result], batch: Batch, failures: Mapping[str, Failure], done: Drained
) -> None:
    with engine.begin() as connection:
        dead = pending.fail(connection, batch, {key: (why.error, why.final) for key, why in failures.items()})
        _tell_dead(connection, job, {key: failures[key].error for key in dead})
    done.failed += len(failures)
    done.dead += len(dead)
    for key, why in failures.items():
        done.note(f"{key}: {why.error}")


def _bury(engine: Engine, job: Job[Inputs, Result], done: Drained) -> None:
    with engine.begin() as connection:
        buried = pending.bury_exhausted(connection, job.asset)
        _tell_dead(connection, job, buried)
    done.dead += len(buried)
    for key, error in buried.items():
        done.note(f"{key}: {error}")


def _tell_dead(connection: Connection, job: Job[Inputs, Result], dead: Mapping[str, str]) -> None:
    if not dead:
        return
    log.error("%s: %d rows are dead, e.g. %s", job.asset, len(dead), next(iter(dead.items())))
    alerts.tell_dead(connection, job.asset, dead)
    if job.dead is not None:
        job.dead(connection, dead)


def open_days(engine: Engine, asset: str, days: Days, backfill: str | None = None) -> set[date]:
    """Days of the range that were not drained: their rows wait for the next run."""
    with engine.connect() as connection:
        return pending.open_days(connection, asset, days, backfill)
