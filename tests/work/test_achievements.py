"""One achievement per change, whatever told of it; people's edits and scores survive each other."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from threads_agent_dagster.db import pending
from threads_agent_dagster.db.pending import Days
from threads_agent_dagster.domain.changes import Change, change_to_document
from threads_agent_dagster.work import achievements
from threads_agent_dagster.work.backfills import shadow
from threads_agent_dagster.work.drain import Drained, Origin, drain

ORIGIN = Origin("run-1", achievements.CODE_VERSION)
DAY = date(2025, 5, 5)
SHA = "a" * 40
COMMIT = Change(
    source_type="git",
    source_key=f"git:acme/app:{SHA}",
    source_id=SHA,
    repository="acme/app",
    title="feat: speak French",
    body="",
    completed_at=datetime(2025, 5, 5, 10, tzinfo=UTC),
    author_email="ada@example.org",
    merge_sha=SHA,
    additions=120,
    deletions=4,
)


def _add_commit(engine: Engine, change: Change = COMMIT) -> None:
    with engine.begin() as connection:
        import_id = connection.execute(
            text("INSERT INTO imports (kind, source) VALUES ('git', 'acme/app') RETURNING id")
        ).scalar_one()
        id_ = connection.execute(
            text(
                "INSERT INTO git_commits (import_id, repository, sha, day, change) "
                "VALUES (:import_id, 'acme/app', :sha, :day, cast(:change AS jsonb)) RETURNING id"
            ),
            {
                "import_id": import_id,
                "sha": change.merge_sha,
                "day": DAY,
                "change": json.dumps(change_to_document(change)),
            },
        ).scalar_one()
        pending.mark(connection, "achievements", [(f"commit:{id_}", DAY)])


def _pull_request(**changes: Any) -> dict[str, Any]:
    pull = {
        "number": 7,
        "title": "Speak French",
        "body": None,
        "merged": True,
        "merged_at": "2025-05-05T10:00:00Z",
        "created_at": "2025-05-04T10:00:00Z",
        "merge_commit_sha": SHA,
        "user": {"login": "ada", "type": "User"},
        "html_url": "https://github.com/acme/app/pull/7",
        "labels": [],
        "additions": 120,
        "deletions": 4,
        "changed_files": 3,
        "base": {"ref": "main", "repo": {"full_name": "acme/app", "default_branch": "main"}},
    }
    return {
        "action": "closed",
        "number": 7,
        "pull_request": pull | changes,
        "repository": {"full_name": "acme/app", "default_branch": "main"},
        "sender": {"login": "ada", "type": "User"},
    }


def _deliver(engine: Engine, payload: dict[str, Any] | bytes, delivery_id: str = "d1") -> None:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    with engine.begin() as connection:
        id_ = connection.execute(
            text(
                "INSERT INTO inbox (source, delivery_id, event, body, body_hash, day) "
                "VALUES ('github', :id, 'pull_request', :body, :id, :day) RETURNING id"
            ),
            {"id": delivery_id, "body": body, "day": DAY},
        ).scalar_one()
        pending.mark(connection, "achievements", [(f"inbox:{id_}", DAY)])


def _drain(engine: Engine, **changes: Any) -> Drained:
    job = replace(achievements.job(), **changes)
    return drain(engine, job, None, Origin("run-1", job.code_version))


def _all(engine: Engine, table: str = "achievements") -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(f"SELECT * FROM {table} ORDER BY id")))


def test_a_merged_pull_request_is_scored_and_explained(engine: Engine) -> None:
    """The predecessor's failure obs-01: a null body was an internal error."""
    _deliver(engine, _pull_request())
    assert _drain(engine).stored == 1
    (row,) = _all(engine)
    assert (row.source_key, row.source_type, row.description) == ("gh:acme/app:pr:7", "github_pr", "")
    assert row.duration_hours == 24
    assert sum(rule["points"] for rule in row.impact_rules) == pytest.approx(row.impact_score, abs=0.01)
    assert (row.run_id, row.scorer_version) == ("run-1", achievements.SCORER_VERSION)
    assert row.business_value is None, "nothing was claimed"
    assert [one.status for one in _all(engine, "inbox")] == ["processed"]


@pytest.mark.parametrize("pull_request_first", [True, False])
def test_a_change_told_of_twice_is_one_achievement(engine: Engine, pull_request_first: bool) -> None:
    tellings = [lambda: _deliver(engine, _pull_request()), lambda: _add_commit(engine)]
    for tell in tellings if pull_request_first else reversed(tellings):
        tell()
        _drain(engine)
    (row,) = _all(engine)
    assert row.source_key == "gh:acme/app:pr:7", "the pull request tells more"
    assert row.merge_sha == SHA
    assert row.commit_id is not None
    assert row.inbox_id is not None
    assert row.author_email == "ada@example.org", "only the commit tells it"
    assert row.author_login == "ada", "only the pull request tells it"
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pending WHERE asset = 'achievements'")).scalar_one() == 0


def test_both_tellings_in_one_batch_are_one_achievement(engine: Engine) -> None:
    _add_commit(engine)
    _deliver(engine, _pull_request())
    _drain(engine)
    assert [(row.source_key, row.author_email) for row in _all(engine)] == [("gh:acme/app:pr:7", "ada@example.org")]


def test_the_same_number_in_another_repository_is_another_achievement(engine: Engine) -> None:
    """The predecessor's failure obs-05."""
    _deliver(engine, _pull_request())
    other = json.loads(json.dumps(_pull_request(merge_commit_sha="b" * 40)).replace("acme/app", "acme/other"))
    _deliver(engine, other, "d2")
    _drain(engine)
    assert [row.source_key for row in _all(engine)] == ["gh:acme/app:pr:7", "gh:acme/other:pr:7"]


def test_what_is_ignored_says_why(engine: Engine) -> None:
    _deliver(engine, _pull_request(merged=False, merged_at=None))
    _drain(engine)
    (row,) = _all(engine, "inbox")
    assert row.status == "ignored"
    assert row.reason
    assert _all(engine) == []


def test_a_delivery_that_cannot_be_read_is_failed_and_stalls_nobody(engine: Engine) -> None:
    _deliver(engine, b'{"action": "closed", "pull_request": 5}', "bad")
    _deliver(engine, _pull_request(), "good")
    done = _drain(engine)
    assert (done.stored, done.dead) == (1, 1)
    assert [one.status for one in _all(engine, "inbox")] == ["failed", "processed"]


def test_scoring_again_keeps_what_people_edited(engine: Engine) -> None:
    _add_commit(engine)
    _drain(engine)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE achievements SET title = 'In my words', category = 'milestone', portfolio_ready = true, "
                "edited_fields = '{title,category}', impact_score = 0, code_version = 'old'"
            )
        )
        assert achievements.job().stale(connection, Days(DAY, DAY), False) == 1
    _drain(engine)
    (row,) = _all(engine)
    assert (row.title, row.category, row.portfolio_ready) == ("In my words", "milestone", True)
    assert row.impact_score > 0
    assert row.code_version == achievements.CODE_VERSION
    assert row.metadata_json["derived"]["title"] == COMMIT.title or "French" in row.metadata_json["derived"]["title"]


def test_what_a_person_wrote_down_is_scored_by_the_same_rules(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO achievements (title, category, source_type, completed_at, description) "
                "VALUES ('Taught the team', 'business', 'manual', '2025-05-05', "
                "'This saves 200 developer hours annually')"
            )
        )
        assert achievements.job().stale(connection, Days(DAY, DAY), False) == 1
    _drain(engine)
    (row,) = _all(engine)
    assert row.source_key.startswith("manual:")
    assert row.impact_rules
    assert row.time_saved_hours == 200


def test_a_backfill_finds_deliveries_and_commits_that_were_never_scored(engine: Engine) -> None:
    _add_commit(engine)
    _deliver(engine, _pull_request(merge_commit_sha="c" * 40))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM pending"))
        assert achievements.job().stale(connection, Days(DAY, DAY), False) == 2
    _drain(engine)
    assert len(_all(engine)) == 2


def test_shadow_sets_each_figure_beside_the_one_that_would_be(engine: Engine) -> None:
    _add_commit(engine)
    _drain(engine)
    whole = Days(DAY, DAY)
    (same,) = shadow(engine, achievements.job(), whole, force=True).rows
    assert same.old is not None
    assert {name: same.old[name] for name in same.new} == same.new
    _deliver(engine, _pull_request(title="fix: speak French"))
    with engine.begin() as connection:
        connection.execute(text('UPDATE achievements SET metadata_json = \'{"derived": {"category": "content"}}\''))
    (stale,) = shadow(engine, achievements.job("newer"), whole).pairs
    assert stale.old is not None
    assert (stale.old["category"], stale.new["category"]) == ("content", "bugfix")


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one after the other"])
def test_an_older_delivery_that_comes_later_changes_nothing(engine: Engine, together: bool) -> None:
    """GitHub does not promise the order of its deliveries."""
    newer, older = (
        _pull_request(title=title, merged_at=at)
        for title, at in (("Second", "2025-05-06T10:00:00Z"), ("First", "2025-05-05T10:00:00Z"))
    )
    _deliver(engine, newer, "newer")
    if not together:
        _drain(engine)
    _deliver(engine, older, "older")
    _drain(engine)
    (row,) = _all(engine)
    assert (row.title, row.completed_at) == ("Second", datetime(2025, 5, 6, 10, tzinfo=UTC))
    assert {one.status for one in _all(engine, "inbox")} == {"processed"}
