"""Every night: what is older than its THREADS_AGENT_KEEP_*_DAYS is let go."""

import dagster as dg

from resources.database import Database
from threads_agent_dagster.settings import Settings


@dg.op(description="Lets go of what is old, and says of what and how much.")
def let_go(context: dg.OpExecutionContext, database: Database) -> None:
    from threads_agent_dagster.work.retention import sweep

    removed = sweep(database.engine, Settings())
    context.add_output_metadata({f"removed_{name}": rows for name, rows in removed.items()})
    context.log.info("removed %s", ", ".join(f"{rows} of {name}" for name, rows in removed.items()) or "nothing")


@dg.job(
    executor_def=dg.in_process_executor,
    description="Removes old log lines, delivery bodies, idempotency keys, model answers and delivered messages; never "
    "a run, nor what the status of a partition is computed from.",
)
def retention() -> None:
    let_go()


nightly_retention = dg.ScheduleDefinition(
    name="nightly_retention",
    job=retention,
    cron_schedule="17 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="At 03:17 UTC.",
)
