"""Keys, scopes, and what every answer carries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from threads_agent_dagster.api.apps import ROUTERS, create_app
from threads_agent_dagster.api.security import OPEN_PATHS
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work.api_keys import create

OpenApp = Callable[..., TestClient]
TASK = {"type": "content.generation", "payload": {"topic": "Shipping every day"}}
EDITOR_WRITES = {"POST": "editor", "PUT": "editor", "DELETE": "admin"}


def _operations(client: TestClient) -> list[tuple[str, str]]:
    """Every operation that the app describes, with its path parameters filled in."""
    paths = client.get("/openapi.json").json()["paths"]
    return [
        (method.upper(), path.replace("{", "").replace("_id}", "").replace("}", "").replace("/task", "/task"))
        for path, operations in paths.items()
        for method in operations
        if path not in OPEN_PATHS
    ]


@pytest.fixture(params=sorted(ROUTERS))
def name(request: pytest.FixtureRequest) -> str:
    """Each app."""
    return str(request.param)


def test_no_operation_answers_without_a_key(open_app: OpenApp, name: str) -> None:
    anybody = open_app(name, role=None)
    for method, path in [*_operations(anybody), ("GET", "/nowhere")]:
        answer = anybody.request(method, path, content=b"{")
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_viewer_only_reads(open_app: OpenApp, name: str) -> None:
    viewer = open_app(name, role="viewer")
    for method, path in _operations(viewer):
        answer = viewer.request(method, path, json={})
        if method == "GET":
            assert answer.status_code not in (401, 403), (method, path)
        else:
            assert answer.status_code == 403, (method, path)


def test_an_editor_deletes_nothing(open_app: OpenApp, name: str) -> None:
    editor = open_app(name, role="editor")
    for method, path in _operations(editor):
        forbidden = editor.request(method, path, json={}).status_code == 403
        assert forbidden == (method == "DELETE"), (method, path)


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_a_key_is_taken_from_either_header(
    open_app: OpenApp, key: Callable[[str], str], persona: str, header: str
) -> None:
    value = key("editor")
    headers = {header: f"Bearer {value}" if header == "Authorization" else value}
    assert open_app(role=None).post("/task", json=TASK, headers=headers).status_code == 202


def test_keys_that_are_not_good_are_refused(open_app: OpenApp, engine: Engine, key: Callable[[str], str]) -> None:
    anybody = open_app(role=None)
    good, other = key("viewer"), key("viewer")
    secret = good.split("_", 2)[2]
    expired = create(engine, "expired", ["admin"], datetime.now(UTC) - timedelta(seconds=1))
    revoked = create(engine, "revoked", ["admin"])
    with engine.begin() as connection:
        connection.execute(text("UPDATE api_keys SET revoked_at = now() WHERE name = 'revoked'"))
    bad = [
        good[:-1], good + "x", good.upper(), f"{other.rsplit('_', 1)[0]}", f"ta_{'0' * 12}_{secret}", "ta__" + secret,
        "ta_' OR true --_x", "", "ta", "ta_", "x" * 10_000, expired, revoked, "admin", "ta_%_%", "ta_\u0663_x",
    ]  # fmt: skip
    for token in bad:
        for headers in (
            {"X-API-Key": token},
            {"Authorization": f"Bearer {token}"},
            {"Authorization": f"Basic {token}"},
        ):
            encoded = {name.encode(): value.encode() for name, value in headers.items()}
            assert anybody.get("/tasks/1", headers=encoded).status_code == 401, headers
    doubled = [("X-API-Key", good), ("X-API-Key", good)]
    assert anybody.get("/tasks/1", headers=doubled).status_code == 401
    assert anybody.get("/tasks/1", headers={"X-API-Key": good}).status_code == 404


def test_every_answer_carries_the_security_headers(client: TestClient) -> None:
    for path in ("/health", "/nowhere", "/tasks/1", "/metrics"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"


def test_a_failure_of_ours_tells_nothing_of_the_inside(client: TestClient, engine: Engine, persona: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE tasks RENAME TO hidden"))
    answer = client.post("/task", json=TASK)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    for inside in ("tasks", "psycopg", "SELECT", "INSERT", "Traceback"):
        assert inside not in answer.text


def test_each_route_is_served_by_one_function(settings: Settings, name: str) -> None:
    routes = [
        (method, route.path)
        for route in create_app(name, settings).routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    ]
    assert len(routes) == len(set(routes))
