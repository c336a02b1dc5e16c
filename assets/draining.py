"""What the assets of all nouns share: daily partitions, column schemas, and a run that drains its range."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from enum import StrEnum
from functools import partial
from textwrap import dedent
from typing import Any

import dagster as dg
from sqlalchemy import Engine, Table, text

from resources.database import Database
from threads_agent_dagster.db import checks as db_checks
from threads_agent_dagster.db.checks import Violations
from threads_agent_dagster.db.pending import Days
from threads_agent_dagster.domain.backfills import Plan
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work import backfills
from threads_agent_dagster.work.drain import Drained, Job, Origin, drain, open_days

warnings.filterwarnings("ignore", category=dg.BetaWarning)  # we stand on single-run backfills, and test them

DAYS = dg.DailyPartitionsDefinition(start_date="2005-01-01", end_offset=1)  # git's first year; today is a partition
OWNERS = ["team:platform"]
SENSOR_TAG = "dagster/sensor_name"
Event = dg.MaterializeResult[Any] | dg.AssetCheckResult


class Mode(StrEnum):
    """What a backfill does; Dagster's run config goes by the members' names."""

    run = "run"
    plan = "plan"
    shadow = "shadow"


class DrainConfig(dg.Config):
    """What a run that a person launches (a backfill) does with the rows of its range.

    `mode`: `run` makes them anew; `plan` says how many rows, tokens, money and minutes that is; `shadow` computes them
    and reports old against new. Both report as an observation of the asset and change none of its rows, but a language
    model that is asked in shadow is paid. `force` takes every row, not only what is missing or of another code version.
    """

    mode: Mode = Mode.run
    force: bool = False


def table_metadata(
    table: Table, lineage: Mapping[str, Sequence[tuple[str, str]]] | None = None
) -> dict[str, dg.MetadataValue[Any] | str]:
    """The table's name and columns; `lineage` names for a column the (asset, column) pairs that it is derived from."""
    columns = [
        dg.TableColumn(
            column.name,
            type=str(column.type),
            constraints=dg.TableColumnConstraints(nullable=bool(column.nullable), unique=bool(column.unique)),
        )
        for column in table.columns
    ]
    metadata: dict[str, Any] = {
        "dagster/table_name": f"public.{table.name}",
        "dagster/column_schema": dg.TableSchema(columns=columns),
    }
    if lineage:
        metadata["dagster/column_lineage"] = dg.TableColumnLineage(
            {
                column: [dg.TableColumnDep(asset_key=asset, column_name=name) for asset, name in inputs]
                for column, inputs in lineage.items()
            }
        )
    return metadata


def sentences(asset: str, checks: Mapping[str, str], *, blocking: Sequence[str] = ()) -> list[dg.AssetCheckSpec]:
    """One check spec per named sentence; the blocking ones look only at rows that the run wrote."""
    return [
        dg.AssetCheckSpec(
            name,
            asset=asset,
            blocking=name in blocking,
            description=f"Holds when this finds nothing:\n```sql\n{_sql(rows)}\n```",
        )
        for name, rows in checks.items()
    ]


def _sql(statement: str) -> str:
    """Without the indentation of the source around it."""
    first, _, rest = statement.strip().partition("\n")
    return f"{first}\n{dedent(rest)}" if rest else first


def drain_days(
    context: dg.AssetExecutionContext,
    config: DrainConfig,
    database: Database,
    job: Job[Any, Any],
    checks: Mapping[str, str],
    *,
    rows_per_day: str,
) -> Iterator[Event]:
    """Drains the run's days, then materialises and checks them.

    Days that still hold claimable rows when the time is up are not materialised: their rows wait for the next run.
    `rows_per_day` is a SELECT of (day, rows) between :first and :last.
    """
    window = context.partition_key_range
    days = Days(date.fromisoformat(window.start), date.fromisoformat(window.end))
    if config.mode is not Mode.run:
        _report(context, config, database, job, days)
        yield from check(database, checks, _scope(context, days))
        return
    done = _drain(context, config, database, job, days)
    if left := open_days(database.engine, job.asset, days, _backfill(context)):
        _materialise_drained(context, days, left)
        yield from check(database, checks, _scope(context, days))
        return
    counts = _rows_per_day(database, rows_per_day, days)
    for day in context.partition_keys:
        context.add_asset_metadata({"dagster/row_count": counts[day]}, partition_key=day)
    yield dg.MaterializeResult(metadata=_summary(done), check_results=check(database, checks, _scope(context, days)))


def drain_all(
    context: dg.AssetExecutionContext,
    config: DrainConfig,
    database: Database,
    job: Job[Any, Any],
    checks: Mapping[str, str],
) -> Iterator[Event]:
    """Drains everything that waits for an unpartitioned asset."""
    if config.mode is not Mode.run:
        _report(context, config, database, job, None)
        yield from check(database, checks, {"run_id": context.run.run_id})
        return
    done = _drain(context, config, database, job, None)
    with database.engine.connect() as connection:
        rows = connection.execute(text(f"SELECT count(*) FROM {job.asset}")).scalar_one()
    yield dg.MaterializeResult(
        metadata=_summary(done) | {"dagster/row_count": rows},
        check_results=check(database, checks, {"run_id": context.run.run_id}),
    )


def check(database: Database, checks: Mapping[str, str], parameters: Mapping[str, Any]) -> list[dg.AssetCheckResult]:
    """Runs all checks of an asset as one statement."""
    with database.engine.connect() as connection:
        found = db_checks.run(connection, checks, parameters)
    return [_result(name, violations) for name, violations in found.items()]


def _result(name: str, violations: Violations) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=violations.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"bad_rows": violations.count, "samples": ", ".join(violations.samples)},
    )


def _backfill(context: dg.AssetExecutionContext) -> str | None:
    """What a run that no sensor asked for is to the queue; a retry of it goes on with the same."""
    return None if SENSOR_TAG in context.run.tags else context.run.root_run_id or context.run.run_id


def _drain(
    context: dg.AssetExecutionContext, config: DrainConfig, database: Database, job: Job[Any, Any], days: Days | None
) -> Drained:
    settings, engine, backfill = Settings(), database.engine, _backfill(context)
    work = partial(
        drain,
        engine,
        job,
        days,
        Origin(context.run.run_id, job.code_version),
        lease_seconds=settings.lease_seconds,
    )
    began = time.perf_counter()
    if backfill is None:
        done = work(seconds=settings.drain_seconds)
    else:
        _observe_plan(context, backfills.plan(engine, job, days, force=config.force))
        rows = backfills.begin(engine, job, days, backfill, force=config.force, lease=settings.lease_seconds)
        progress = Progress(context.log.info, rows)
        with _ending(context, engine, backfill, job.asset):
            done = work(seconds=settings.backfill_seconds, backfill=backfill, progress=progress)
    backfills.record(engine, job, context.run.run_id, done.stored, time.perf_counter() - began)
    return done


@contextmanager
def _ending(context: dg.AssetExecutionContext, engine: Engine, backfill: str, asset: str) -> Iterator[None]:
    """Whatever ends the block, the backfill's rows are not kept; if people cancelled the run, they are not done."""
    try:
        yield
    except dg.DagsterExecutionInterruptedError:
        run = context.instance.get_run_by_id(context.run.run_id)
        if run is not None and run.status == dg.DagsterRunStatus.CANCELING:
            context.log.info("cancelled: %d rows stay as they are", backfills.cancel(engine, backfill))
        raise
    finally:
        backfills.end(engine, backfill, asset)


class Progress:
    """Tells a few times a minute how far a backfill of `rows` is and how long it will take."""

    def __init__(
        self, tell: Callable[..., None], rows: int, clock: Callable[[], float] = time.monotonic, every: float = 5.0
    ) -> None:
        self._tell, self._rows, self._clock, self._every = tell, rows, clock, every
        self._began = self._told = clock()

    def __call__(self, done: Drained) -> None:
        """After each batch."""
        now, finished = self._clock(), done.stored + done.dead
        if not finished or now - self._told < self._every:
            return
        self._told = now
        minutes = (now - self._began) / finished * max(0, self._rows - finished) / 60
        self._tell("made %d of %d rows, %.1f minutes left", finished, self._rows, minutes)


def _observe_plan(context: dg.AssetExecutionContext, plan: Plan) -> None:
    """Attaches the price tag to the asset."""
    figures = {name: value for name, value in plan.as_json().items() if isinstance(value, int | float)}
    metadata = {"plan": dg.MetadataValue.md(plan.as_markdown()), "code_version": plan.code_version, **figures}
    context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))


def _report(
    context: dg.AssetExecutionContext, config: DrainConfig, database: Database, job: Job[Any, Any], days: Days | None
) -> None:
    if config.mode is Mode.plan:
        _observe_plan(context, backfills.plan(database.engine, job, days, force=config.force))
    else:
        _shadow(context, config, database, job, days)


def _shadow(
    context: dg.AssetExecutionContext, config: DrainConfig, database: Database, job: Job[Any, Any], days: Days | None
) -> None:
    """Attaches what a backfill would change to the asset; tables and partitions stay as they are."""
    found = backfills.shadow(
        database.engine,
        job,
        days,
        force=config.force,
        progress=lambda done, rows: context.log.info("compared %d of %d rows", done, rows),
    )
    metadata: dict[str, Any] = {
        "shadow": dg.MetadataValue.md(found.as_markdown()),
        "code_version": job.code_version,
        "compared_rows": len(found.pairs),
        "changed_rows": len(found.changed),
        "failed_rows": found.failed,
    }
    if (plot := found.plot()) is not None:
        metadata["distributions"] = dg.MetadataValue.md(plot)
    if days is not None:
        metadata["days"] = f"{days.start} to {days.end}"
    if found.agreement is not None:
        metadata["agreement"] = found.agreement
    context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))


def _materialise_drained(context: dg.AssetExecutionContext, days: Days, left: set[date]) -> None:
    context.log.info("%d days of %s to %s wait for the next run", len(left), days.start, days.end)
    for day in context.partition_keys:
        if date.fromisoformat(day) not in left:
            context.log_event(dg.AssetMaterialization(context.asset_key, partition=day))


def _rows_per_day(database: Database, statement: str, days: Days) -> Counter[str]:
    with database.engine.connect() as connection:
        found = connection.execute(text(statement), {"first": days.start, "last": days.end})
        return Counter({row.day.isoformat(): row.rows for row in found})


def _scope(context: dg.AssetExecutionContext, days: Days) -> dict[str, Any]:
    return {"run_id": context.run.run_id, "first": days.start, "last": days.end}


def _summary(done: Drained) -> dict[str, Any]:
    return {
        "stored_rows": done.stored,
        "failed_rows": done.failed,
        "dead_rows": done.dead,
        "postponed_rows": done.postponed,
        "errors": dg.MetadataValue.text("\n".join(done.errors)),
    }
