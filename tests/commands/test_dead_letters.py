"""`threads-agent redrive`: what was given up is listed, and tried again."""

from __future__ import annotations

import json
from datetime import date

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from threads_agent_dagster.cli import assemble
from threads_agent_dagster.db import pending


@pytest.fixture(autouse=True)
def _dead(engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    with engine.begin() as connection:
        pending.mark(connection, "achievements", [("commit:1", date(2026, 1, 1)), ("commit:2", date(2026, 1, 1))])
        pending.mark(connection, "emotion_trajectories", [("post:1", date(2026, 1, 1))])
        connection.execute(text("UPDATE pending SET dead_at = now(), error = 'no ' || key, attempts = 5"))


def _redrive(*arguments: str) -> str:
    result = CliRunner().invoke(assemble(["redrive"]), ["redrive", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def _alive(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(text("SELECT key FROM pending WHERE dead_at IS NULL")).scalars())


def test_a_dry_run_lists_and_changes_nothing(engine: Engine) -> None:
    listed = [json.loads(line) for line in _redrive("--dry-run", "--json", "--asset", "achievements").splitlines()]
    assert {(row["key"], row["error"]) for row in listed} == {("commit:1", "no commit:1"), ("commit:2", "no commit:2")}
    assert "post:1" in _redrive("--dry-run")
    assert _alive(engine) == set()


@pytest.mark.parametrize(
    ("arguments", "alive"),
    [
        ([], {"commit:1", "commit:2", "post:1"}),
        (["--asset", "achievements"], {"commit:1", "commit:2"}),
        (["--key", "commit:2"], {"commit:2"}),
    ],
)
def test_only_what_is_named_is_tried_again(engine: Engine, arguments: list[str], alive: set[str]) -> None:
    assert _redrive(*arguments) == f"tried again: {len(alive)}\n"
    assert _alive(engine) == alive


def test_nothing_given_up_is_said() -> None:
    _redrive()
    assert _redrive("--dry-run") == "nothing was given up\n"
