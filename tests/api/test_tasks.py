"""POST /task and GET /tasks/{id}."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

CONTENT = {"type": "content.generation", "payload": {"topic": "Shipping every day"}}


@pytest.fixture(autouse=True)
def _default_persona(persona: str) -> None:
    """Tasks name it."""


def _all(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def test_a_task_and_its_work_are_stored_together(client: TestClient, engine: Engine) -> None:
    answer = client.post("/task", json=CONTENT | {"metadata": {"priority": "high"}})
    assert answer.status_code == 202
    task_id = answer.json()["id"]
    assert answer.headers["location"] == f"/tasks/{task_id}"
    assert answer.json()["status"] == "queued"
    pending = "SELECT asset, key, day = utc_day(created_at), pending.priority FROM pending, tasks"
    assert _all(engine, pending) == [("posts", f"task:{task_id}", True, 0)]


def test_a_task_tells_what_was_asked_and_what_became_of_it(client: TestClient, engine: Engine) -> None:
    task_id = client.post("/task", json=CONTENT).json()["id"]
    task = client.get(f"/tasks/{task_id}").json()
    assert task["payload"] == {"topic": "Shipping every day", "persona_id": "default"}
    assert (task["status"], task["priority"], task["result"], task["error"]) == ("queued", "medium", None, None)
    with engine.begin() as connection:
        post = text(
            "INSERT INTO posts (persona_id, hook, body, task_id) VALUES ('default', 'h', 'b', :id) RETURNING id"
        )
        post_id = connection.execute(post, {"id": task_id}).scalar_one()
        connection.execute(text("UPDATE tasks SET status = 'completed', completed_at = now()"))
    assert client.get(f"/tasks/{task_id}").json()["result"] == {"post_id": post_id}


def test_a_failed_attempt_shows_its_error_while_more_are_due(client: TestClient, engine: Engine) -> None:
    task_id = client.post("/task", json=CONTENT).json()["id"]
    with engine.begin() as connection:
        connection.execute(text("UPDATE pending SET error = 'the model did not answer'"))
    task = client.get(f"/tasks/{task_id}").json()
    assert (task["status"], task["error"]) == ("queued", "the model did not answer")


def test_an_emotion_task_belongs_to_the_day_of_its_post(client: TestClient, engine: Engine, post_id: int) -> None:
    answer = client.post("/task", json={"type": "emotion.analysis", "payload": {"post_id": post_id}})
    assert answer.status_code == 202
    found = _all(engine, "SELECT asset, day::text FROM pending WHERE key LIKE 'task:%'")
    assert found == [("emotion_trajectories", "2026-01-02")]


def test_an_achievement_task_belongs_to_the_day_of_completion(client: TestClient, engine: Engine) -> None:
    insert = text(
        "INSERT INTO achievements (title, category, source_type, completed_at) "
        "VALUES ('t', 'feature', 'manual', '2026-01-02T23:59:59Z') RETURNING id"
    )
    with engine.begin() as connection:
        achievement_id = connection.execute(insert).scalar_one()
    body = {"type": "achievement.analysis", "payload": {"achievement_id": achievement_id}}
    assert client.post("/task", json=body).status_code == 202
    waits = "SELECT day::text FROM pending WHERE asset = 'achievements'"
    assert _all(engine, waits) == [("2026-01-02",)]


INVALID_TASKS = [
    ({"type": "content.generation", "payload": {}}, "payload.topic"),
    ({"type": "content.generation", "payload": {"topic": "  "}}, "payload.topic"),
    ({"type": "content.generation", "payload": {"topic": "x" * 501}}, "payload.topic"),
    ({"type": "content.generation", "payload": {"topic": "x", "persona_id": "nobody"}}, "payload.persona_id"),
    ({"type": "content.generation", "payload": {"topic": "x", "persona": "default"}}, "payload.persona"),
    ({"type": "content.generation", "payload": {"topic": "x"}, "status": "completed"}, "status"),
    (
        {"type": "content.generation", "payload": {"topic": "x"}, "metadata": {"priority": "urgent"}},
        "metadata.priority",
    ),
    ({"type": "content.deletion", "payload": {}}, "body"),
    ({"type": "emotion.analysis", "payload": {"post_id": 404}}, "payload.post_id"),
    ({"type": "emotion.analysis", "payload": {"post_id": 0}}, "payload.post_id"),
    ({"type": "emotion.analysis", "payload": {"post_id": "1; DROP TABLE posts"}}, "payload.post_id"),
    ({"type": "achievement.analysis", "payload": {"achievement_id": 404}}, "payload.achievement_id"),
]


def test_what_is_not_valid_is_named_and_not_stored(
    client: TestClient, engine: Engine, subtests: pytest.Subtests
) -> None:
    for body, field in INVALID_TASKS:
        with subtests.test(body=str(body)[:80]):
            answer = client.post("/task", json=body)
            assert answer.status_code == 422
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["errors"][0]["field"] == field
            assert _all(engine, "SELECT id FROM tasks") == _all(engine, "SELECT key FROM pending") == []


BROKEN_JSON = [
    rb'{"type": "content.generation", "payload": {"topic": "a\u0000b"}}',
    rb'{"type": "content.generation", "payload": {"topic": "a\ud800b"}}',
    rb'{"type": "content.generation", "payload": {"topic": NaN}}',
    rb'{"type": "content.generation", "payload": {"topic": -Infinity}}',
    b'{"type": "emotion.analysis", "payload": {"post_id": ' + b"9" * 400 + b"}}",
    b'{"type": "emotion.analysis", "payload": {"post_id": ' + b"9" * 5000 + b"}}",
    b'{"type": "emotion.analysis", "payload": {"post_id": 1e999}}',
    b'{"type": "content.generation", "payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"type": "content.generation", "payload": ' + b'{"a":' * 33 + b"1" + b"}" * 33 + b"}",
    b'{"type": "content.generation"',
    b'{"type": "\xff"}',
    b"",
    b"null",
    b"[]",
]


def test_what_breaks_json_is_unprocessable(client: TestClient, engine: Engine, subtests: pytest.Subtests) -> None:
    for body in BROKEN_JSON:
        with subtests.test(body=str(body)[:80]):
            answer = client.post("/task", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 422
            assert answer.json()["errors"]
            assert _all(engine, "SELECT id FROM tasks") == []


def test_an_unknown_task_is_not_found(client: TestClient) -> None:
    assert client.get("/tasks/404").status_code == 404
    assert client.get(f"/tasks/{2**63}").status_code == 422


def test_under_one_idempotency_key_a_task_is_made_once(client: TestClient, engine: Engine) -> None:
    key = {"Idempotency-Key": "order-1"}
    first, again = (client.post("/task", json=CONTENT, headers=key) for _ in range(2))
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    assert again.headers["location"] == first.headers["location"]
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert len(_all(engine, "SELECT id FROM tasks")) == 1


def test_an_idempotency_key_holds_its_caller_to_the_body(client: TestClient) -> None:
    key = {"Idempotency-Key": "order-1"}
    client.post("/task", json=CONTENT, headers=key)
    other = client.post("/task", json={"type": "content.generation", "payload": {"topic": "another"}}, headers=key)
    assert other.status_code == 422
    assert other.json()["errors"][0]["field"] == "Idempotency-Key"


def test_idempotency_keys_of_two_callers_do_not_meet(open_app: Callable[..., TestClient], engine: Engine) -> None:
    for caller in (open_app(), open_app()):
        answer = caller.post("/task", json=CONTENT, headers={"Idempotency-Key": "same"})
        assert "idempotency-replayed" not in answer.headers
    assert len(_all(engine, "SELECT id FROM tasks")) == 2


def test_a_refused_request_leaves_its_idempotency_key_free(client: TestClient) -> None:
    key = {"Idempotency-Key": "order-1"}
    wrong = {"type": "emotion.analysis", "payload": {"post_id": 404}}
    assert client.post("/task", json=wrong, headers=key).status_code == 422
    assert client.post("/task", json=CONTENT, headers=key).status_code == 202


def test_a_request_under_way_is_a_conflict(client: TestClient, engine: Engine) -> None:
    key = {"Idempotency-Key": "order-1"}
    with engine.begin() as connection, ThreadPoolExecutor(1) as pool:
        connection.execute(text("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE"))
        first = pool.submit(client.post, "/task", json=CONTENT, headers=key)
        waits = text("SELECT count(*) FROM pg_locks WHERE relation = 'tasks'::regclass AND NOT granted")
        with engine.connect() as watcher:
            while not watcher.execute(waits).scalar_one():
                watcher.rollback()
        assert client.post("/task", json=CONTENT, headers=key).status_code == 409
        connection.rollback()
        assert first.result().status_code == 202


def test_ten_callers_at_once_make_one_task(client: TestClient, engine: Engine) -> None:
    with ThreadPoolExecutor(10) as pool:
        answers = list(
            pool.map(lambda _: client.post("/task", json=CONTENT, headers={"Idempotency-Key": "k"}), range(10))
        )
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert len(_all(engine, "SELECT id FROM tasks")) == 1
