"""What GitHub's API lists as merged arrives whole, once, after any interruption, and can be taken away again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.github_server import START, Answer, GitHubServer, Pull
from threads_agent_dagster.clients.github import GitHub, RateLimited
from threads_agent_dagster.errors import NotFound, Unavailable
from threads_agent_dagster.work import achievements, imports
from threads_agent_dagster.work.drain import Origin, drain
from threads_agent_dagster.work.pull_requests import import_github

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SHOP = "acme/shop"
PULLS = "GET /repos/{owner}/{repo}/pulls"
DETAIL = "GET /repos/{owner}/{repo}/pulls/{pull_number}"


def _rows(engine: Engine, statement: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement)))


def _drain(engine: Engine) -> None:
    done = drain(engine, achievements.job(), None, Origin("run", achievements.CODE_VERSION))
    assert done.errors == []


def _keys(engine: Engine) -> list[str]:
    _drain(engine)
    return [row.source_key for row in _rows(engine, "SELECT source_key FROM achievements ORDER BY completed_at, id")]


def _many(count: int) -> list[Pull]:
    return [
        Pull(number, f"feat: number {number}", at=START + timedelta(hours=number)) for number in range(1, count + 1)
    ]


def _bots(count: int, at: datetime) -> list[Pull]:
    """They fill the list's pages and are not read."""
    return [Pull(1000 + one, f"bump {one}", login="dependabot[bot]", kind="Bot", at=at) for one in range(count)]


def test_a_pull_request_is_told_by_all_that_the_api_knows(engine: Engine, github: GitHub, server: GitHubServer) -> None:
    people = [("Ada", "ada@example.org", "ada"), ("Grace", "grace@example.org", "grace"), ("Bot", "b@x", "x[bot]")]
    files = [("src/shop.py", 80, 4), ("tests/test_shop.py", 30, 0), ("package-lock.json", 9000, 10)]
    server.add(
        SHOP,
        Pull(7, "feat: sell", body=None, files=files, reviewers=["grace", "ada", "ci[bot]"], commits=people,
             labels=["enhancement"]),
    )  # fmt: skip
    seen = import_github(engine, github, SHOP, NOW)
    assert (seen.repository, seen.listed, seen.read, seen.ignored) == (SHOP, 1, 1, {})
    _drain(engine)
    (row,) = _rows(engine, "SELECT * FROM achievements")
    assert (row.source_key, row.source_type, row.author_login) == (f"gh:{SHOP}:pr:7", "github_pr", "ada")
    assert row.author_email == "ada@example.org", "as the author signs the commits"
    assert [one["email"] for one in row.metadata_json["co_authors"]] == ["grace@example.org"], "bots are nobody"
    assert row.metadata_json["reviewers"] == 1, "neither the author nor a bot reviews"
    assert row.started_at == START - timedelta(days=2), "when the first commit was written"
    rules = {rule["name"]: rule["input"] for rule in row.impact_rules}
    assert rules["size: hand-written lines"] < 200, "a lock file is not written by hand"
    assert rules["tests come along: lines added"] == 30
    assert server.refused == []


@pytest.mark.parametrize(
    ("pull", "reason"),
    [
        (Pull(1, "chore: bump", login="dependabot[bot]", kind="Bot"), "written by a bot"),
        (Pull(1, 'Revert "feat: sell"'), "a revert takes work back"),
    ],
)
def test_what_does_not_count_says_why_and_is_not_read(
    engine: Engine, github: GitHub, server: GitHubServer, pull: Pull, reason: str
) -> None:
    server.add(SHOP, pull)
    assert import_github(engine, github, SHOP, NOW).ignored == {reason: 1}
    assert _keys(engine) == []
    assert server.asked[DETAIL] == 0
    assert [row.reason for row in _rows(engine, "SELECT reason FROM pull_requests")] == [reason]


def test_deleted_users_and_forks_lose_no_change(engine: Engine, github: GitHub, server: GitHubServer) -> None:
    server.add(SHOP, Pull(1, "fix: mend", login=None, commits=[("Ghost", "ghost@example.org", None)]))
    server.add(SHOP, Pull(2, "fix: more", from_deleted_fork=True, at=START + timedelta(hours=1)))
    server.add(SHOP, Pull(3, "fix: not merged", merged=False))
    server.add(SHOP, Pull(4, "fix: mend", login="ghost", at=START + timedelta(hours=2), commits=[("G", "g@x", None)]))
    import_github(engine, github, SHOP, NOW)
    assert _keys(engine) == [f"gh:{SHOP}:pr:1", f"gh:{SHOP}:pr:2", f"gh:{SHOP}:pr:4"]
    authors = _rows(engine, "SELECT author_login, author_email FROM achievements ORDER BY completed_at")
    assert authors == [(None, "ghost@example.org"), ("ada", "ada@example.org"), (None, "g@x")], "commits tell more"


def test_importing_again_changes_nothing_and_costs_two_requests(
    engine: Engine, github: GitHub, server: GitHubServer
) -> None:
    server.add(SHOP, *_many(12), *_bots(120, START - timedelta(days=9)))
    first = import_github(engine, github, SHOP, NOW)
    _drain(engine)
    before = _rows(engine, "SELECT * FROM achievements ORDER BY id")
    asked = server.asked.total()
    again = import_github(engine, github, "ACME/Shop", NOW)
    assert (again.import_id, again.repository, again.listed, again.read) == (first.import_id, SHOP, 0, 0)
    assert server.asked.total() - asked == 2, "the repository's name and an unchanged first page"
    _drain(engine)
    assert _rows(engine, "SELECT * FROM achievements ORDER BY id") == before
    assert len(before) == 12


def test_only_what_changed_is_read_again(engine: Engine, github: GitHub, server: GitHubServer) -> None:
    server.add(SHOP, *_many(8), *_bots(220, START - timedelta(days=9)))
    import_github(engine, github, SHOP, NOW)
    server.asked.clear()
    server.pulls[SHOP][4].title = "feat: in better words"
    server.pulls[SHOP][4].updated = START + timedelta(days=40)
    server.add(SHOP, Pull(999, "feat: new", at=START + timedelta(days=41)))
    assert import_github(engine, github, SHOP, NOW).read == 2
    assert (server.asked[PULLS], server.asked[DETAIL]) == (1, 2), "older pages are not asked for"
    _drain(engine)
    (row,) = _rows(engine, f"SELECT title FROM achievements WHERE source_key = 'gh:{SHOP}:pr:5'")
    assert row.title == "feat: in better words"


class Killed(BaseException):
    """As if the process ended here."""


@pytest.mark.parametrize("after", [1, 2, 3, 4, 7, 12, 23])
def test_an_import_that_was_killed_goes_on(
    engine: Engine, github: GitHub, server: GitHubServer, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Killed at a request of any phase; nothing is there by half, and nothing is read twice but what was under way."""
    server.add(SHOP, *_many(6))
    sent = GitHub._send
    left = [after]

    def strike(self: GitHub, method: str, path: str, **options: Any) -> Any:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return sent(self, method, path, **options)

    monkeypatch.setattr(GitHub, "_send", strike)
    with pytest.raises(Killed):
        import_github(engine, github, SHOP, NOW)
    assert len(_keys(engine)) == max(0, after - 2) // 4
    read = len(_rows(engine, "SELECT FROM pull_requests WHERE change IS NOT NULL"))
    monkeypatch.setattr(GitHub, "_send", sent)
    assert import_github(engine, github, SHOP, NOW).read == 6 - read
    assert len(_keys(engine)) == 6
    (one,) = _rows(engine, "SELECT row_count, finished_at FROM imports")
    assert one.row_count == 6
    assert one.finished_at is not None


def test_a_spent_rate_limit_keeps_what_was_read(engine: Engine, github: GitHub, server: GitHubServer) -> None:
    server.add(SHOP, *_many(6))
    server.remaining, server.reset = 2 + 4 * 4, int(datetime.now(UTC).timestamp()) + 3000
    with pytest.raises(RateLimited, match="what was read is kept"):
        import_github(engine, github, SHOP, NOW)
    assert len(_keys(engine)) == 4
    server.remaining, server.reset = 5000, 0
    github._reset_at = None
    assert import_github(engine, github, SHOP, NOW).read == 2
    assert len(_keys(engine)) == 6


def test_a_list_that_fails_on_its_second_page_is_listed_again(
    engine: Engine, github: GitHub, server: GitHubServer
) -> None:
    server.add(SHOP, *_many(4), *_bots(110, START + timedelta(days=9)))

    def fail_page_two(operation: str) -> None:
        if operation == PULLS and server.asked[PULLS] == 1:
            server.instead.append(Answer(503, body={"message": "Service Unavailable"}))

    server.before = fail_page_two
    with pytest.raises(Unavailable):
        import_github(engine, github, SHOP, NOW)
    server.before = lambda _: None
    import_github(engine, github, SHOP, NOW)
    assert len(_keys(engine)) == 4


def test_an_answer_that_cannot_be_read_stops_nobody(engine: Engine, github: GitHub, server: GitHubServer) -> None:
    server.add(SHOP, *_many(3))

    def garble(operation: str) -> None:
        if operation.endswith("/files") and server.asked[DETAIL] == 1:
            server.instead.append(Answer(200, body=[{"filename": None}]))

    server.before = garble
    seen = import_github(engine, github, SHOP, NOW)
    assert list(seen.ignored.values()) == [1]
    assert "cannot be read: filename" in next(iter(seen.ignored))
    assert len(_keys(engine)) == 2


def test_undo_takes_exactly_that_away(engine: Engine, github: GitHub, server: GitHubServer) -> None:
    server.add(SHOP, *_many(3))
    server.add("acme/other", *_many(2))
    other = import_github(engine, github, "acme/other", NOW)
    kept = _keys(engine)
    seen = import_github(engine, github, SHOP, NOW)
    assert len(_keys(engine)) == 5
    assert seen.import_id is not None
    imports.undo(engine, seen.import_id)
    assert _keys(engine) == kept
    assert [row.repository for row in _rows(engine, "SELECT DISTINCT repository FROM pull_requests")] == ["acme/other"]
    assert import_github(engine, github, SHOP, NOW).read == 3, "and it can come again"
    assert other.import_id is not None


def test_a_repository_that_is_not_there_leaves_nothing(engine: Engine, github: GitHub) -> None:
    with pytest.raises(NotFound, match="GITHUB_TOKEN may not see it"):
        import_github(engine, github, "acme/nothing", NOW)
    assert _rows(engine, "SELECT FROM imports") == []


def test_an_empty_repository_is_no_import(engine: Engine, github: GitHub, server: GitHubServer) -> None:
    server.add(SHOP, Pull(1, "fix: refused", merged=False))
    assert import_github(engine, github, SHOP, NOW).import_id is None
    assert _rows(engine, "SELECT FROM imports") == []
