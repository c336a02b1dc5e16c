"""`threads-agent github` and `import github`: what they say, and what they never say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from tests.github_server import TOKEN, GitHubServer, Pull, running
from threads_agent_dagster.commands import github, imports
from threads_agent_dagster.errors import ConfigurationError, InvalidInput
from threads_agent_dagster.settings import Settings

SECRET = "the secret of the hook"


@pytest.fixture
def server(engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHubServer]:
    with running() as (state, url):
        monkeypatch.setenv("DATABASE_URL", database_url)
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", SECRET)
        monkeypatch.setenv("GITHUB_API_URL", url)
        earlier = datetime.now(UTC) - timedelta(days=1)
        state.add("acme/shop", Pull(1, "feat: sell", at=earlier), Pull(2, "docs: \x1b[31mtell", at=earlier))
        state.add("acme/shop", Pull(3, "chore: bump", login="renovate[bot]", kind="Bot", at=earlier))
        yield state


@pytest.fixture
def say(server: GitHubServer) -> Callable[..., Result]:
    def run(*words: str) -> Result:
        app = imports.app if words[0] == "import" else github.app
        result = CliRunner().invoke(app, [*words[1:]])
        assert TOKEN not in result.output
        assert SECRET not in result.output
        return result

    return run


def test_import_tells_what_came_what_did_not_and_how_to_undo_it(say: Callable[..., Result]) -> None:
    first = say("import", "github", "https://github.com/acme/shop")
    assert first.exit_code == 0, first.output
    assert "acme/shop: 2 merged pull requests new or changed since the last time, and read" in first.output
    assert "1 ignored: written by a bot" in first.output
    assert "import undo 1" in first.output
    again = json.loads(say("import", "github", "acme/shop", "--json").stdout)
    assert (again["read"], again["import_id"]) == (0, 1)
    assert "github" in say("import", "list").output
    assert say("import", "undo", "1").exit_code == 0


def test_connect_list_and_disconnect_by_polling(say: Callable[..., Result]) -> None:
    assert "no repository is connected" in say("github", "list").output
    connected = say("github", "connect", "acme/shop")
    assert "GitHub is asked every ten minutes, from now on" in connected.output
    assert "import github acme/shop" in connected.output
    assert "not asked yet, 0 merged and not collected" in say("github", "list").output
    assert "what was collected stays" in say("github", "disconnect", "acme/shop").output
    assert "no repository is connected" in say("github", "list").output


def test_connect_by_a_webhook(say: Callable[..., Result], server: GitHubServer) -> None:
    connected = json.loads(say("github", "connect", "acme/shop", "--url", "https://me.example", "--json").output)
    assert connected["hook_url"] == "https://me.example/webhooks/github"
    assert list(server.hooks) == [connected["hook_id"]]
    assert "GitHub delivers to https://me.example/webhooks/github" in say("github", "list").output
    assert server.refused == []


def test_what_is_wrong_is_named(say: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(say("github", "connect", "shop").exception, InvalidInput)
    monkeypatch.delenv("GITHUB_TOKEN")
    missing = say("import", "github", "acme/shop").exception
    assert isinstance(missing, ConfigurationError)
    assert "GITHUB_TOKEN" in str(missing)


def test_settings_do_not_show_the_token(server: GitHubServer) -> None:
    assert TOKEN not in repr(Settings())
