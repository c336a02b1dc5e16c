"""The three apps over this test's own database, and callers with each role."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine, text

from threads_agent_dagster.api import events
from threads_agent_dagster.api.apps import create_app
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work.api_keys import create

SECRET = "a secret of this test"


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=SecretStr(database_url), github_webhook_secret=SecretStr(SECRET), _env_file=None)


@pytest.fixture
def key(engine: Engine) -> Callable[[str], str]:
    """Makes an API key of a role."""
    return lambda role: create(engine, f"test {role}", [role])


@pytest.fixture
def open_app(
    settings: Settings, key: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., TestClient]]:
    """Starts an app; its client carries a key of `role`, or none, and reads an answer to its end."""
    monkeypatch.setattr(events, "STREAM_SECONDS", 0.0)
    with ExitStack() as stack:

        def start(name: str = "orchestrator", role: str | None = "editor", settings: Settings = settings) -> TestClient:
            headers = {} if role is None else {"X-API-Key": key(role)}
            app = create_app(name, settings)
            return stack.enter_context(TestClient(app, headers=headers, raise_server_exceptions=False))

        yield start


@pytest.fixture
def client(open_app: Callable[..., TestClient]) -> TestClient:
    """The orchestrator, called by an editor."""
    return open_app()


@pytest.fixture
def persona(engine: Engine) -> str:
    """The persona that tasks name when they name none."""
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO personas (id, name, voice) VALUES ('default', 'Default', 'plain') ON CONFLICT DO NOTHING")
        )
    return "default"


@pytest.fixture
def post_id(engine: Engine, persona: str) -> int:
    """A post of 2026-01-02."""
    statement = text(
        "INSERT INTO posts (persona_id, hook, body, ts) "
        "VALUES (:persona, 'A hook', 'A body.', '2026-01-02T03:04:05Z') RETURNING id"
    )
    with engine.begin() as connection:
        return int(connection.execute(statement, {"persona": persona}).scalar_one())


@pytest.fixture
def signed() -> Callable[..., dict[str, Any]]:
    """What TestClient.post needs to deliver `body` as GitHub does; keywords replace headers, None leaves one out."""

    def arguments(body: bytes, event: str = "push", **replaced: str | None) -> dict[str, Any]:
        headers: dict[str, str | None] = {
            "Content-Type": "application/json",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": str(uuid.uuid4()),
            "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
        }
        headers |= {name.replace("_", "-"): value for name, value in replaced.items()}
        return {"content": body, "headers": {name: value for name, value in headers.items() if value is not None}}

    return arguments
