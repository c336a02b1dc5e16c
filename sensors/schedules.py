"""What happens by the clock."""

import dagster as dg

metrics_job = dg.define_asset_job(
    "metrics",
    selection=dg.AssetSelection.assets("dashboard_metrics"),
    executor_def=dg.in_process_executor,
    description="Folds captured changes into the daily figures.",
)

metrics_refresh = dg.ScheduleDefinition(
    name="metrics_refresh",
    job=metrics_job,
    cron_schedule="*/5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every five minutes, for changes that no run caused: edits, deletions, undone imports.",
)
