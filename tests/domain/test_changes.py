from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threads_agent_dagster.domain.changes import (
    BODY_LIMIT,
    FILE_LIMIT,
    TITLE_LIMIT,
    Change,
    FileChange,
    GitCommit,
    Ignored,
    Person,
    change_from_document,
    change_to_document,
    co_authors,
    combine,
    is_bot,
    is_revert,
    title_of,
    utc_day,
)
from threads_agent_dagster.domain.commits import COMMIT_RULES, change_from_commit, read_message
from threads_agent_dagster.domain.deliveries import DELIVERY_RULES, READERS, change_from_delivery, event_day
from threads_agent_dagster.errors import InvalidInput

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MERGED_AT = datetime(2026, 2, 20, 10, tzinfo=UTC)
REPOSITORY = {"full_name": "acme/rocket", "default_branch": "main", "fork": False}
ADA = {"login": "ada", "type": "User"}
BOT = {"login": "dependabot[bot]", "type": "Bot"}
EMAIL = Person("Ada", "ada@example.com")


def pull_request(*, repository: str = "acme/rocket", action: str = "closed", **changed: object) -> dict[str, Any]:
    pull = {
        "number": 7,
        "title": "Add orbit planner",
        "body": "It plans.",
        "user": ADA,
        "merged": True,
        "merged_by": {"login": "ben"},
        "requested_reviewers": [{"login": "cy"}, ADA],
        "requested_teams": [],
        "labels": [{"name": "feature"}],
        "html_url": "https://github.com/acme/rocket/pull/7",
        "created_at": "2026-02-18T10:00:00Z",
        "merged_at": "2026-02-20T10:00:00Z",
        "closed_at": "2026-02-20T10:00:00Z",
        "merge_commit_sha": "c" * 40,
        "additions": 120,
        "deletions": 30,
        "changed_files": 6,
        "commits": 3,
        "comments": 2,
        "review_comments": 4,
    }
    return {"action": action, "pull_request": pull | changed, "repository": REPOSITORY | {"full_name": repository}}


def pushed(*commits: dict[str, Any], **changed: object) -> dict[str, Any]:
    return {"ref": "refs/heads/main", "commits": list(commits), "repository": REPOSITORY} | changed


def pushed_commit(sha: str, message: str, author: str = "ada") -> dict[str, Any]:
    person = {"name": author.title(), "email": f"{author}@example.com", "username": author}
    paths = {"added": [f"{sha}.py"], "modified": [], "removed": []}
    return {"id": sha, "message": message, "timestamp": "2026-02-20T11:00:00+01:00", "author": person, **paths}


def run(**changed: object) -> dict[str, Any]:
    workflow_run = {"id": 5, "name": "Deploy prod", "conclusion": "success", "updated_at": "2026-02-20T10:00:00Z"}
    return {"action": "completed", "workflow_run": workflow_run | changed, "repository": REPOSITORY}


def issue(*, sender: Mapping[str, object] = ADA, action: str = "closed", **changed: object) -> dict[str, Any]:
    details = {"number": 3, "title": "Crash on start", "body": None, "closed_at": "2026-02-20T10:00:00Z", "labels": []}
    return {"action": action, "issue": details | changed, "sender": sender, "repository": REPOSITORY}


def release(*, action: str = "published", **changed: object) -> dict[str, Any]:
    return {"action": action, "release": {"id": 9, "tag_name": "v1", **changed}, "repository": REPOSITORY}


def deployment(state: str = "success", environment: str = "production") -> dict[str, Any]:
    status = {"id": 1, "state": state, "created_at": "2026-02-20T10:00:00Z"}
    details = {"id": 2, "environment": environment, "ref": "v1", "sha": "d" * 40, "creator": ADA}
    return {"action": "created", "deployment_status": status, "deployment": details, "repository": REPOSITORY}


def check(**changed: object) -> dict[str, Any]:
    check_run = {"id": 4, "name": "Publish image", "conclusion": "success", "completed_at": "2026-02-20T10:00:00Z"}
    return {"action": "completed", "check_run": check_run | changed, "repository": REPOSITORY, "sender": ADA}


def the_change(event: str, payload: Mapping[str, Any]) -> Change:
    outcome = change_from_delivery(event, payload, NOW)
    assert isinstance(outcome, list), outcome
    (change,) = outcome
    return change


def the_reason(event: str, payload: Mapping[str, Any]) -> str:
    outcome = change_from_delivery(event, payload, NOW)
    assert isinstance(outcome, Ignored), outcome
    return outcome.reason


# --- deliveries that count ---------------------------------------------------------------------------------------


def test_a_merged_pull_request_is_one_change() -> None:
    change = the_change("pull_request", pull_request())
    assert (change.source_type, change.source_key, change.source_id) == ("github_pr", "gh:acme/rocket:pr:7", "7")
    assert (change.title, change.body, change.labels) == ("Add orbit planner", "It plans.", ("feature",))
    assert (change.author_login, change.merge_sha, change.completed_at) == ("ada", "c" * 40, MERGED_AT)
    assert (change.additions, change.deletions, change.changed_files, change.commits) == (120, 30, 6, 3)
    assert (change.reviewers, change.comments) == (2, 6)  # ben merged it, cy was asked; ada is the author


def test_a_null_body_is_an_empty_body() -> None:
    """The predecessor's failure obs-01."""
    assert the_change("pull_request", pull_request(body=None)).body == ""


def test_a_closed_issue_keeps_its_labels() -> None:
    """The predecessor's failure obs-02."""
    assert the_change("issues", issue(labels=[{"name": "bug"}])).labels == ("bug",)
    assert the_change("issues", issue(labels=["bug"])).labels == ("bug",)


def test_a_run_has_one_key_however_often_it_is_delivered_or_tried_again() -> None:
    """The predecessor's failure obs-03."""
    first, again = the_change("workflow_run", run()), the_change("workflow_run", run(run_attempt=2))
    assert first.source_key == again.source_key == "gh:acme/rocket:run:5"


def test_the_same_number_in_another_repository_is_another_change() -> None:
    """The predecessor's failure obs-05."""
    other = the_change("pull_request", pull_request(repository="acme/booster"))
    assert other.source_key == "gh:acme/booster:pr:7" != the_change("pull_request", pull_request()).source_key


def test_a_deleted_author_leaves_the_change() -> None:
    change = the_change("pull_request", pull_request(user=None))
    assert (change.author_login, change.author_name, change.author_email) == (None, None, None)


def test_a_pull_request_from_a_deleted_fork_counts() -> None:
    assert the_change("pull_request", pull_request(head={"repo": None})).metadata["from_fork"] is False


def test_an_issue_counts_for_who_did_it_not_for_who_reported_it() -> None:
    assert the_change("issues", issue(user={"login": "reporter"}, assignee={"login": "ben"})).author_login == "ben"
    assert the_change("issues", issue(user={"login": "reporter"}, assignee=None)).author_login == "ada"
    assert the_change("issues", issue(assignee={"login": "ben"}, sender=BOT) | {"sender": BOT}).author_login == "ben"


def test_releases_deployments_and_checks_that_deliver_count() -> None:
    assert the_change("release", release(name="")).title == "Release v1"
    assert the_change("release", release(action="released")).source_key == "gh:acme/rocket:release:9"
    assert the_change("deployment_status", deployment()).source_key == "gh:acme/rocket:deployment:2"
    assert the_change("check_run", check()).source_key == "gh:acme/rocket:check:4"


def test_a_push_counts_each_of_its_commits() -> None:
    outcome = change_from_delivery("push", pushed(pushed_commit("a1", "One"), pushed_commit("b2", "Two (#4)")), NOW)
    assert isinstance(outcome, list)
    assert [(one.source_key, one.title) for one in outcome] == [
        ("git:acme/rocket:a1", "One"),
        ("git:acme/rocket:b2", "Two"),
    ]
    assert {one.completed_at for one in outcome} == {MERGED_AT}
    assert outcome[0].files == (FileChange("a1.py"),)
    assert (outcome[0].additions, outcome[0].author_login) == (None, "ada")


def test_a_pushed_merge_takes_in_the_commits_before_it() -> None:
    merge = pushed_commit("c3", "Merge pull request #4 from ben/topic\n\nAdd things", author="ada")
    change = the_change("push", pushed(pushed_commit("a1", "One", "ben"), pushed_commit("b2", "Two", "ben"), merge))
    assert (change.source_id, change.title, change.author_login, change.commits) == ("c3", "Add things", "ben", 2)
    assert [file.path for file in change.files] == ["a1.py", "b2.py", "c3.py"]


def test_the_push_of_a_pull_request_and_the_pull_request_share_their_merge_sha() -> None:
    sha = "c" * 40
    from_push = the_change("push", pushed(pushed_commit(sha, "Add orbit planner (#7)")))
    assert from_push.merge_sha == the_change("pull_request", pull_request()).merge_sha == sha


# --- deliveries that do not --------------------------------------------------------------------------------------

IGNORED = [
    ("ping", {"zen": "Keep it simple."}, "greeting"),
    ("pull_request", pull_request(action="opened"), "only a closed pull request"),
    ("pull_request", pull_request(merged=False, merged_at=None), "without being merged"),
    ("pull_request", pull_request(user=BOT), "written by a bot"),
    ("pull_request", pull_request(user={"login": "renovate-bot", "type": "User"}), "written by a bot"),
    ("pull_request", pull_request(title='Revert "Add orbit planner"'), "a revert takes work back"),
    ("push", pushed(pushed_commit("a", "x"), ref="refs/heads/topic"), "not the default branch"),
    ("push", pushed(pushed_commit("a", "x"), ref="refs/tags/main"), "not the default branch"),
    ("push", pushed(deleted=True), "the branch was deleted"),
    ("push", pushed(pushed_commit("a", "x"), repository=REPOSITORY | {"fork": True}), "a push to a fork"),
    ("push", pushed(), "no commits"),
    ("push", pushed(pushed_commit("a", "bump", "dependabot[bot]")), "every commit: written by a bot"),
    ("issues", issue(action="opened"), "only a closed issue"),
    ("issues", issue(state_reason="not_planned"), "not planned"),
    ("issues", issue(state_reason="duplicate"), "duplicate"),
    ("issues", issue(sender=BOT), "closed by a bot"),
    ("issues", issue(pull_request={"url": "x"}), "by its own event"),
    ("release", release(action="created"), "only a published release"),
    ("release", release(draft=True), "a draft"),
    ("release", release(prerelease=True), "a pre-release"),
    ("workflow_run", run() | {"action": "requested"}, "not finished"),
    ("workflow_run", run(conclusion="failure"), "did not succeed"),
    ("workflow_run", run(event="pull_request"), "rehearsal"),
    ("workflow_run", run(name="Tests"), "delivers nothing"),
    ("workflow_run", run(name="Undeployable"), "delivers nothing"),
    ("check_run", check() | {"action": "created"}, "not finished"),
    ("check_run", check(conclusion="neutral"), "did not succeed"),
    ("check_run", check(name="lint"), "delivers nothing"),
    ("deployment_status", deployment(state="pending"), "has not succeeded"),
    ("deployment_status", deployment(environment="staging"), "not a production environment"),
    ("deployment_status", deployment(environment="preproduct"), "not a production environment"),
    ("star", {"action": "created"}, "'star'"),
]


@pytest.mark.parametrize(("event", "payload", "reason"), IGNORED)
def test_an_ignored_delivery_says_why(event: str, payload: dict[str, Any], reason: str) -> None:
    assert reason in the_reason(event, payload)


def test_every_rule_of_the_table_is_reached() -> None:
    given = {the_reason(event, payload) for event, payload, _ in IGNORED}
    told = {rule.reason for rules in DELIVERY_RULES.values() for rule in rules}
    assert told <= given


def test_the_documentation_states_every_reason() -> None:
    page = (Path(__file__).parents[2] / "docs" / "achievements.md").read_text()
    for event, rules in DELIVERY_RULES.items():
        assert all(f"| `{event}` | {rule.reason} |" in page for rule in rules)
    assert all(f"| each commit | {rule.reason} |" in page for rule in COMMIT_RULES)


@pytest.mark.parametrize("event", sorted(READERS))
def test_a_payload_of_another_event_is_refused_with_the_field_named(event: str) -> None:
    action = {"issues": "closed", "pull_request": "closed", "release": "published"}.get(event, "completed")
    with pytest.raises(InvalidInput) as caught:
        change_from_delivery(event, {"action": action}, NOW)
    assert caught.value.field


def test_a_pull_request_without_a_number_is_refused() -> None:
    with pytest.raises(InvalidInput, match="number"):
        change_from_delivery("pull_request", pull_request(number=None), NOW)


def test_hostile_values_do_not_come_in() -> None:
    hostile = pull_request(title="a\x00b\ud800", html_url="javascript:alert(1)", additions=10**400, comments=-1)
    change = the_change("pull_request", hostile)
    assert change.title == "ab?"
    assert (change.source_url, change.additions, change.comments) == (None, None, 4)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
SAMPLES = {
    "pull_request": pull_request(),
    "push": pushed(pushed_commit("a1", "One"), pushed_commit("b2", "Merge branch 'topic'")),
    "issues": issue(),
    "release": release(),
    "workflow_run": run(),
    "check_run": check(),
    "deployment_status": deployment(),
}


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_any_value_anywhere_gives_changes_a_reason_or_a_refusal(event: str, data: st.DataObject) -> None:
    payload = json.loads(json.dumps(SAMPLES[event]))
    container = payload
    while True:
        key = data.draw(st.sampled_from(sorted(container)))
        if not isinstance(container[key], dict) or data.draw(st.booleans()):
            break
        container = container[key]
    container[key] = data.draw(JSON)
    assert isinstance(event_day(event, payload, NOW), date)
    try:
        outcome = change_from_delivery(event, payload, NOW)
    except InvalidInput:
        return
    for change in outcome if isinstance(outcome, list) else []:
        document = change_to_document(change)
        assert "\\u0000" not in json.dumps(document, allow_nan=False)
        assert change_from_document(json.loads(json.dumps(document))) == change


@pytest.mark.shared_data
def test_real_deliveries_become_changes_or_reasons(shared_data: Path) -> None:
    keys: set[str] = set()
    for file in sorted((shared_data / "github_webhooks").glob("*.json")):
        event, payload = file.name.split("__")[0], json.loads(file.read_text())
        outcome = change_from_delivery(event, payload, NOW)
        keys.update(change.source_key for change in outcome) if isinstance(outcome, list) else None
        assert event_day(event, payload, NOW).year in (2018, 2019, 2020, 2021, 2026)
    assert keys == {
        "gh:Codertocat/Hello-World:deployment:145988746",
        "gh:Codertocat/Hello-World:release:17372790",
        "git:Codertocat/Hello-World:6113728f27ae82c7b1a177c8d03f9e96e0adf246",
    }


@pytest.mark.shared_data
def test_every_real_pull_request_counts_once_it_is_merged(shared_data: Path) -> None:
    files = sorted((shared_data / "github_webhooks").glob("pull_request__*.json"))
    assert files
    for file in files:
        payload = json.loads(file.read_text())
        payload["action"] = "closed"
        payload["pull_request"] |= {"merged": True, "merged_at": "2026-02-20T10:00:00Z"}
        change = the_change("pull_request", payload)
        assert change.source_key == f"gh:{payload['repository']['full_name']}:pr:{payload['number']}"
        assert change.completed_at == MERGED_AT
        assert change.additions == payload["pull_request"]["additions"]


# --- the day -----------------------------------------------------------------------------------------------------


def test_the_day_is_that_of_the_event() -> None:
    assert event_day("pull_request", pull_request(), NOW) == date(2026, 2, 20)
    assert event_day("push", {"head_commit": {"timestamp": "2026-02-20T23:30:00-05:00"}}, NOW) == date(2026, 2, 21)


@pytest.mark.parametrize(
    "at", ["2004-12-31T23:59:59Z", "2026-03-02T00:00:00Z", "9999-12-31T23:59:59-23:00", "soon", None]
)
def test_a_clock_that_cannot_be_right_gives_the_day_of_receipt(at: str | None) -> None:
    assert event_day("issues", {"issue": {"closed_at": at, "updated_at": None}}, NOW) == date(2026, 3, 1)
    assert event_day("star", {}, NOW) == date(2026, 3, 1)


def test_the_day_is_reckoned_in_utc() -> None:
    late = datetime(2026, 2, 28, 23, tzinfo=timezone(timedelta(hours=-5)))
    assert utc_day(late, NOW) == date(2026, 3, 1)


# --- commits -----------------------------------------------------------------------------------------------------


def commit(message: str = "Add engine", **changed: Any) -> GitCommit:
    values: dict[str, Any] = {
        "sha": "a" * 40,
        "parents": ("b" * 40,),
        "author": EMAIL,
        "committer": EMAIL,
        "authored_at": datetime(2026, 2, 19, tzinfo=UTC),
        "committed_at": MERGED_AT,
        "message": message,
        "files": (FileChange("engine.py", 10, 2),),
    }
    return GitCommit(**values | changed)


def commit_change(of: GitCommit) -> Change:
    outcome = change_from_commit(of, "acme/rocket")
    assert isinstance(outcome, Change), outcome
    return outcome


def test_a_commit_is_one_change() -> None:
    change = commit_change(commit())
    assert (change.source_type, change.source_key) == ("git", f"git:acme/rocket:{'a' * 40}")
    assert (change.additions, change.deletions, change.commits, change.merge_sha) == (10, 2, 1, "a" * 40)
    assert (change.reviewers, change.comments) == (None, None)
    assert change.started_at == datetime(2026, 2, 19, tzinfo=UTC)


IGNORED_COMMITS = [
    (commit(history_cut=True), "shallow clone"),
    (commit(author=Person("dependabot[bot]", "49699333+dependabot[bot]@users.noreply.github.com")), "a bot"),
    (commit(parents=("x", "y"), side_authors=(Person("renovate", "bot@renovateapp.com"),)), "a bot"),
    (commit('Revert "Add engine"\n\nThis reverts commit aaaa.'), "a revert"),
    (commit("revert: add engine"), "a revert"),
    (commit("Merge branch 'main' of github.com:acme/rocket", parents=("x", "y")), "up to date"),
    (commit("Merge remote-tracking branch 'origin/main'", parents=("x", "y")), "up to date"),
    (commit("Merge branch 'main' into topic", parents=("x", "y")), "up to date"),
    (commit(files=()), "changes no file"),
]


@pytest.mark.parametrize(("ignored", "reason"), IGNORED_COMMITS)
def test_an_ignored_commit_says_why(ignored: GitCommit, reason: str) -> None:
    outcome = change_from_commit(ignored, "acme/rocket")
    assert isinstance(outcome, Ignored)
    assert reason in outcome.reason


def test_every_rule_for_commits_is_reached() -> None:
    outcomes = [change_from_commit(one, "r") for one, _ in IGNORED_COMMITS]
    assert {rule.reason for rule in COMMIT_RULES} == {one.reason for one in outcomes if isinstance(one, Ignored)}


@pytest.mark.parametrize(
    "message",
    [
        "Merge branch 'engine'",
        "Merge branch 'engine' of example.org:ben/rocket",
        "Merge remote-tracking branch 'ben/engine'",
        "Merge branch 'develop' into main",
        "Merge branch 'develop'",
    ],
)
def test_a_merge_of_work_counts(message: str) -> None:
    assert commit_change(commit(message, parents=("x", "y"))).metadata["merge"] is True


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Add engine", ("Add engine", "", None)),
        ("Add engine (#12)\n\nWhy.", ("Add engine", "Why.", 12)),
        ("Merge pull request #12 from ada/engine\n\nAdd engine\n\nWhy.", ("Add engine", "Why.", 12)),
        ("Merge pull request #12 from ada/engine", ("engine", "", 12)),
        ("Merge branch 'fix/login-crash' into main\n\nWhy.", ("fix/login-crash", "Why.", None)),
        ("See (#12) for more", ("See (#12) for more", "", None)),
        ("\n\n  \n", ("", "", None)),
    ],
)
def test_a_message_tells_title_body_and_pull_request(message: str, told: tuple[str, str, int | None]) -> None:
    assert read_message(message) == told


def test_an_empty_message_is_titled_by_its_sha() -> None:
    assert commit_change(commit("")).title == "a" * 12


def test_a_merge_counts_for_who_wrote_the_most_of_it() -> None:
    ben = Person("Ben", "ben@example.com")
    change = commit_change(commit("Merge branch 'x'", parents=("x", "y"), side_commits=3, side_authors=(ben, EMAIL)))
    assert (change.author_email, change.co_authors, change.commits) == ("ben@example.com", (EMAIL,), 3)


def test_co_authors_are_people_each_once() -> None:
    message = (
        "x\n\nCo-authored-by: Ben <Ben@Example.com>\nco-authored-by: Benny <ben@example.com>\n"
        "Co-authored-by: dependabot[bot] <bot@example.com>\nCo-authored-by: <cy@example.com>\n"
    )
    assert co_authors(message) == (Person("Benny", "ben@example.com"), Person(None, "cy@example.com"))


def test_an_author_is_not_their_own_co_author() -> None:
    assert commit_change(commit("x\n\nCo-authored-by: Ada <ADA@example.com>")).co_authors == ()


@pytest.mark.parametrize(
    "name", ["dependabot[bot]", "renovate", "github-actions", "acme-bot", "Mergify", "Renovate Bot"]
)
def test_bots_are_known_by_name(name: str) -> None:
    assert is_bot(Person(login=name))
    assert is_bot(Person(name=name))


@pytest.mark.parametrize("name", ["Abbott", "botany", "Bob Otis", "Robot Fan", "renovator"])
def test_people_are_not_bots(name: str) -> None:
    assert not is_bot(Person(name=name, email=f"{name.split()[0]}@example.com"))


@pytest.mark.parametrize(
    ("title", "reverts"),
    [
        ('Revert "Add"', True),
        ("revert: add", True),
        ("revert(core)!: add", True),
        ("Revert changes lost in the merge", False),
        ("Revertible edits", False),
    ],
)
def test_a_revert_is_known_by_its_form(title: str, reverts: bool) -> None:
    assert is_revert(title) is reverts


# --- values ------------------------------------------------------------------------------------------------------


def test_what_clocks_contradict_is_not_known() -> None:
    change = commit_change(commit(authored_at=MERGED_AT + timedelta(seconds=1)))
    assert change.started_at is None


def test_long_texts_and_lists_are_cut() -> None:
    files = tuple(FileChange(f"{number}.py", number, 0) for number in range(FILE_LIMIT + 10))
    change = commit_change(commit("x" * 1000 + "\n\n" + "y" * (BODY_LIMIT + 1), files=files))
    assert (len(change.title), len(change.body), len(change.files)) == (TITLE_LIMIT, BODY_LIMIT, FILE_LIMIT)
    assert change.changed_files == FILE_LIMIT + 10
    assert min(file.additions or 0 for file in change.files) == 10  # the largest stay
    assert title_of("x" * TITLE_LIMIT, "") == "x" * TITLE_LIMIT


def test_a_document_gives_the_change_back() -> None:
    change = commit_change(commit("Merge branch 'x'\n\nCo-authored-by: Ben <b@x.y>", parents=("x", "y")))
    assert change_from_document(json.loads(json.dumps(change_to_document(change)))) == change


def test_two_views_of_one_change_complete_each_other() -> None:
    told, seen = the_change("pull_request", pull_request(body="")), commit_change(commit("Add (#7)\n\nFrom git."))
    both = combine(told, seen)
    assert (both.source_key, both.title, both.reviewers) == (told.source_key, told.title, 2)
    assert (both.files, both.author_email, both.body) == (seen.files, "ada@example.com", "From git.")
    assert both.metadata == {**seen.metadata, **told.metadata}
    assert combine(both, seen) == both
