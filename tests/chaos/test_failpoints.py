"""Harm between every two durable steps of a drain: a crash, an error, another worker that overtakes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from threads_agent_dagster.domain.emotions import load_scorer
from threads_agent_dagster.work import emotions
from threads_agent_dagster.work.drain import Origin, drain

UNREACHED = 3
STEPS = 3  # at least: bury, claim, store
ENDS = {"crash": {-9}, "error": {0, 1}, "overtaken": {0}}
POSTS = text(
    "INSERT INTO posts (persona_id, hook, body, ts) "
    "SELECT 'default', 'Release ' || n, 'I was afraid.\n\nNow we are happy!', '2026-01-05' "
    "FROM generate_series(1, 3) AS n"
)
EDIT = text("UPDATE posts SET hook = hook || '!'")
TIME_PASSES = text("UPDATE pending SET lease_until = '2020-01-01', not_before = NULL")
ARCS = text(
    "SELECT posts.hook, posts.body, arcs.content_hash, segment_count, "
    "(SELECT count(*) FROM emotion_segments WHERE trajectory_id = arcs.id) AS segments "
    "FROM posts LEFT JOIN emotion_trajectories AS arcs ON arcs.post_id = posts.id"
)
LEFT = text("SELECT count(*) FROM pending WHERE asset = 'emotion_trajectories'")


@pytest.mark.parametrize("action", ENDS)
@pytest.mark.parametrize("place", ["before", "after"])
def test_harm_at_any_commit_leaves_nothing_lost_and_nothing_twice(
    engine: Engine, database_url: str, action: str, place: str
) -> None:
    load_scorer("vader")
    zygote = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("failpoint_zygote.py")), database_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert zygote.stdin is not None
    assert zygote.stdout is not None
    with engine.begin() as connection:
        connection.execute(POSTS)
    number, reached = 0, True
    try:
        while reached:
            number += 1
            with engine.begin() as connection:
                connection.execute(EDIT)
            print(action, place, number, file=zygote.stdin, flush=True)
            code = int(zygote.stdout.readline())
            reached = code != UNREACHED
            assert code in ENDS[action] or not reached
            _recover_and_compare(engine)
    finally:
        zygote.stdin.close()
        zygote.wait(60)
        zygote.stdout.close()
    assert number > STEPS


def _recover_and_compare(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(TIME_PASSES)
    drain(engine, emotions.job(scorer_name="vader"), None, Origin(None, "1"))
    with engine.connect() as connection:
        rows = connection.execute(ARCS).all()
        assert connection.execute(LEFT).scalar_one() == 0
    assert len(rows) == 3
    for row in rows:
        assert row.content_hash == hashlib.sha256(f"{row.hook}\n\n{row.body}".encode()).hexdigest()
        assert row.segments == row.segment_count
