"""POST /content/posts/{id}/engagement: what a post's readers did, as totals at a moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import Field, model_validator
from sqlalchemy import Connection

from threads_agent_dagster.api.bodies import Count, In, Name, Out, Past, StrictRoute
from threads_agent_dagster.api.dependencies import OnceDep, Reply
from threads_agent_dagster.api.posts import PostId, found
from threads_agent_dagster.api.security import Editor
from threads_agent_dagster.db import engagement as db
from threads_agent_dagster.errors import Conflict

router = APIRouter(tags=["engagement"], route_class=StrictRoute)

MAX_BATCH = 1000


class Snapshot(In):
    """Totals at `observed_at` (now, when left out); the newest is the post's engagement."""

    event_id: Name
    impressions: Count
    engagements: Count
    observed_at: Past | None = None


class Batch(In):
    snapshots: Annotated[list[Snapshot], Field(min_length=1, max_length=MAX_BATCH)]

    @model_validator(mode="after")
    def _each_event_once(self) -> Self:
        if len({one.event_id for one in self.snapshots}) < len(self.snapshots):
            raise ValueError("an event id stands twice in the batch")
        return self


class Recorded(Out):
    """`duplicates` were known already and are not counted again."""

    post_id: int
    recorded: int
    duplicates: int


@router.post("/content/posts/{post_id}/engagement", response_model=Recorded)
def record_engagement(post_id: PostId, batch: Batch, once: OnceDep, _: Editor) -> JSONResponse:
    now = datetime.now(UTC)
    observed = [
        db.Observed(one.event_id, one.impressions, one.engagements, one.observed_at or now) for one in batch.snapshots
    ]

    def write(connection: Connection) -> Reply:
        found(connection, post_id)
        new = db.record(connection, post_id, observed)
        _refuse_other_figures(connection, post_id, [one for one in observed if one.event_id not in new])
        return Reply(200, Recorded(post_id=post_id, recorded=len(new), duplicates=len(observed) - len(new)), {})

    return once(write)


def _refuse_other_figures(connection: Connection, post_id: int, again: list[db.Observed]) -> None:
    known = db.recorded(connection, [one.event_id for one in again])
    for one in again:
        if known[one.event_id] != (post_id, one.impressions, one.engagements):
            raise Conflict(f"the event {one.event_id!r} was recorded with other figures")
