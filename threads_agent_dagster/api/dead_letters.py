"""/dead-letters: rows that were given up after their last attempt, and trying them again."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from threads_agent_dagster.api.bodies import In, Name, Out, Page, StrictRoute
from threads_agent_dagster.api.dependencies import EngineDep, OnceDep, Reply
from threads_agent_dagster.api.pages import PagingDep, page_of
from threads_agent_dagster.api.security import Editor, Viewer
from threads_agent_dagster.db import dead_letters as db
from threads_agent_dagster.work import dead_letters

router = APIRouter(prefix="/dead-letters", tags=["dead letters"], route_class=StrictRoute)


class DeadLetter(Out):
    """A row of `asset` that was not made, with its latest error."""

    asset: str
    key: str
    day: date
    attempts: int
    error: str | None
    dead_at: datetime


class Redrive(In):
    """Which dead rows to try again; all that are not narrowed down."""

    asset: Name | None = None
    key: Name | None = None


class Redriven(Out):
    revived: int


@router.get("", response_model=Page[DeadLetter])
def list_dead_letters(
    engine: EngineDep,
    paging: PagingDep,
    _: Viewer,
    asset: Annotated[Name | None, Query()] = None,
    key: Annotated[Name | None, Query()] = None,
) -> Page[DeadLetter]:
    window = paging.window(db.NEWEST_FIRST)
    with engine.connect() as connection:
        return page_of(DeadLetter, db.read(connection, asset, key, window), db.NEWEST_FIRST, window)


@router.post("/redrive", response_model=Redriven)
def redrive(which: Redrive, once: OnceDep, _: Editor) -> JSONResponse:
    def write(connection: Connection) -> Reply:
        return Reply(200, Redriven(revived=dead_letters.redrive(connection, which.asset, which.key)), {})

    return once(write)
