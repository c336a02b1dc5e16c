"""/metrics/summary: the business figures of the last 30 days, with the refresh that they come from."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter

from threads_agent_dagster.api.bodies import Out
from threads_agent_dagster.api.dependencies import EngineDep
from threads_agent_dagster.api.security import Viewer
from threads_agent_dagster.db import metrics as db

router = APIRouter(prefix="/metrics", tags=["metrics"])


class Summary(Out):
    """Counts are 0 and measures null where there is nothing; `refreshed_at` is null before the first refresh."""

    total_achievements: int
    avg_impact: float | None
    total_time_saved: float | None
    categories_covered: int
    total_posts: int
    total_arcs: int
    engagement_rate: float | None
    observed_impressions: int
    observed_successes: int
    refreshed_at: datetime | None
    run_id: str | None
    code_version: str | None


@router.get("/summary")
def summary(engine: EngineDep, _: Viewer) -> Summary:
    with engine.connect() as connection:
        return Summary.model_validate(dict(db.summary(connection)))
