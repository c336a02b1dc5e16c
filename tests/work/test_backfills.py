"""A backfill in shadow computes what it would change and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import InternalError

from threads_agent_dagster.db.emotions import PostText
from threads_agent_dagster.db.pending import Days
from threads_agent_dagster.domain.emotions import load_scorer
from threads_agent_dagster.errors import Unsupported
from threads_agent_dagster.work import emotions, posts
from threads_agent_dagster.work.backfills import shadow
from threads_agent_dagster.work.drain import Failure, Job, Origin, drain

JOB = emotions.job(scorer_name="fast")
NEWER = replace(JOB, code_version="newer")
DAY = Days(date(2026, 1, 5), date(2026, 1, 5))
WRITTEN = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
NEXT = "SELECT pg_sequence_last_value('pending_change')"


def seeing(change: Mapping[str, float]) -> Job[list[PostText], emotions.ScoredPost]:
    """The newer version, which sees each emotion of a text as `change` says."""

    def compute(texts: Sequence[PostText]) -> Mapping[str, emotions.ScoredPost | Failure]:
        scored = emotions.score(texts, load_scorer("fast"))
        return {
            key: replace(
                one, trajectory=replace(one.trajectory, emotions={**(one.trajectory.emotions or {}), **change})
            )
            for key, one in scored.items()
        }

    return replace(NEWER, compute=compute)


@pytest.fixture
def three_posts(engine: Engine) -> None:
    """Two with an arc of the current version, and one of another day."""
    insert = text("INSERT INTO posts (persona_id, hook, body, ts) VALUES ('default', 'A hook', :body, :ts)")
    with engine.begin() as connection:
        for body, ts in [("I am so happy.", "2026-01-05"), ("I was afraid.", "2026-01-05"), ("Well.", "2026-01-09")]:
            connection.execute(insert, {"body": f"{body}\n\nIt was fine.\n\nWe go on.", "ts": ts})
    drain(engine, JOB, None, Origin("run-1", JOB.code_version))


@pytest.mark.usefixtures("three_posts")
def test_shadow_compares_what_a_backfill_would_make(engine: Engine) -> None:
    assert shadow(engine, JOB, DAY).rows == [], "nothing is stale"
    assert shadow(engine, JOB, DAY, force=True).agreement == 1
    changed = shadow(engine, seeing({"joy": 0.123}), DAY)
    assert changed.agreement == 0
    assert [row.new["joy_avg"] for row in changed.pairs] == [0.123, 0.123]


@pytest.mark.usefixtures("three_posts")
def test_shadow_writes_nothing(engine: Engine) -> None:
    with engine.connect() as connection:
        before = [connection.execute(text(statement)).scalar() for statement in (WRITTEN, NEXT)]
    assert len(shadow(engine, NEWER, None).pairs) == 3
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        assert [connection.execute(text(statement)).scalar() for statement in (WRITTEN, NEXT)] == before


@pytest.mark.usefixtures("three_posts")
def test_a_job_that_writes_is_refused_in_shadow(engine: Engine) -> None:
    def compare(connection: object, results: object) -> list[object]:
        with engine.execution_options(postgresql_readonly=True).connect() as connection:
            connection.execute(text("DELETE FROM posts"))
        return []

    with pytest.raises(InternalError, match="read-only transaction"):
        shadow(engine, replace(NEWER, compare=compare), None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("three_posts")
def test_a_row_that_cannot_be_computed_takes_no_other_with_it(engine: Engine) -> None:
    def compute(texts: Sequence[PostText]) -> Mapping[str, emotions.ScoredPost | Failure]:
        if any("afraid" in one.body for one in texts):
            raise ValueError("poison")
        return emotions.score(texts, load_scorer("fast"))

    found = shadow(engine, replace(NEWER, compute=compute), None)
    assert (len(found.pairs), found.failed, found.agreement) == (2, 1, 1)
    assert found.errors[0].endswith("ValueError: poison")


def test_what_is_made_once_has_no_shadow(engine: Engine) -> None:
    with pytest.raises(Unsupported, match="posts cannot be compared"):
        shadow(engine, posts.job(), None)
