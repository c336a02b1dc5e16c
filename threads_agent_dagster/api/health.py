"""/health and /livez: this process answers. /readyz: what it needs is there."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy import Engine

from threads_agent_dagster.api.bodies import Out
from threads_agent_dagster.api.dependencies import EngineDep
from threads_agent_dagster.api.problems import DATABASE_DOWN, RETRY_AFTER_SECONDS, problem
from threads_agent_dagster.db import readiness, revisions

router = APIRouter(tags=["health"])


class Health(Out):
    status: Literal["ok"]
    service: str


class Ready(Out):
    status: Literal["ready"]
    checks: dict[str, str]


_head = cache(revisions.head)


@router.get("/health")
@router.get("/livez")
async def health(request: Request) -> Health:
    return Health(status="ok", service=request.app.title)


@router.get("/readyz", response_model=Ready)
def ready(engine: EngineDep) -> Ready | JSONResponse:
    checks = check(engine)
    failed = {name: fault for name, fault in checks.items() if fault != "ok"}
    if not failed:
        return Ready(status="ready", checks=checks)
    detail = "; ".join(f"{name}: {fault}" for name, fault in failed.items())
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers, checks=checks)


def check(engine: Engine) -> dict[str, str]:
    """What each need's check found: `ok`, or what is wrong with it and how to mend it."""
    try:
        with engine.begin() as connection:
            readiness.limit_time(connection)
            revision, age = readiness.revision(connection), readiness.heartbeat_age(connection)
    except DATABASE_DOWN:
        return {"database": "PostgreSQL does not answer"}
    return {"database": "ok", "migrations": _migrations(revision), "daemon": _daemon(age)}


def _migrations(revision: str | None) -> str:
    if revision == _head():
        return "ok"
    return f"the schema is at {revision or 'no revision'}, {_head()} is needed: run threads-agent db upgrade"


def _daemon(age: float | None) -> str:
    if age is None:
        return "no Dagster daemon has ever run on this database"
    if age > readiness.HEARTBEAT_SECONDS:
        return f"the Dagster daemon gave its last sign of life {age:.0f} s ago"
    return "ok"
