"""/api/v1/experiments: which variants compete, and how they stand."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path

from threads_agent_dagster.api.bodies import Name, Out, Page, StrictRoute
from threads_agent_dagster.api.dependencies import EngineDep
from threads_agent_dagster.api.pages import PagingDep, page_of
from threads_agent_dagster.api.security import Viewer
from threads_agent_dagster.api.variants import Variant
from threads_agent_dagster.db import experiments as db
from threads_agent_dagster.db import variants
from threads_agent_dagster.errors import NotFound

router = APIRouter(prefix="/api/v1/experiments", tags=["experiments"], route_class=StrictRoute)


class Experiment(Out):
    id: str
    name: str
    status: str
    plan: dict[str, Any]
    plan_hash: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class ExperimentWithVariants(Experiment):
    """The control stands first."""

    variants: list[Variant]


@router.get("")
def list_experiments(paging: PagingDep, engine: EngineDep, _: Viewer) -> Page[Experiment]:
    window = paging.window(db.BY_ID)
    with engine.connect() as connection:
        rows = db.search(connection, window)
    return page_of(Experiment, rows, db.BY_ID, window)


@router.get("/{experiment_id}")
def get_experiment(experiment_id: Annotated[Name, Path()], engine: EngineDep, _: Viewer) -> ExperimentWithVariants:
    with engine.connect() as connection:
        row = db.find(connection, experiment_id)
        if row is None:
            raise NotFound(f"there is no experiment {experiment_id!r}")
        arms = variants.of_experiment(connection, experiment_id)
    return ExperimentWithVariants.model_validate(dict(row) | {"variants": [dict(arm) for arm in arms]})
