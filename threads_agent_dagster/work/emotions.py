"""Posts become emotion trajectories: one current arc per post, with its segments and transitions."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine

from threads_agent_dagster.clients.llm import Ask
from threads_agent_dagster.db import emotions as db
from threads_agent_dagster.db import llm_calls, tasks
from threads_agent_dagster.db.emotions import PostText
from threads_agent_dagster.domain.backfills import Compared
from threads_agent_dagster.domain.emotions import (
    EMOTIONS,
    POLARITIES,
    Scorer,
    Segment,
    Trajectory,
    Transition,
    trajectories,
)
from threads_agent_dagster.errors import ConfigurationError, ThreadsAgentError, Unavailable
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work.drain import Failure, Job, Origin, describe
from threads_agent_dagster.work.llm_calls import ledger
from threads_agent_dagster.work.scorers import choose

ASSET = "emotion_trajectories"
CODE_VERSION = "4"  # raise it when the same input gives other rows: history is then stale
BATCH_SIZE = 50  # some seconds with the accurate scorer: a run can end in time, and shows that it moves
PAID_BATCH_SIZE = 10  # a language model takes seconds for each post


@dataclass(frozen=True, slots=True)
class ScoredPost:
    """An arc with the text that it was made from."""

    post: PostText
    trajectory: Trajectory
    scorer_version: str
    processing_time_ms: int


def full_text(hook: str, body: str) -> str:
    """What readers see: the hook as the first paragraph, then the body."""
    return f"{hook}\n\n{body}" if body else hook


def content_hash(hook: str, body: str) -> str:
    """SHA-256 of the text, hexadecimal; equal texts have equal arcs."""
    return hashlib.sha256(full_text(hook, body).encode()).hexdigest()


def job(
    scorer_name: str | None = None,
    settings: Settings | None = None,
    engine: Engine | None = None,
    run_id: str | None = None,
) -> Job[list[PostText], ScoredPost]:
    """How `emotion_trajectories` is made with the named scorer, or the one that the settings choose.

    The code version of its rows names the scorer too, so that another scorer makes history stale. A language model is
    asked through the ledger in `engine`, for the run: without an engine such a job plans, but computes nothing.
    """
    settings = settings or Settings()
    scorer = choose(settings, scorer_name, lambda: _through_ledger(engine, settings, run_id))
    code_version = f"{CODE_VERSION}+{scorer.version}"
    return Job(
        asset=ASSET,
        code_version=code_version,
        load=lambda connection, rows: db.read_texts(connection, [row.key for row in rows]),
        compute=lambda posts: (score_each if scorer.paid else score)(posts, scorer.load()),
        store=store,
        stale=db.STALE,
        claimed=tasks.begin,
        dead=tasks.fail,
        compare=compare,
        spent=partial(llm_calls.spent, item=ASSET) if scorer.paid else None,
        batch_size=PAID_BATCH_SIZE if scorer.paid else BATCH_SIZE,
    )


def _through_ledger(engine: Engine | None, settings: Settings, run_id: str | None) -> Ask:
    if engine is None:
        raise ConfigurationError("a language model is asked through the ledger: the job needs its engine")
    return partial(ledger(engine, settings).ask, item=ASSET, run_id=run_id)


def score(posts: Sequence[PostText], scorer: Scorer) -> Mapping[str, ScoredPost]:
    """Pending key → arc; the time of the batch is shared out by length of text, in milliseconds."""
    texts = [full_text(post.hook, post.body) for post in posts]
    began = time.perf_counter()
    arcs = trajectories(texts, scorer)
    per_character = (time.perf_counter() - began) * 1000 / max(1, sum(map(len, texts)))
    return {
        post.key: ScoredPost(post, arc, scorer.version, round(len(text) * per_character))
        for post, text, arc in zip(posts, texts, arcs, strict=True)
    }


def score_each(posts: Sequence[PostText], scorer: Scorer) -> Mapping[str, ScoredPost | Failure]:
    """As `score`, with questions for one post each: whatever batch it comes in again, its question is the same.

    What the scorer cannot use is that post's final failure: the recorded answer would only be read again.
    """
    scored: dict[str, ScoredPost | Failure] = {}
    for post in posts:
        try:
            scored |= score([post], scorer)
        except (Unavailable, ConfigurationError):
            raise
        except ThreadsAgentError as error:
            scored[post.key] = Failure(describe(error))
    return scored


def store(connection: Connection, results: Mapping[str, ScoredPost], origin: Origin) -> set[str]:
    """Stores the arcs of texts that are still as they were read; returns the keys of the others."""
    now = db.lock_texts(connection, [scored.post.post_id for scored in results.values()])
    unchanged = {
        key: scored
        for key, scored in results.items()
        if now.get(scored.post.post_id) == (scored.post.hook, scored.post.body)
    }
    by_post = {scored.post.post_id: scored for scored in unchanged.values()}
    if by_post:
        ids = db.store_trajectories(connection, [_row(scored, origin) for scored in by_post.values()])
        arcs = [(ids[post_id], scored.trajectory) for post_id, scored in by_post.items()]
        db.store_parts(
            connection,
            [_segment(id_, segment) for id_, arc in arcs for segment in arc.segments],
            [_transition(id_, transition) for id_, arc in arcs for transition in arc.transitions],
        )
        tasks.complete(connection, unchanged)
    return set(results) - set(unchanged)


def compare(connection: Connection, results: Mapping[str, ScoredPost]) -> list[Compared]:
    """The measured columns of the arcs that are there beside those of the results."""
    measured = db.read_measured(connection, [scored.post.post_id for scored in results.values()])
    return [
        Compared(key, measured.get(scored.post.post_id), {name: row[name] for name in db.MEASURED})
        for key, scored in results.items()
        for row in [_row(scored, Origin(None, CODE_VERSION))]
    ]


def _row(scored: ScoredPost, origin: Origin) -> dict[str, Any]:
    arc, post = scored.trajectory, scored.post
    return {
        "post_id": post.post_id,
        "persona_id": post.persona_id,
        "day": post.day,
        "content_hash": content_hash(post.hook, post.body),
        "segment_count": len(arc.segments),
        "trajectory_type": arc.trajectory_type,
        "reason": arc.reason,
        **_averages(arc),
        "dominant_emotion": arc.dominant,
        "emotional_variance": arc.variance,
        "peaks": list(arc.peaks),
        "valleys": list(arc.valleys),
        "confidence": arc.confidence,
        "scorer_version": scored.scorer_version,
        "processing_time_ms": scored.processing_time_ms,
        "run_id": origin.run_id,
        "code_version": origin.code_version,
    }


def _averages(arc: Trajectory) -> dict[str, float | None]:
    emotions = {f"{name}_avg": (arc.emotions or {}).get(name) for name in EMOTIONS}
    sentiment = {f"sentiment_{name}": (arc.sentiment or {}).get(name) for name in POLARITIES}
    return emotions | sentiment


def _segment(trajectory_id: int, segment: Segment) -> dict[str, Any]:
    emotions: dict[str, float | None] = {name: (segment.emotions or {}).get(name) for name in EMOTIONS}
    sentiment = {f"sentiment_{name}": (segment.sentiment or {}).get(name) for name in POLARITIES}
    return {
        "trajectory_id": trajectory_id,
        "index": segment.index,
        "text": segment.text,
        **emotions,
        **sentiment,
        "dominant_emotion": segment.dominant,
    }


def _transition(trajectory_id: int, transition: Transition) -> dict[str, Any]:
    return {
        "trajectory_id": trajectory_id,
        "from_index": transition.from_index,
        "to_index": transition.to_index,
        "from_emotion": transition.from_emotion,
        "to_emotion": transition.to_emotion,
        "intensity_change": transition.intensity_change,
        "type": transition.type,
    }
