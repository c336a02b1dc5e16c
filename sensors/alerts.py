"""Sees runs that failed for good, and delivers the alerts that wait; both within the tick, so that neither needs a run.

Truth is the outbox: a run is told of once whatever the cursor says. The cursor only saves looking at old runs again;
it lags ten minutes behind, because what commits late would be lost behind an exact one.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import dagster as dg

from resources.database import database_url
from threads_agent_dagster.db.alerts import tell_failed_run, told_runs
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work import alerts
from threads_agent_dagster.work.drain import Drained, Origin, drain

if TYPE_CHECKING:
    from sqlalchemy import Engine

INTERVAL_SECONDS: Final = 5
DELIVER_SECONDS: Final = 15.0  # of the 60 that Dagster gives a tick
OVERLAP: Final = timedelta(minutes=10)
UNDECIDED: Final = timedelta(seconds=30)  # Dagster says a moment after the failure whether it will try again
MOST_RUNS: Final = 500
WILL_RETRY: Final = "dagster/will_retry"


@dg.sensor(
    name="alerts",
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Runs that failed for good and rows that died, told once: in the log, and to THREADS_AGENT_ALERT_"
    "WEBHOOK_URL if it is set. At most THREADS_AGENT_ALERTS_PER_HOUR; the rest is counted.",
)
def alerts_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    from threads_agent_dagster.db.engine import make_engine

    engine = make_engine(database_url(), pool_size=2, application="threads-agent-alerts")
    try:
        since = datetime.fromisoformat(context.cursor) if context.cursor else datetime.now(UTC) - OVERLAP
        newest = tell_failures(engine, context, since)
        done = deliver(engine, Settings())
    finally:
        engine.dispose()
    reason = f"told {done.stored}, waiting {done.postponed}, given up {done.dead}"
    return dg.SensorResult(skip_reason=reason, cursor=newest.isoformat())


def tell_failures(engine: "Engine", context: dg.SensorEvaluationContext, since: datetime) -> datetime:
    """Puts alerts of runs that failed since then into the outbox; returns from when to look the next time."""
    now = datetime.now(UTC)
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    records = context.instance.get_run_records(failed, limit=MOST_RUNS, order_by="update_timestamp", ascending=True)
    with engine.connect() as connection:
        told = told_runs(connection, [record.dagster_run.run_id for record in records])
    for record in records:
        age, run = now - _changed(record), record.dagster_run
        if run.run_id not in told and _is_final(run, age, retries=context.instance.run_retries_enabled):
            _tell(engine, context, run)
    return max(since, _changed(records[-1]) if len(records) == MOST_RUNS else now - OVERLAP)


def _changed(record: dg.RunRecord) -> datetime:
    return record.update_timestamp.replace(tzinfo=UTC)


def _tell(engine: "Engine", context: dg.SensorEvaluationContext, run: dg.DagsterRun) -> None:
    error, url = _why(context.instance, run.run_id), f"{Settings().service_url('dagster')}/runs/{run.run_id}"
    with engine.begin() as connection:
        new = tell_failed_run(connection, run.run_id, run.job_name, error, url)
    if new:
        context.log.error("run %s of %s failed: %s", run.run_id, run.job_name, error)


def _is_final(run: dg.DagsterRun, age: timedelta, *, retries: bool) -> bool:
    """Whether nobody tries this run again by itself."""
    if retries and WILL_RETRY not in run.tags:
        return age > UNDECIDED
    return run.tags.get(WILL_RETRY, "false") == "false"


def _why(instance: dg.DagsterInstance, run_id: str) -> str:
    failures = instance.all_logs(run_id, of_type={dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE})
    for event in failures:
        found = event.dagster_event
        if found is not None and found.is_step_failure and found.step_failure_data.error is not None:
            error = found.step_failure_data.error
            return f"{found.step_key}: {_first_line((error.cause or error).message)}"
    return _first_line(failures[-1].user_message) if failures else "it left no reason"


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0][:500]


def deliver(engine: "Engine", settings: Settings) -> Drained:
    """Sends what waits; without a receiver the log was all there is to tell."""
    job = alerts.job(_sender(settings), settings.alerts_per_hour, DELIVER_SECONDS)
    return drain(engine, job, None, Origin(None, job.code_version), seconds=DELIVER_SECONDS)


def _sender(settings: Settings) -> alerts.Send:
    from threads_agent_dagster.clients.alerts import Receiver

    if settings.alert_webhook_url is None:
        return lambda *_: None
    return Receiver(settings.alert_webhook_url, settings.alert_webhook_secret).send
