"""Backfills: history made anew by a newer version of the code; first in shadow, which writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Engine

from threads_agent_dagster.db import backfills as db
from threads_agent_dagster.db.backfills import EVERYTHING, Stale
from threads_agent_dagster.db.pending import Claimed, Days
from threads_agent_dagster.domain.backfills import Comparison
from threads_agent_dagster.errors import Unavailable, Unsupported
from threads_agent_dagster.work.drain import Failure, Job, describe

Inputs = TypeVar("Inputs")
Result = TypeVar("Result")


def stale(job: Job[Inputs, Result], days: Days | None, force: bool) -> Stale:
    """What of the table is missing or of another version than the job's. Raises Unsupported for a job without."""
    if not job.stale:
        raise Unsupported(f"the rows of {job.asset} never become stale, so there is nothing to backfill")
    return Stale(job.asset, job.stale, job.code_version, days or EVERYTHING, force)


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
