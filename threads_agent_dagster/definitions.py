"""Everything that Dagster knows of the platform, collected; no logic here."""

import dagster as dg

from assets import (
    achievements,
    effects,
    embeddings,
    emotions,
    engagement,
    experiments,
    hooks,
    inbox,
    metrics,
    portfolio,
    posts,
    pull_requests,
    quality,
    tasks,
    themes,
    verdicts,
)
from resources.database import Database
from sensors.alerts import alerts_sensor
from sensors.pending import chains, pending_work
from sensors.retention import nightly_retention, retention
from sensors.schedules import (
    effects_job,
    effects_refresh,
    github_sync,
    hooks_job,
    hooks_refresh,
    metrics_job,
    metrics_refresh,
    portfolio_job,
    portfolio_schedule,
    pull_requests_job,
    quality_job,
    quality_schedule,
)

defs = dg.Definitions(
    assets=[
        tasks.tasks,
        inbox.github_deliveries,
        inbox.git_commits,
        pull_requests.pull_requests,
        engagement.engagement_snapshots,
        experiments.observations,
        posts.posts,
        emotions.emotion_trajectories,
        engagement.post_engagement,
        effects.emotion_effects,
        achievements.achievements,
        experiments.variant_performance,
        embeddings.achievement_embeddings,
        themes.achievement_themes,
        portfolio.portfolio,
        verdicts.experiment_verdicts,
        hooks.hook_predictions,
        hooks.hook_calibration,
        metrics.dashboard_metrics,
    ],
    asset_checks=[quality.achievements_quality],
    jobs=[*chains, effects_job, hooks_job, metrics_job, portfolio_job, pull_requests_job, quality_job, retention],
    sensors=[*pending_work, alerts_sensor],
    schedules=[
        effects_refresh,
        hooks_refresh,
        metrics_refresh,
        portfolio_schedule,
        github_sync,
        quality_schedule,
        nightly_retention,
    ],
    resources={"database": Database()},
    executor=dg.in_process_executor,
)
