"""One achievement per change, whatever told of it; people's edits and scores survive each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text, update

from threads_agent_dagster.db import pending
from threads_agent_dagster.db.achievements import EDITABLE
from threads_agent_dagster.db.pending import Days
from threads_agent_dagster.db.tables import achievements as table
from threads_agent_dagster.domain.changes import Change, FileChange, change_to_document
from threads_agent_dagster.work import achievements
from threads_agent_dagster.work.backfills import begin, shadow
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


def _mark_stale(engine: Engine) -> int:
    return begin(engine, achievements.job(), Days(DAY, DAY), uuid4().hex, force=False, lease=0)


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


def _deliver(
    engine: Engine, payload: dict[str, Any] | bytes, delivery_id: str = "d1", event: str = "pull_request"
) -> None:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    with engine.begin() as connection:
        id_ = connection.execute(
            text(
                "INSERT INTO inbox (source, delivery_id, event, body, body_hash, day) "
                "VALUES ('github', :id, :event, :body, :id, :day) RETURNING id"
            ),
            {"id": delivery_id, "event": event, "body": body, "day": DAY},
        ).scalar_one()
        pending.mark(connection, "achievements", [(f"inbox:{id_}", DAY)])


def _add_pull_request(engine: Engine, change: Change) -> None:
    """As `import github` stores what it read."""
    with engine.begin() as connection:
        import_id = connection.execute(
            text("INSERT INTO imports (kind, source) VALUES ('github', 'acme/app') RETURNING id")
        ).scalar_one()
        id_ = connection.execute(
            text(
                "INSERT INTO pull_requests "
                "(import_id, repository, number, merge_sha, day, merged_at, updated_at, change) "
                "VALUES (:import_id, 'acme/app', 7, :sha, :day, :at, :at, cast(:change AS jsonb)) RETURNING id"
            ),
            {
                "import_id": import_id,
                "sha": change.merge_sha,
                "day": DAY,
                "at": change.completed_at,
                "change": json.dumps(change_to_document(change)),
            },
        ).scalar_one()
        pending.mark(connection, "achievements", [(f"pull:{id_}", DAY)])


def _push(*shas: str) -> dict[str, Any]:
    person = {"name": "Ada", "email": "ada@example.org", "username": "ada"}
    return {
        "ref": "refs/heads/main",
        "deleted": False,
        "commits": [
            {
                "id": sha,
                "message": f"feat: speak French {sha[0]}",
                "timestamp": "2025-05-05T10:00:00Z",
                "author": person,
                "committer": person,
                "added": ["french.py"],
                "modified": [],
                "removed": [],
            }
            for sha in shas
        ],
        "repository": {"full_name": "acme/app", "default_branch": "main", "fork": False},
        "sender": {"login": "ada", "type": "User"},
    }


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


PULL = replace(
    COMMIT,
    source_type="github_pr",
    source_key="gh:acme/app:pr:7",
    source_id="7",
    title="Speak French",
    author_login="ada",
    reviewers=2,
    files=(FileChange("french.py", 100, 4), FileChange("tests/test_french.py", 20, 0)),
)
TELLINGS: dict[str, Callable[[Engine], None]] = {
    "delivery": lambda engine: _deliver(engine, _pull_request(), "d1"),
    "push": lambda engine: _deliver(engine, _push(SHA), "d2", "push"),
    "commit": lambda engine: _add_commit(engine, replace(COMMIT, files=PULL.files)),
    "pull": lambda engine: _add_pull_request(engine, PULL),
}
SCORED = (
    "source_key", "source_type", "title", "merge_sha", "author_name", "author_email", "author_login", "impact_score",
    "complexity_score", "impact_rules", "skills",
)  # fmt: skip


def _outcome(engine: Engine) -> dict[str, Any]:
    """The one achievement; nothing waits any more."""
    (row,) = _all(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pending WHERE asset = 'achievements'")).scalar_one() == 0
    return {name: getattr(row, name) for name in SCORED} | {"edited": row.edited_fields}


def _forget(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE achievements, inbox, git_commits, pull_requests, imports, pending CASCADE"))


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "in one batch"])
def test_a_change_is_one_achievement_in_whatever_order_it_is_told(engine: Engine, at_once: bool) -> None:
    """By a delivery, a push, the API and git, in all 24 orders; the scores stand on all that they tell."""
    outcomes = {}
    for order in permutations(TELLINGS):
        for name in order:
            TELLINGS[name](engine)
            if not at_once:
                _drain(engine)
        _drain(engine)
        outcomes[order] = _outcome(engine)
        _forget(engine)
    first = next(iter(outcomes.values()))
    for order, outcome in outcomes.items():
        assert outcome == first, order
    assert (first["source_key"], first["title"], first["author_login"]) == ("gh:acme/app:pr:7", "Speak French", "ada")
    rules = {rule["name"]: rule for rule in first["impact_rules"]}
    assert rules["reviewed by others: people"]["input"] == 2, "only the API tells it"
    assert rules["tests come along: lines added"]["input"] == 20, "only files tell it"


@pytest.mark.parametrize("missing", list(TELLINGS))
def test_what_one_source_does_not_tell_the_others_do(engine: Engine, missing: str) -> None:
    """Each order of three of the four gives one achievement and one score."""
    outcomes = {}
    for order in permutations(name for name in TELLINGS if name != missing):
        for name in order:
            TELLINGS[name](engine)
            _drain(engine)
        outcomes[order] = _outcome(engine)
        _forget(engine)
    first = next(iter(outcomes.values()))
    for order, outcome in outcomes.items():
        assert outcome == first, order


def test_a_delivery_without_the_merge_joins_once_the_api_tells_it(engine: Engine) -> None:
    """Two achievements until then, as nothing says that they are one."""
    _deliver(engine, _pull_request(merge_commit_sha=None))
    _add_commit(engine)
    _drain(engine)
    assert len(_all(engine)) == 2
    _add_pull_request(engine, PULL)
    _drain(engine)
    (row,) = _all(engine)
    assert (row.source_key, row.merge_sha) == ("gh:acme/app:pr:7", SHA)
    assert None not in (row.inbox_id, row.commit_id, row.pull_request_id)


def _edit(engine: Engine, source: str, minute: int, values: dict[str, Any]) -> None:
    """A person's edit, as the API stores it."""
    edited = [name for name in EDITABLE if name in values]
    when = {"edited_by": f"editor {minute}", "edited_at": datetime(2026, 1, 2, 3, minute, tzinfo=UTC)}
    statement = update(table).where(table.c.source_type == source)
    with engine.begin() as connection:
        connection.execute(statement.values(values | when | {"edited_fields": edited}))


@pytest.mark.parametrize("later", ["git", "github_pr"])
def test_when_two_become_one_the_later_edit_of_each_field_holds_and_the_other_stays_in_sight(
    engine: Engine, later: str
) -> None:
    _deliver(engine, _pull_request(merge_commit_sha=None))
    _add_commit(engine)
    _drain(engine)
    minutes = {source: 2 if source == later else 1 for source in ("git", "github_pr")}
    theirs = {"description": "Theirs", "display_priority": 7, "completed_at": None, "linkedin_post_id": "urn:li:1"}
    mine = {"title": "From git", "category": "milestone", "portfolio_section": "Git", "source_url": None}
    _edit(engine, "git", minutes["git"], mine)
    both = {"title": "From GitHub", "portfolio_section": "Hub", "source_url": "https://example.org/"}
    _edit(engine, "github_pr", minutes["github_pr"], both | theirs)
    _add_pull_request(engine, PULL)
    _drain(engine)
    _drain(engine)
    (row,) = _all(engine)
    winner, loser = ("From git", "From GitHub") if later == "git" else ("From GitHub", "From git")
    assert row.title == winner
    assert row.portfolio_section == {"From git": "Git", "From GitHub": "Hub"}[winner]
    assert {name: getattr(row, name) for name in theirs} == theirs
    assert (row.category, row.edited_by) == ("milestone", "editor 2")
    assert row.edited_fields == ["category", "completed_at", "description", "source_url", "title"]
    aside = {one["field"]: one for one in row.metadata_json["set_aside"]}
    assert aside.keys() == {"title", "portfolio_section", "source_url"}
    assert {row.source_url, aside["source_url"]["value"]} == {None, "https://example.org/"}
    assert (aside["title"]["value"], aside["title"]["edited_by"]) == (loser, "editor 1")
    assert row.metadata_json["derived"]["title"] == "Speak French", "scored since, and still kept"


def test_when_two_become_one_it_is_deleted_only_if_both_were(engine: Engine) -> None:
    """People delete one of two that they see of the same change."""
    _deliver(engine, _pull_request(merge_commit_sha=None))
    _add_commit(engine)
    _drain(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE achievements SET deleted_at = now() WHERE source_type = 'github_pr'"))
    _add_pull_request(engine, PULL)
    _drain(engine)
    (row,) = _all(engine)
    assert row.deleted_at is None


def test_scoring_one_commit_of_a_push_again_leaves_the_others(engine: Engine) -> None:
    other = "b" * 40
    _add_commit(engine)
    _deliver(engine, _push(SHA, other), "d1", "push")
    _drain(engine)
    rows = {row.merge_sha: row for row in _all(engine)}
    assert rows[SHA].commit_id is not None
    assert rows[SHA].metadata_json["additions"] == COMMIT.additions, "only git counts lines"
    assert (rows[other].commit_id, rows[other].metadata_json["additions"]) == (None, None)


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
    assert _mark_stale(engine) == 1
    _drain(engine)
    (row,) = _all(engine)
    assert (row.title, row.category, row.portfolio_ready) == ("In my words", "milestone", True)
    assert row.impact_score > 0
    assert row.code_version == achievements.CODE_VERSION
    assert row.metadata_json["derived"]["title"] == COMMIT.title or "French" in row.metadata_json["derived"]["title"]


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        ("title", {"title": "In my words"}),
        ("category", {"category": "milestone"}),
        ("description", {"description": "Why it matters"}),
        ("source_url", {"source_url": "https://example.org/mine"}),
        (
            "completed_at",
            {"completed_at": datetime(2024, 1, 2, tzinfo=UTC), "started_at": datetime(2024, 1, 1, tzinfo=UTC)},
        ),
    ],
)
def test_a_later_delivery_refreshes_all_but_what_a_person_set(
    engine: Engine, edited: str, expected: dict[str, Any]
) -> None:
    _deliver(engine, _pull_request(merged_at="2025-05-05T10:00:00Z"), "first")
    _drain(engine)
    columns = ", ".join(f"{name} = :{name}" for name in expected)
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE achievements SET {columns}, edited_fields = :fields, edited_at = now()"),
            {**expected, "fields": [edited]},
        )
    _deliver(engine, _pull_request(title="perf: told anew", body="", merged_at="2025-05-06T10:00:00Z"), "later")
    _drain(engine)
    (row,) = _all(engine)
    fresh = {"title": "perf: told anew", "category": "performance", "description": ""}
    for name, value in (fresh | expected).items():
        assert getattr(row, name) == value, name
    assert row.metadata_json["derived"] == {"title": "perf: told anew", "category": "performance"}


def test_what_a_person_wrote_down_is_scored_by_the_same_rules(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO achievements (title, category, source_type, completed_at, description) "
                "VALUES ('Taught the team', 'business', 'manual', '2025-05-05', "
                "'This saves 200 developer hours annually')"
            )
        )
    assert _mark_stale(engine) == 1
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
    assert _mark_stale(engine) == 2
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
    (pair,) = shadow(engine, achievements.job("newer"), whole).pairs
    assert pair.old is not None
    assert (pair.old["category"], pair.new["category"]) == ("content", "bugfix")


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
