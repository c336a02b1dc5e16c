"""`threads-agent me`."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from threads_agent_dagster.commands.me import app
from threads_agent_dagster.errors import InvalidInput, NotFound


def test_me_is_shown_added_and_taken_away(engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    say = CliRunner().invoke
    assert "not known yet" in say(app, ["show"]).output
    assert say(app, ["add", "Me@example.org", "@octo"]).output == "me@example.org\n@octo\n"
    assert json.loads(say(app, ["show", "--json"]).output) == {"emails": ["me@example.org"], "logins": ["octo"]}
    assert say(app, ["remove", "octo"]).output == "me@example.org\n"
    assert isinstance(say(app, ["remove", "octo"]).exception, NotFound)
    assert isinstance(say(app, ["add", "good@example.org", "no good"]).exception, InvalidInput)
    assert "good" not in say(app, ["show"]).output, "all or nothing"
