"""Harm between every two durable steps of a drain: a crash, an error, another worker that overtakes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text

from tests.chaos.failpoint_zygote import JOBS
from tests.chaos.traffic import push, sha_of
from threads_agent_dagster.domain.emotions import load_scorer
from threads_agent_dagster.work.drain import Origin, drain
from threads_agent_dagster.work.inbox import Delivery
from threads_agent_dagster.work.inbox import accept as accept_delivery
from threads_agent_dagster.work.tasks import accept as accept_task

pytestmark = pytest.mark.timeout(900)
UNREACHED = 3
STEPS = 3  # at least: bury, claim, store
ROWS = 3
ENDS = {"crash": {-9}, "error": {0, 1}, "overtaken": {0}}
POSTS = text(
    "INSERT INTO posts (persona_id, hook, body, ts) SELECT 'default', 'Release ' || n, "
    "'I was afraid.\n\nNow we are happy!', '2026-01-05' FROM generate_series(1, 3) AS n"
)
EDIT = text("UPDATE posts SET hook = hook || '!'")
TIME_PASSES = text("UPDATE pending SET lease_until = '2020-01-01', not_before = NULL")
ARCS = text(
    "SELECT posts.hook, posts.body, arcs.content_hash, segment_count, "
    "(SELECT count(*) FROM emotion_segments WHERE trajectory_id = arcs.id) AS segments "
    "FROM posts LEFT JOIN emotion_trajectories AS arcs ON arcs.post_id = posts.id"
)
MADE = text(
    "SELECT tasks.status, count(posts.id) AS posts FROM tasks LEFT JOIN posts ON posts.task_id = tasks.id "
    "GROUP BY tasks.id"
)
COUNTED = text(
    "SELECT inbox.status, count(achievements.id) AS achievements FROM inbox "
    "LEFT JOIN achievements ON inbox.id IN (achievements.inbox_id, achievements.push_id) GROUP BY inbox.id"
)
LEFT = text("SELECT count(*) FROM pending WHERE asset = :asset")


def _edit_posts(connection: Connection, number: int) -> None:
    connection.execute(POSTS if number == 1 else EDIT)


def _ask_for_posts(connection: Connection, number: int) -> None:
    for one in range(ROWS):
        accept_task(connection, "content.generation", {"topic": f"{number} {one}", "persona_id": "default"}, 1)


def _deliver(connection: Connection, number: int) -> None:
    for one in range(ROWS):
        id_ = f"{number} {one}"
        body = push(sha_of(id_), one)
        accept_delivery(connection, Delivery(id_, "push", body, json.loads(body), {}, datetime(2026, 1, 5, tzinfo=UTC)))


def _arcs_are_those_of_the_posts(connection: Connection, number: int) -> None:
    rows = connection.execute(ARCS).all()
    assert len(rows) == ROWS
    for row in rows:
        assert row.content_hash == hashlib.sha256(f"{row.hook}\n\n{row.body}".encode()).hexdigest()
        assert row.segments == row.segment_count


def _each_task_has_one_post(connection: Connection, number: int) -> None:
    assert [tuple(row) for row in connection.execute(MADE)] == [("completed", 1)] * ROWS * number


def _each_delivery_is_one_achievement(connection: Connection, number: int) -> None:
    assert [tuple(row) for row in connection.execute(COUNTED)] == [("processed", 1)] * ROWS * number


@dataclass(frozen=True)
class Story:
    """What causes work, and what must be true once it is done."""

    cause: Callable[[Connection, int], None]
    outcome: Callable[[Connection, int], None]


STORIES = {
    "posts": Story(_ask_for_posts, _each_task_has_one_post),
    "achievements": Story(_deliver, _each_delivery_is_one_achievement),
    "emotion_trajectories": Story(_edit_posts, _arcs_are_those_of_the_posts),
}


@pytest.mark.parametrize("action", ENDS)
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("asset", STORIES)
def test_harm_at_any_commit_leaves_nothing_lost_and_nothing_twice(
    engine: Engine, database_url: str, asset: str, action: str, place: str
) -> None:
    """Every commit is harmed once: the first that is not reached ends the story."""
    load_scorer("vader")
    zygote = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("failpoint_zygote.py")), database_url, asset],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert zygote.stdin is not None
    assert zygote.stdout is not None
    number, reached = 0, True
    try:
        while reached:
            number += 1
            with engine.begin() as connection:
                STORIES[asset].cause(connection, number)
            print(action, place, number, file=zygote.stdin, flush=True)
            code = int(zygote.stdout.readline())
            reached = code != UNREACHED
            assert code in ENDS[action] or not reached
            _recover(engine, asset)
            with engine.connect() as connection:
                STORIES[asset].outcome(connection, number)
    finally:
        zygote.stdin.close()
        zygote.wait(60)
        zygote.stdout.close()
    assert number > STEPS


def _recover(engine: Engine, asset: str) -> None:
    """Whatever happened, time passes and one healthy worker does what is left."""
    with engine.begin() as connection:
        connection.execute(TIME_PASSES)
    drain(engine, JOBS[asset], None, Origin(None, "1"))
    with engine.connect() as connection:
        assert connection.execute(LEFT, {"asset": asset}).scalar_one() == 0
