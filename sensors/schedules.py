"""What happens by the clock."""

from typing import TYPE_CHECKING

import dagster as dg

from assets import quality
from resources.database import database_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

metrics_job = dg.define_asset_job(
    "metrics",
    selection=dg.AssetSelection.assets("dashboard_metrics"),
    executor_def=dg.in_process_executor,
    description="Folds captured changes into the daily figures.",
)


def _ask_if(due: "Callable[[Connection], bool]", otherwise: str) -> dg.RunRequest | dg.SkipReason:
    """A run if it is due; one small query says whether."""
    from threads_agent_dagster.db.engine import make_engine

    engine = make_engine(database_url(), pool_size=1, application="threads-agent-schedule")
    try:
        with engine.connect() as connection:
            return dg.RunRequest() if due(connection) else dg.SkipReason(otherwise)
    finally:
        engine.dispose()


def _metrics_tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    del context
    from threads_agent_dagster.db.metrics import is_due

    return _ask_if(is_due, "nothing changed since the last refresh")


portfolio_job = dg.define_asset_job(
    "portfolio_seal",
    selection=dg.AssetSelection.assets("portfolio"),
    executor_def=dg.in_process_executor,
    description="Seals what is ready for the portfolio.",
)

portfolio_schedule = dg.ScheduleDefinition(
    name="portfolio_nightly",
    job=portfolio_job,
    cron_schedule="30 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night, so that an export can be told from what was ready that day.",
)

quality_job = dg.define_asset_job(
    "quality",
    selection=dg.AssetSelection.checks(quality.achievements_quality),
    executor_def=dg.in_process_executor,
    description="Whole tables against their Great Expectations suites.",
)

quality_schedule = dg.ScheduleDefinition(
    name="quality_nightly",
    job=quality_job,
    cron_schedule="0 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at four: Great Expectations is heavy, and looks at every row.",
)

metrics_refresh = dg.ScheduleDefinition(
    name="metrics_refresh",
    job=metrics_job,
    cron_schedule="* * * * *",
    execution_timezone="UTC",
    execution_fn=_metrics_tick,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every minute, where something changed that no run caused: edits, deletions, undone imports.",
)

pull_requests_job = dg.define_asset_job(
    "github",
    selection=dg.AssetSelection.assets("pull_requests"),
    executor_def=dg.in_process_executor,
    description="Asks GitHub what was merged in the connected repositories, and for deliveries that failed.",
)


def _github_tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    del context
    from threads_agent_dagster.db.github import any_connected

    return _ask_if(any_connected, "no GitHub repository is connected")


github_sync = dg.ScheduleDefinition(
    name="github_sync",
    job=pull_requests_job,
    cron_schedule="*/10 * * * *",
    execution_timezone="UTC",
    execution_fn=_github_tick,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every ten minutes, where a repository is connected: new merged pull requests, failed deliveries.",
)

effects_job = dg.define_asset_job(
    "effects",
    selection=dg.AssetSelection.assets("emotion_effects"),
    executor_def=dg.in_process_executor,
    description="Looks anew at which feelings of posts go with engagement.",
)

effects_refresh = dg.ScheduleDefinition(
    name="effects_refresh",
    job=effects_job,
    cron_schedule="20 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: it reads all measured posts, and an hour more or less changes no verdict.",
)

hooks_job = dg.define_asset_job(
    "hooks",
    selection=dg.AssetSelection.assets("hook_predictions", "hook_calibration"),
    executor_def=dg.in_process_executor,
    description="Predicts hooks that are new, and holds all predictions against what was measured.",
)


def _hooks_tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    del context
    from threads_agent_dagster.db.hooks import is_due

    return _ask_if(is_due, "no hook is new, none was measured again")


hooks_refresh = dg.ScheduleDefinition(
    name="hooks_refresh",
    job=hooks_job,
    cron_schedule="50 * * * *",
    execution_timezone="UTC",
    execution_fn=_hooks_tick,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every hour, where hooks compete that were not predicted, or predicted ones were measured.",
)
