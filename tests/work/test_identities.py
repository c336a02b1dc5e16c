"""Who is me: learned from what is at hand, never against a person's word."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.github_server import GitHubServer, Pull
from threads_agent_dagster.clients import git
from threads_agent_dagster.clients.github import GitHub
from threads_agent_dagster.db import identities as db
from threads_agent_dagster.db.identities import MINE, Me
from threads_agent_dagster.db.portfolio import Selection, exported
from threads_agent_dagster.errors import InvalidInput
from threads_agent_dagster.work import imports
from threads_agent_dagster.work.identities import kind_of
from threads_agent_dagster.work.pull_requests import import_github

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HISTORY = """\
commit refs/heads/main
author Ada <Ada@Old.example> 1700000000 +0000
committer Ada <Ada@Old.example> 1700000000 +0000
data 4
feat
M 100644 inline .mailmap
data 60
Ada <ada@example.org> <ada@old.example>
Bo <bo@example.org>

commit refs/heads/main
author Bo <bo@example.org> 1700000100 +0000
committer Bo <bo@example.org> 1700000100 +0000
data 3
fix
M 100644 inline b.py
data 6
b = 1

"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """By Ada, under an address that .mailmap replaces, and by Bo."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    path = tmp_path / "checkout"
    for arguments, given in ((["init", "-q", "-b", "main", str(path)], None),
                             (["-C", str(path), "fast-import", "--quiet"], HISTORY),
                             (["-C", str(path), "reset", "-q", "--hard", "main"], None)):  # fmt: skip
        subprocess.run(["git", *arguments], input=given, text=True, check=True, capture_output=True)
    return path


def _works_here(checkout: Path, email: str) -> None:
    subprocess.run(["git", "-C", str(checkout), "config", "user.email", email], check=True)


def _me(engine: Engine) -> Me:
    with engine.connect() as connection:
        return db.read(connection)


def test_i_am_who_works_here_under_every_address_of_the_mailmap(engine: Engine, checkout: Path) -> None:
    _works_here(checkout, "Ada@example.org")
    assert git.own_emails(checkout) == {"ada@example.org", "ada@old.example"}
    imports.import_git(engine, checkout, NOW)
    assert _me(engine) == Me(("ada@example.org", "ada@old.example"), ())


def test_somebody_without_work_in_the_history_is_not_me(engine: Engine, checkout: Path) -> None:
    assert git.own_emails(checkout) == frozenset(), "nobody is configured"
    _works_here(checkout, "eve@example.org")
    imports.import_git(engine, checkout, NOW)
    assert not _me(engine)


def test_a_demo_is_not_my_work(engine: Engine, checkout: Path) -> None:
    _works_here(checkout, "ada@example.org")
    imports.import_git(engine, checkout, NOW, demo=True)
    assert not _me(engine)


def test_what_a_person_said_is_never_changed(engine: Engine, checkout: Path) -> None:
    with engine.begin() as connection:
        db.add(connection, ["me@example.org"], [])
    _works_here(checkout, "ada@example.org")
    imports.import_git(engine, checkout, NOW)
    assert _me(engine) == Me(("me@example.org",), ())


def test_the_owner_of_the_token_is_me_if_pull_requests_are_theirs(
    engine: Engine, github: GitHub, server: GitHubServer
) -> None:
    server.add("acme/other", Pull(1, "feat: other", login="grace"))
    import_github(engine, github, "acme/other", NOW)
    assert not _me(engine)
    server.add("acme/shop", Pull(1, "feat: sell", login="Ada"))
    import_github(engine, github, "acme/shop", NOW)
    assert _me(engine) == Me((), ("ada",))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("Me@Example.org", ("email", "me@example.org")),
        ("@Octo-Cat", ("login", "octo-cat")),
        ("7+octo@users.noreply.github.com", ("email", "7+octo@users.noreply.github.com")),
    ],
)
def test_an_identity_is_an_email_or_a_login(value: str, told: tuple[str, str]) -> None:
    assert kind_of(value) == told


@pytest.mark.parametrize("value", ["", "a b", "a@b@c", "' OR true --", "-x"])
def test_what_is_neither_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match="neither an e-mail address nor a login"):
        kind_of(value)


MINE_AND_OTHERS = """
    INSERT INTO achievements (title, category, source_type, completed_at, author_email, author_login, metadata_json,
        portfolio_ready)
    VALUES ('by e-mail', 'feature', 'git', now(), 'Me@example.org', NULL, '{}', true),
        ('by login', 'feature', 'github_pr', now(), NULL, 'ME', '{}', true),
        ('co-authored', 'feature', 'git', now(), 'x@example.org', NULL,
            '{"co_authors": [{"name": "M", "email": "me@example.org", "login": null}]}', true),
        ('by hand', 'feature', 'manual', now(), NULL, NULL, '{}', true),
        ('not mine', 'feature', 'git', now(), 'notme@example.org', 'notme', '{"co_authors": []}', true)
"""


def test_mine_is_what_i_wrote_wrote_with_others_or_wrote_down(engine: Engine) -> None:
    """And the portfolio holds only that, unless it is asked for everyone's or for somebody's."""
    with engine.begin() as connection:
        connection.execute(text(MINE_AND_OTHERS))

        def titles(**wanted: str | bool) -> set[str]:
            return {row["title"] for row in exported(connection, Selection(**wanted))}  # type: ignore[arg-type]

        assert len(titles()) == 5, "nobody said who I am"
        db.add(connection, ["me@example.org"], ["me"])
        mine = set(connection.execute(text(f"SELECT title FROM achievements WHERE {MINE}")).scalars())
        assert mine == {"by e-mail", "by login", "co-authored", "by hand"}
        assert titles() == mine
        assert len(titles(everyone=True)) == 5
        assert titles(author="notme") == {"not mine"}
