"""A backfill says what it costs, has its rows to itself, can be cancelled; in shadow it changes no row."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import InternalError

from threads_agent_dagster.db import pending
from threads_agent_dagster.db.emotions import PostText
from threads_agent_dagster.db.pending import Days
from threads_agent_dagster.domain.backfills import FREE, Spent
from threads_agent_dagster.domain.emotions import load_scorer
from threads_agent_dagster.errors import Conflict, NotFound, Unsupported
from threads_agent_dagster.work import backfills, emotions, posts
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


def begin(
    engine: Engine, id_: str = "b1", *, job: Job[Any, Any] = NEWER, lease: float = 60, force: bool = False
) -> int:
    return backfills.begin(engine, job, None, id_, force=force, lease=lease)


def rows(engine: Engine, statement: str = "SELECT key, backfill FROM pending ORDER BY key") -> list[Any]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def claimable(engine: Engine, backfill: str | None = None) -> int:
    """How many rows somebody else's drain, or the backfill's, would get."""
    with engine.begin() as connection:
        batch = pending.claim(
            connection, emotions.ASSET, None, limit=99, lease_seconds=60, again=False, backfill=backfill
        )
        connection.rollback()
    return len(batch.rows) if batch else 0


def outcome(engine: Engine) -> list[Any]:
    return rows(engine, "SELECT rows, outcome, lease_until IS NOT NULL FROM backfills")


@pytest.mark.usefixtures("three_posts")
def test_a_plan_counts_by_version_and_spans_only_the_days_in_question(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE emotion_trajectories SET code_version = '0' WHERE day = '2026-01-05'"))
        connection.execute(text("DELETE FROM emotion_trajectories WHERE post_id = (SELECT max(id) FROM posts)"))
    found = backfills.plan(engine, JOB, None)
    assert found.stale == {None: 1, "0": 2}
    assert (found.first, found.last, found.partitions) == (date(2026, 1, 5), date(2026, 1, 9), 5)
    assert found.partitions_with_rows == 2
    assert found.spent == FREE
    assert rows(engine) == [], "it marks nothing"


@pytest.mark.usefixtures("three_posts")
def test_minutes_come_from_what_earlier_drains_took(engine: Engine) -> None:
    assert backfills.plan(engine, NEWER, None).seconds is None
    backfills.record(engine, JOB, "run-1", 10, 2.0)
    backfills.record(engine, JOB, "run-2", 0, 9.0)
    older = backfills.plan(engine, NEWER, None)
    assert older.rate is not None
    assert (older.seconds, older.rate.code_version) == (pytest.approx(0.6), JOB.code_version)
    backfills.record(engine, NEWER, "run-3", 20, 2.0)
    assert backfills.plan(engine, NEWER, None).seconds == pytest.approx(0.3)


@pytest.mark.usefixtures("three_posts")
def test_tokens_and_money_are_unknown_until_they_were_paid(engine: Engine) -> None:
    paying = replace(NEWER, spent=lambda _connection, _run: Spent(100, Decimal("0.50")))
    assert backfills.plan(engine, paying, None).spent is None
    backfills.record(engine, paying, "run-1", 10, 2.0)
    backfills.record(engine, paying, "run-2", 10, 2.0)
    assert backfills.plan(engine, paying, None).spent == Spent(30, Decimal("0.15"))


@pytest.mark.usefixtures("three_posts")
def test_a_backfill_has_its_rows_to_itself_while_it_lives(engine: Engine) -> None:
    assert begin(engine) == 3
    assert claimable(engine) == 0
    assert claimable(engine, "b1") == 3
    with engine.connect() as connection:
        assert pending.waiting(connection) == [], "no sensor asks for a run"
    with engine.begin() as connection:
        connection.execute(text("UPDATE backfills SET lease_until = now() - interval '1 second'"))
    assert claimable(engine) == 3
    assert begin(engine) == 3, "a retry goes on"
    assert claimable(engine) == 0
    backfills.end(engine, "b1", emotions.ASSET)
    assert claimable(engine) == 3
    assert outcome(engine) == [(3, "handed over", False)]


@pytest.mark.usefixtures("three_posts")
def test_a_backfill_that_made_everything_is_done(engine: Engine) -> None:
    begin(engine)
    seen: list[bool] = []

    def compute(texts: Sequence[PostText]) -> Mapping[str, emotions.ScoredPost | Failure]:
        with engine.begin() as connection:  # the lease is all but over; the heartbeat renews it
            connection.execute(text("UPDATE backfills SET lease_until = now() + interval '0.2 seconds'"))
        renewed = "SELECT lease_until > now() + interval '0.5 seconds' FROM backfills"
        seen.append(any(rows(engine, renewed)[0][0] or time.sleep(0.05) for _ in range(100)))
        return emotions.score(texts, load_scorer("fast"))

    done = drain(
        engine, replace(NEWER, compute=compute), None, Origin("run-2", "newer"), lease_seconds=1, backfill="b1"
    )
    backfills.end(engine, "b1", emotions.ASSET)
    assert (done.stored, seen) == (3, [True])
    assert outcome(engine) == [(3, "done", False)]
    assert rows(engine, "SELECT DISTINCT code_version FROM emotion_trajectories") == [("newer",)]


@pytest.mark.usefixtures("three_posts")
def test_cancelling_in_the_middle_leaves_what_is_made_and_forgets_the_rest(engine: Engine) -> None:
    begin(engine)
    cancelled: list[int] = []

    def compute(texts: Sequence[PostText]) -> Mapping[str, emotions.ScoredPost | Failure]:
        if any("afraid" in one.body for one in texts):
            cancelled.append(backfills.cancel(engine, "b1"))
        return emotions.score(texts, load_scorer("fast"))

    one_by_one = replace(NEWER, compute=compute, batch_size=1)
    done = drain(engine, one_by_one, None, Origin("run-2", "newer"), backfill="b1")
    assert cancelled == [2], "the claimed one and the one that waits"
    assert (done.stored, done.lost) == (1, 1)
    assert rows(engine) == []
    assert rows(engine, "SELECT count(*) FROM emotion_trajectories WHERE code_version = 'newer'") == [(1,)]
    assert outcome(engine)[0][1] == "cancelled"
    with pytest.raises(Conflict, match="was cancelled"):
        begin(engine)


@pytest.mark.usefixtures("three_posts")
def test_cancelling_leaves_alone_what_is_wanted_for_its_own_sake(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE posts SET body = body || ' Edited before.' WHERE body LIKE 'Well%'"))
    begin(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE posts SET body = body || ' Edited after.' WHERE body LIKE 'I was%'"))
    assert claimable(engine) == 2
    assert backfills.cancel(engine, "b1") == 1
    assert [backfill for _, backfill in rows(engine)] == [None, None]


@pytest.mark.usefixtures("three_posts")
def test_what_a_dead_backfill_left_is_taken_over_by_the_next(engine: Engine) -> None:
    begin(engine, lease=0)
    assert begin(engine, "b2") == 3
    assert {backfill for _, backfill in rows(engine)} == {"b2"}
    assert backfills.cancel(engine, "b1") == 0


@pytest.mark.usefixtures("three_posts")
def test_the_dead_are_revived_only_by_force(engine: Engine) -> None:
    begin(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE pending SET dead_at = now(), error = 'poison'"))
    backfills.end(engine, "b1", emotions.ASSET)
    assert outcome(engine) == [(3, "done", False)]
    assert backfills.plan(engine, NEWER, None).rows == 0
    begin(engine, "b2", force=True)
    assert claimable(engine, "b2") == 3
    assert backfills.cancel(engine, "b2") == 0, "nobody's death is forgotten by cancelling"


@pytest.mark.usefixtures("three_posts")
def test_an_interrupted_drain_gives_back_what_it_claimed(engine: Engine) -> None:
    begin(engine)

    def compute(texts: Sequence[PostText]) -> Mapping[str, emotions.ScoredPost | Failure]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drain(engine, replace(NEWER, compute=compute), None, Origin("run-2", "newer"), backfill="b1")
    assert rows(engine, "SELECT DISTINCT claim, lease_until, attempts, error FROM pending") == [(None, None, 0, None)]
    assert claimable(engine, "b1") == 3


def test_what_cannot_be_backfilled_says_what_can() -> None:
    with pytest.raises(NotFound, match=r"there are .*emotion_trajectories"):
        backfills.find_job("dashboard_metrics")


def test_what_a_language_model_will_cost_is_not_claimed_to_be_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a key of this test")
    monkeypatch.setenv("OPENAI_MODEL", "a-model")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO posts (persona_id, hook, body) VALUES ('default', 'A hook', '')"))
    asked = emotions.job(scorer_name="llm")
    backfills.record(engine, asked, "run-1", 10, 2.0)
    found = backfills.plan(engine, asked, None)
    assert (found.rows, found.spent) == (1, None)
