"""The arc of a post, and of a text that nobody stored."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import RowMapping

from threads_agent_dagster.api.bodies import In, LongText, Out, StrictRoute
from threads_agent_dagster.api.dependencies import EngineDep, SettingsDep
from threads_agent_dagster.api.posts import PostId, found
from threads_agent_dagster.api.security import Editor, Viewer
from threads_agent_dagster.db import emotions as db
from threads_agent_dagster.domain.emotions import EMOTIONS, POLARITIES, trajectories
from threads_agent_dagster.errors import NotFound
from threads_agent_dagster.work.llm_calls import ledger
from threads_agent_dagster.work.scorers import choose

router = APIRouter(tags=["emotions"], route_class=StrictRoute)

Values = dict[str, float | None]


class TextIn(In):
    text: Annotated[LongText, Field(min_length=1)]


class Segment(Out):
    """Emotions, positive, negative and neutral in 0..1, compound in -1..1; null where the scorer does not measure."""

    index: int
    text: str
    emotions: Values | None
    sentiment: Values | None
    dominant: str | None


class Transition(Out):
    from_index: int
    to_index: int
    from_emotion: str | None
    to_emotion: str | None
    intensity_change: float
    type: str


class Arc(Out):
    """The means are those of the segments; `reason` says why a text has no shape."""

    trajectory_type: str
    reason: str | None
    emotions: Values | None
    sentiment: Values | None
    dominant: str | None
    variance: float | None
    peaks: list[int]
    valleys: list[int]
    confidence: float | None
    scorer_version: str
    segments: list[Segment]
    transitions: list[Transition]


class StoredArc(Arc):
    """The arc as it was stored, and by which run."""

    post_id: int
    content_hash: str
    processing_time_ms: int | None
    created_at: datetime
    run_id: str | None
    code_version: str | None


@router.post("/emotions/analyze")
def analyze(text: TextIn, engine: EngineDep, settings: SettingsDep, _: Editor) -> Arc:
    """Stores no arc; an answer that was paid is recorded, and the budget of such answers holds here too."""
    scorer = choose(settings, asks=lambda: partial(ledger(engine, settings).ask, item="emotions/analyze")).load()
    (arc,) = trajectories([text.text], scorer)
    return Arc.model_validate(asdict(arc) | {"scorer_version": scorer.version})


@router.get("/content/posts/{post_id}/emotions")
def get_emotions(post_id: PostId, engine: EngineDep, _: Viewer) -> StoredArc:
    with engine.connect() as connection:
        found(connection, post_id)
        arc = db.find(connection, post_id)
        if arc is None:
            raise NotFound(f"the post {post_id} has no arc yet")
        segments, transitions = db.find_parts(connection, arc["id"])
    return StoredArc.model_validate(
        dict(arc)
        | _measured(arc, "_avg")
        | {
            "variance": arc["emotional_variance"],
            "segments": [{**one, **_measured(one, "")} for one in segments],
            "transitions": [dict(one) for one in transitions],
        }
    )


def _measured(row: RowMapping, suffix: str) -> dict[str, Any]:
    """The flat columns as the two groups that the arc has."""
    return {
        "dominant": row["dominant_emotion"],
        "emotions": _none_if_unmeasured({name: row[f"{name}{suffix}"] for name in EMOTIONS}),
        "sentiment": _none_if_unmeasured({name: row[f"sentiment_{name}"] for name in POLARITIES}),
    }


def _none_if_unmeasured(values: Values) -> Values | None:
    """As an arc that was just computed has it."""
    return None if all(value is None for value in values.values()) else values
