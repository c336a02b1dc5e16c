"""Stored = computed, one current arc per post, whatever is edited meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from tests.llm_server import KEY, LLMServer, rate
from threads_agent_dagster.db.emotions import PostText
from threads_agent_dagster.db.pending import Days
from threads_agent_dagster.domain.backfills import Spent
from threads_agent_dagster.domain.emotions import EMOTIONS, load_scorer, trajectories
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work import emotions
from threads_agent_dagster.work.backfills import begin, plan
from threads_agent_dagster.work.drain import Drained, Failure, Origin, drain

BODY = "I was afraid it would fail.\n\nNobody believed in it.\n\nThen it worked, and we are so happy!"
JOB = emotions.job(scorer_name="fast")
ORIGIN = Origin("run-1", JOB.code_version)
DIES_BEFORE_IT_STORES = """
import os, signal, sys
from dataclasses import replace
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work import emotions
from threads_agent_dagster.work.drain import Origin, drain
engine, settings = make_engine(sys.argv[1]), Settings.model_validate_json(sys.argv[2])
job = emotions.job("llm", settings, engine, "run-1")
drain(engine, replace(job, store=lambda *_: os.kill(os.getpid(), signal.SIGKILL)), None, Origin("run-1", "1"))
"""


@pytest.fixture
def post_id(engine: Engine) -> int:
    with engine.begin() as connection:
        return int(
            connection.execute(
                text(
                    "INSERT INTO posts (persona_id, hook, body, ts) "
                    "VALUES ('default', 'The release', :body, '2026-01-05') RETURNING id"
                ),
                {"body": BODY},
            ).scalar_one()
        )


def _drain(engine: Engine) -> Drained:
    return drain(engine, JOB, None, ORIGIN)


def _one(connection: Connection, statement: str) -> Any:
    return connection.execute(text(statement)).one()


def test_stored_equals_computed(engine: Engine, post_id: int) -> None:
    """The predecessor's failure obs-17: it stored other figures than it answered, and no segments."""
    assert _drain(engine).stored == 1
    (arc,) = trajectories([emotions.full_text("The release", BODY)], load_scorer("fast"))
    with engine.connect() as connection:
        row = _one(connection, "SELECT * FROM emotion_trajectories")
        segments = connection.execute(text("SELECT * FROM emotion_segments ORDER BY index")).all()
        transitions = connection.execute(text("SELECT * FROM emotion_transitions ORDER BY from_index")).all()
    assert arc.emotions is not None
    assert {name: getattr(row, f"{name}_avg") for name in EMOTIONS} == pytest.approx(arc.emotions)
    assert (row.trajectory_type, row.segment_count) == (arc.trajectory_type, len(arc.segments))
    assert (row.emotional_variance, row.peaks, row.valleys) == (arc.variance, list(arc.peaks), list(arc.valleys))
    assert [segment.text for segment in segments] == [segment.text for segment in arc.segments]
    assert [(one.from_index, one.to_index, one.type) for one in transitions] == [
        (one.from_index, one.to_index, one.type) for one in arc.transitions
    ]
    assert (row.post_id, row.run_id, row.code_version) == (post_id, "run-1", JOB.code_version)
    assert row.scorer_version == load_scorer("fast").version
    assert row.processing_time_ms >= 0


def test_an_edit_replaces_the_arc_in_place(engine: Engine, post_id: int) -> None:
    _drain(engine)
    with engine.begin() as connection:
        before = _one(connection, "SELECT * FROM emotion_trajectories")
        connection.execute(text("UPDATE posts SET body = 'Short.'"))
    assert _drain(engine).stored == 1
    with engine.connect() as connection:
        after = _one(connection, "SELECT * FROM emotion_trajectories")
        assert _one(connection, "SELECT count(*) AS n FROM emotion_segments").n == after.segment_count
    assert after.id == before.id
    assert after.content_hash != before.content_hash
    assert (after.trajectory_type, after.reason is not None) == ("insufficient", True)


def test_an_edit_of_other_columns_costs_nothing(engine: Engine, post_id: int) -> None:
    _drain(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE posts SET engagement_rate = 0.5"))
    assert _drain(engine).stored == 0


def test_an_arc_of_a_text_that_changed_meanwhile_is_not_stored(engine: Engine, post_id: int) -> None:
    """Even when somebody else's queue row asked: the text is compared under a lock."""
    edits = iter(["Edited while it was read."])

    def compute(posts: Sequence[PostText]) -> Mapping[str, emotions.ScoredPost | Failure]:
        scored = emotions.score(posts, load_scorer("fast"))
        if (edit := next(edits, None)) is not None:
            with engine.begin() as connection:
                connection.execute(text("UPDATE posts SET body = :body"), {"body": edit})
                connection.execute(text("DELETE FROM pending WHERE claim IS NULL"))
        return scored

    drain(engine, replace(JOB, compute=compute), None, ORIGIN)
    with engine.connect() as connection:
        row = _one(connection, "SELECT * FROM emotion_trajectories")
        assert _one(connection, "SELECT count(*) AS n FROM pending").n == 0
    assert row.content_hash == emotions.content_hash("The release", "Edited while it was read.")


def test_equal_texts_may_stand_side_by_side(engine: Engine, post_id: int) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO posts (persona_id, hook, body) SELECT persona_id, hook, body FROM posts"))
    assert _drain(engine).stored == 2
    with engine.connect() as connection:
        assert _one(connection, "SELECT count(DISTINCT content_hash) AS n FROM emotion_trajectories").n == 1


def test_stale_is_what_is_of_another_version_and_only_its_days(engine: Engine, post_id: int) -> None:
    _drain(engine)
    inside, outside = Days(date(2026, 1, 5), date(2026, 1, 5)), Days(date(2026, 1, 6), date(2026, 2, 6))
    newer = replace(JOB, code_version="newer")
    assert plan(engine, JOB, inside).rows == 0
    assert plan(engine, newer, outside).rows == 0
    assert plan(engine, newer, inside).stale == {JOB.code_version: 1}
    assert plan(engine, JOB, inside, force=True).rows == 1


def test_another_scorer_makes_history_stale_and_one_backfill_replaces_it(engine: Engine, post_id: int) -> None:
    _drain(engine)
    vader, days = emotions.job(scorer_name="vader"), Days(date(2026, 1, 1), date(2026, 1, 31))
    assert begin(engine, vader, days, "b1", force=False, lease=0) == 1
    assert drain(engine, vader, days, Origin("run-2", vader.code_version)).stored == 1
    with engine.begin() as connection:
        row = _one(connection, "SELECT * FROM emotion_trajectories")
    assert plan(engine, vader, days).rows == 0
    assert (row.scorer_version, row.run_id) == (load_scorer("vader").version, "run-2")
    assert (row.joy_avg, row.sentiment_compound is None) == (None, False), "what VADER does not measure is missing"


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer(rate) as server:
        yield server


def _asking(server: LLMServer, **given: Any) -> dict[str, Any]:
    return {"openai_api_key": KEY, "openai_base_url": server.url, "openai_model": "m"} | given


def _settings(server: LLMServer, **given: Any) -> Settings:
    return Settings(_env_file=None, **_asking(server, **given))


def _drain_paid(engine: Engine, server: LLMServer, run_id: str, **given: Any) -> Drained:
    job = emotions.job("llm", _settings(server, **given), engine, run_id)
    return drain(engine, job, None, Origin(run_id, job.code_version))


def test_a_crash_between_the_answers_and_the_store_pays_nothing_twice(
    engine: Engine, database_url: str, post_id: int, server: LLMServer
) -> None:
    """The batch of two comes again post by post, and no question is new."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO posts (persona_id, hook, body) VALUES ('default', 'A happy one', '')"))
    command = [sys.executable, "-c", DIES_BEFORE_IT_STORES, database_url, json.dumps(_asking(server))]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    assert len(server.calls) == 2
    stored, deadline = 0, time.monotonic() + 60
    while stored < 2:  # PostgreSQL notices within moments that the session ended
        stored += _drain_paid(engine, server, "run-2").stored
        assert time.monotonic() < deadline
    assert len(server.calls) == 2
    with engine.connect() as connection:
        calls = _one(connection, "SELECT array_agg(status) AS statuses, array_agg(run_id) AS runs FROM llm_calls")
        arcs = _one(connection, "SELECT array_agg(scorer_version) AS scorers FROM emotion_trajectories")
    assert (calls.statuses, calls.runs, arcs.scorers) == (["answered"] * 2, ["run-1"] * 2, ["m@1"] * 2)


def test_without_room_in_the_budget_arcs_wait_and_nobody_is_asked(
    engine: Engine, post_id: int, server: LLMServer
) -> None:
    done = _drain_paid(engine, server, "run-1", llm_tokens_per_day=10)
    assert (done.postponed, done.failed, server.calls) == (1, 0, [])
    assert "THREADS_AGENT_LLM_TOKENS_PER_DAY" in done.errors[0]


def test_one_bad_answer_costs_its_post_and_no_other(engine: Engine, post_id: int, server: LLMServer) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO posts (persona_id, hook, body) VALUES ('default', 'Strange', '')"))
    server.answer = lambda body: "joy, mostly" if "Strange" in body["messages"][1]["content"] else rate(body)
    done = _drain_paid(engine, server, "run-1")
    with engine.connect() as connection:
        assert _one(connection, "SELECT array_agg(post_id) AS ids FROM emotion_trajectories").ids == [post_id]
        assert "not usable" in _one(connection, "SELECT error FROM pending WHERE dead_at IS NOT NULL").error
    assert (done.stored, done.dead, len(server.calls)) == (1, 1, 2)


def test_what_a_run_paid_is_what_the_ledger_says(engine: Engine, post_id: int, server: LLMServer) -> None:
    prices = {"llm_usd_per_million_input": 2, "llm_usd_per_million_output": 8}
    _drain_paid(engine, server, "run-1", **prices)
    with engine.begin() as connection:
        paid = _one(connection, "SELECT prompt_tokens AS sent, completion_tokens AS received FROM llm_calls")
        connection.execute(text("UPDATE posts SET body = 'Short.'"))
    _drain_paid(engine, server, "run-2")
    spent = emotions.job("llm", _settings(server)).spent
    assert spent is not None
    with engine.connect() as connection:
        cost = Decimal(2 * paid.sent + 8 * paid.received) / 1_000_000
        assert spent(connection, "run-1") == Spent(paid.sent + paid.received, cost)
        assert spent(connection, "run-2") is None, "without prices nobody knows"
        assert spent(connection, "run-3") is None


def test_a_job_without_its_engine_asks_nobody(engine: Engine, post_id: int, server: LLMServer) -> None:
    job = emotions.job("llm", _settings(server))
    assert drain(engine, job, None, ORIGIN).failed
    assert server.calls == []
