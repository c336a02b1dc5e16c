"""/api/v1/experiments: which variants compete, by which plan, and how they stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse
from pydantic import Field, model_validator
from sqlalchemy import Connection, RowMapping
from sqlalchemy.exc import IntegrityError

from threads_agent_dagster.api.bodies import Id, In, JsonObject, Line, Name, Out, Page, StrictRoute
from threads_agent_dagster.api.dependencies import EngineDep, OnceDep, Reply
from threads_agent_dagster.api.pages import PagingDep, page_of
from threads_agent_dagster.api.security import Editor, Viewer
from threads_agent_dagster.api.variants import Variant
from threads_agent_dagster.db import experiments as db
from threads_agent_dagster.db import variants
from threads_agent_dagster.domain.experiments import Judge, Plan, analyze, detail
from threads_agent_dagster.errors import Conflict, NotFound

router = APIRouter(prefix="/api/v1/experiments", tags=["experiments"], route_class=StrictRoute)

Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
ExperimentId = Annotated[Name, Path()]


class Experiment(Out):
    id: str
    name: str
    status: str
    plan: dict[str, Any]
    plan_hash: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class Arm(Out):
    """`p_best`: probability to be the best under independent Beta(1, 1) posteriors. Unit: `expected_loss` is a rate."""

    variant_id: str
    rate: float | None
    ci_low: float | None
    ci_high: float | None
    p_best: float | None
    expected_loss: float | None


class Verdict(Out):
    """Computed from the variants' counts by `plan`; the same counts and plan always give the same verdict."""

    verdict: str
    reason: str
    rule: str
    variant_id: str | None
    p_value: float | None
    p_value_sequential: float | None
    srm_p: float | None
    plan: dict[str, Any]
    arms: list[Arm]


class ExperimentWithVariants(Experiment):
    """The control stands first. `result` is null while a variant has no statistics, or there is only one."""

    variants: list[Variant]
    result: Verdict | None


class PlanIn(In):
    """What is fixed before the first impression; the rest of the statistics' plan keeps its default."""

    alpha: Share = 0.05
    power: Share = 0.8
    mde: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 0.1
    stopping_rule: Literal["sequential", "fixed"] = "sequential"
    horizon: Id | None = None


class ArmIn(In):
    variant_id: Name
    dimensions: JsonObject = Field(default_factory=dict)
    hook: Line | None = None
    is_control: bool = False


class NewExperiment(In):
    """At least two variants, one of them the control."""

    id: Name
    name: Line
    plan: PlanIn = PlanIn()
    variants: Annotated[list[ArmIn], Field(min_length=2, max_length=100)]

    @model_validator(mode="after")
    def _one_control(self) -> Self:
        if len({arm.variant_id for arm in self.variants}) < len(self.variants):
            raise ValueError("a variant id stands twice")
        if sum(arm.is_control for arm in self.variants) != 1:
            raise ValueError("exactly one variant is the control")
        return self


@router.get("")
def list_experiments(paging: PagingDep, engine: EngineDep, _: Viewer) -> Page[Experiment]:
    window = paging.window(db.BY_ID)
    with engine.connect() as connection:
        rows = db.search(connection, window)
    return page_of(Experiment, rows, db.BY_ID, window)


@router.get("/{experiment_id}")
def get_experiment(experiment_id: ExperimentId, engine: EngineDep, _: Viewer) -> ExperimentWithVariants:
    with engine.connect() as connection:
        return _shown(connection, experiment_id)


@router.post("", status_code=201, response_model=ExperimentWithVariants)
def create_experiment(new: NewExperiment, once: OnceDep, _: Editor) -> JSONResponse:
    def write(connection: Connection) -> Reply:
        try:
            db.add(connection, {"id": new.id, "name": new.name, "plan": new.plan.model_dump(exclude_none=True)})
            for arm in new.variants:
                variants.add(connection, arm.model_dump() | {"experiment_id": new.id})
        except IntegrityError as error:
            raise Conflict(f"the experiment {new.id!r} or one of its variants is there already") from error
        return Reply(201, _shown(connection, new.id), {"Location": f"{router.prefix}/{new.id}"})

    return once(write)


@router.post("/{experiment_id}/start", response_model=ExperimentWithVariants)
def start(experiment_id: ExperimentId, once: OnceDep, _: Editor) -> JSONResponse:
    """Freezes the plan and its hash; from then on the variants are fixed too."""

    def write(connection: Connection) -> Reply:
        plan = _plan(_found(connection, experiment_id))
        if not db.start(connection, experiment_id, plan.sha256()):
            raise Conflict(f"the experiment {experiment_id!r} was started before")
        return Reply(200, _shown(connection, experiment_id), {})

    return once(write)


@router.post("/{experiment_id}/stop", response_model=ExperimentWithVariants)
def stop(experiment_id: ExperimentId, once: OnceDep, _: Editor) -> JSONResponse:
    def write(connection: Connection) -> Reply:
        _found(connection, experiment_id)
        if not db.stop(connection, experiment_id):
            raise Conflict(f"the experiment {experiment_id!r} is not running")
        return Reply(200, _shown(connection, experiment_id), {})

    return once(write)


def _found(connection: Connection, experiment_id: str) -> RowMapping:
    row = db.find(connection, experiment_id)
    if row is None:
        raise NotFound(f"there is no experiment {experiment_id!r}")
    return row


def _shown(connection: Connection, experiment_id: str) -> ExperimentWithVariants:
    row = _found(connection, experiment_id)
    arms = variants.of_experiment(connection, experiment_id)
    shown = {"variants": [dict(arm) for arm in arms], "result": _judged(arms, _plan(row))}
    return ExperimentWithVariants.model_validate(dict(row) | shown)


def _plan(experiment: RowMapping) -> Plan:
    known = {field.name for field in fields(Plan)}
    return Plan(**{name: value for name, value in experiment["plan"].items() if name in known})


def _judged(arms: Sequence[RowMapping], plan: Plan) -> Verdict | None:
    if len(arms) < 2 or any(arm["impressions"] is None for arm in arms):
        return None
    names = [arm["variant_id"] for arm in arms]
    analysis = analyze([[arm["impressions"] for arm in arms]], [[arm["successes"] for arm in arms]], plan)
    verdict = Judge(analysis, detail(analysis, plan), plan).verdict(0, names)
    measures = ("rate", "ci_low", "ci_high", "p_best", "expected_loss")
    return Verdict(
        **asdict(verdict),
        p_value=_number(analysis.p_value[0]),
        p_value_sequential=_number(analysis.p_value_sequential[0]),
        srm_p=_number(analysis.srm_p[0]),
        plan=asdict(plan),
        arms=[
            Arm(variant_id=name, **{measure: _number(getattr(analysis, measure)[0, index]) for measure in measures})
            for index, name in enumerate(names)
        ],
    )


def _number(value: float) -> float | None:
    """None for what is not measured: JSON has no NaN."""
    return float(value) if math.isfinite(value) else None
