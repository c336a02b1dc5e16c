"""Backfills: history made anew by a newer version of the code; first in shadow, which changes none of its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Engine

from threads_agent_dagster.db import backfills as db
from threads_agent_dagster.db.backfills import EVERYTHING, Stale
from threads_agent_dagster.db.pending import Claimed, Days
from threads_agent_dagster.domain.backfills import FREE, Comparison, Plan, Rate, Spent
from threads_agent_dagster.errors import Conflict, NotFound, Unavailable, Unsupported
from threads_agent_dagster.work import (
    achievements,
    embeddings,
    emotions,
    engagement,
    experiments,
    posts,
    themes,
    verdicts,
)
from threads_agent_dagster.work.drain import Failure, Job, describe

JOBS: Mapping[str, Callable[[], Job[Any, Any]]] = {
    module.ASSET: module.job
    for module in (posts, emotions, engagement, achievements, embeddings, themes, experiments, verdicts)
}
UNPARTITIONED = {embeddings.ASSET, themes.ASSET, experiments.ASSET, verdicts.ASSET}
Inputs = TypeVar("Inputs")
Result = TypeVar("Result")


def stale(job: Job[Inputs, Result], days: Days | None, force: bool) -> Stale:
    """What of the table is missing or of another version than the job's. Raises Unsupported for a job without."""
    if not job.stale:
        raise Unsupported(f"the rows of {job.asset} never become stale, so there is nothing to backfill")
    return Stale(job.asset, job.stale, job.code_version, days or EVERYTHING, force)


def find_job(asset: str) -> Job[Any, Any]:
    """How `asset` is made. Raises NotFound."""
    if asset not in JOBS:
        raise NotFound(f"no table {asset!r} can be backfilled; there are {', '.join(sorted(JOBS))}")
    return JOBS[asset]()


def plan(engine: Engine, job: Job[Inputs, Result], days: Days | None, *, force: bool = False) -> Plan:
    """What a backfill would have to do, from the first such day to the last, and what that takes by earlier work."""
    with engine.connect() as connection:
        rows, found, with_rows = db.count(connection, stale(job, days, force))
        rate = db.read_rate(connection, job.asset, job.code_version)
    span = None if job.asset in UNPARTITIONED else found
    number = sum(rows.values())
    return Plan(
        asset=job.asset,
        code_version=job.code_version,
        first=span.start if span else None,
        last=span.end if span else None,
        partitions=None if job.asset in UNPARTITIONED else (span.end - span.start).days + 1 if span else 0,
        partitions_with_rows=with_rows,
        stale=rows,
        seconds=rate.seconds_for(number) if rate else None,
        spent=_spending(job, number, rate),
        rate=rate,
    )


def _spending(job: Job[Inputs, Result], rows: int, rate: Rate | None) -> Spent | None:
    if job.spent is None or rows == 0:
        return FREE
    return rate.spent_for(rows) if rate else None


def begin(engine: Engine, job: Job[Inputs, Result], days: Days | None, id_: str, *, force: bool, lease: float) -> int:
    """Marks the rows for the backfill `id_`, which has them to itself while it lives (`lease` is in s).

    Returns how many there are to do. Raises Conflict when it was cancelled.
    """
    with engine.begin() as connection:
        rows = db.begin(connection, id_, stale(job, days, force), lease)
    if rows is None:
        raise Conflict(f"the backfill {id_} was cancelled; start another one")
    return rows


def end(engine: Engine, id_: str, asset: str) -> None:
    """What is left is everyone's."""
    with engine.begin() as connection:
        db.end(connection, id_, asset)


def cancel(engine: Engine, id_: str) -> int:
    """Takes the rest of a backfill off the queue and returns how many rows; what it made stays."""
    with engine.begin() as connection:
        return db.cancel(connection, id_)


def record(engine: Engine, job: Job[Inputs, Result], run_id: str, rows: int, seconds: float) -> None:
    """Remembers what a drain of `rows` took, so that the next one can say what it will take."""
    if rows:
        with engine.begin() as connection:
            spent = None if job.spent is None else job.spent(connection, run_id)
            db.store_rate(connection, job.asset, job.code_version, rows, seconds, spent)


def shadow(
    engine: Engine,
    job: Job[Inputs, Result],
    days: Days | None,
    *,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Comparison:
    """What a backfill would make of its rows beside what is there; every transaction is read-only.

    `progress` hears of rows done and rows in all. Raises Unsupported for a job that compares nothing.
    """
    if job.compare is None:
        raise Unsupported(f"{job.asset} cannot be compared with what it would be: its rows are made once and kept")
    reader, found = engine.execution_options(postgresql_readonly=True), Comparison()
    with reader.connect() as connection:
        rows = db.read(connection, stale(job, days, force))
    for first in range(0, len(rows), job.batch_size):
        results = _compute(reader, job, rows[first : first + job.batch_size], found)
        with reader.connect() as connection:
            found.rows += job.compare(connection, results)
        progress(min(first + job.batch_size, len(rows)), len(rows))
    return found


def _compute(
    reader: Engine, job: Job[Inputs, Result], rows: Sequence[Claimed], found: Comparison
) -> Mapping[str, Result]:
    """The results of a batch; when it fails as a whole each row is tried alone, as a drain does."""
    try:
        with reader.connect() as connection:
            inputs = job.load(connection, rows)
        results = job.compute(inputs)
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - as a drain, it blames the row and goes on
        if len(rows) > 1:
            return {key: one for row in rows for key, one in _compute(reader, job, [row], found).items()}
        results = {rows[0].key: Failure(describe(error))}
    for key, result in results.items():
        if isinstance(result, Failure):
            found.fail(key, result.error)
    return {key: result for key, result in results.items() if not isinstance(result, Failure)}
