"""POST /webhooks/github: nothing acknowledged is lost, nothing forged enters, nothing is stored twice."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from threads_agent_dagster.api import inbox
from threads_agent_dagster.settings import Settings

HOOK = "/webhooks/github"
Signed = Callable[..., dict[str, Any]]
OpenApp = Callable[..., TestClient]


@pytest.fixture(params=["orchestrator", "achievements"])
def anybody(open_app: OpenApp, request: pytest.FixtureRequest) -> TestClient:
    """A caller without an API key, at each app that takes deliveries."""
    return open_app(request.param, role=None)


@pytest.fixture
def github(open_app: OpenApp) -> TestClient:
    """GitHub: has no API key, knows the secret."""
    return open_app("achievements", role=None)


def _rows(engine: Engine, statement: str = "SELECT event, status FROM inbox ORDER BY id") -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def _body(value: object) -> bytes:
    return json.dumps(value).encode()


def _push(sha: str = "a" * 40) -> bytes:
    commit = {
        "id": sha,
        "message": "feat: count every request",
        "timestamp": "2026-01-02T03:04:05Z",
        "author": {"name": "Ada", "email": "ada@example.org", "username": "ada"},
        "added": ["counter.py"],
        "removed": [],
        "modified": [],
    }
    return _body(
        {
            "ref": "refs/heads/main",
            "repository": {"full_name": "ada/engine", "default_branch": "main", "fork": False},
            "commits": [commit],
            "head_commit": commit,
            "deleted": False,
        }
    )


def test_a_signed_delivery_is_stored_with_its_work(anybody: TestClient, engine: Engine, signed: Signed) -> None:
    answer = anybody.post(HOOK, **signed(_push()))
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["duplicate"]) == ("received", False)
    assert _rows(engine, "SELECT body, headers->>'x-github-event' FROM inbox") == [(_push(), "push")]
    key = f"inbox:{answer.json()['id']}"
    assert _rows(engine, "SELECT asset, key, day::text FROM pending") == [("achievements", key, "2026-01-02")]


def test_a_push_delivered_twice_is_no_error_and_no_second_row(
    github: TestClient, engine: Engine, signed: Signed
) -> None:
    """The predecessor's failure obs-04."""
    delivery = signed(_push())
    first, again = github.post(HOOK, **delivery), github.post(HOOK, **delivery)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["duplicate"] is True
    assert again.json()["id"] == first.json()["id"]
    assert len(_rows(engine)) == len(_rows(engine, "SELECT key FROM pending")) == 1


def test_a_replay_under_another_id_or_event_is_a_duplicate(github: TestClient, engine: Engine, signed: Signed) -> None:
    github.post(HOOK, **signed(_push()))
    assert github.post(HOOK, **signed(_push())).json()["duplicate"] is True
    assert github.post(HOOK, **signed(_push(), event="release")).json()["duplicate"] is True
    assert len(_rows(engine)) == 1


def test_a_delivery_sent_by_twelve_at_once_is_stored_once(github: TestClient, engine: Engine, signed: Signed) -> None:
    delivery = signed(_push())
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: github.post(HOOK, **delivery), range(12)))
    assert {answer.status_code for answer in answers} == {202}
    assert sum(not answer.json()["duplicate"] for answer in answers) == 1
    assert len(_rows(engine)) == 1


@pytest.mark.parametrize("secret", [None, ""])
def test_without_a_secret_nothing_is_accepted(
    open_app: OpenApp, settings: Settings, engine: Engine, signed: Signed, secret: str | None
) -> None:
    """The predecessor's failure obs-06."""
    configured = None if secret is None else SecretStr(secret)
    github = open_app("achievements", None, settings.model_copy(update={"github_webhook_secret": configured}))
    for delivery in (signed(_push()), signed(_push(), X_Hub_Signature_256=None)):
        answer = github.post(HOOK, **delivery)
        assert answer.status_code == 503
        assert "GITHUB_WEBHOOK_SECRET" in answer.json()["detail"]
    assert _rows(engine) == []


WRONG_SIGNATURES = [
    None,
    "",
    "sha256=",
    "sha256=" + "0" * 64,
    "sha1=" + "0" * 40,
    "0" * 64,
    "sha256=" + "0" * 63,
    "sha256=" + "0" * 65,
    "sha256=é" + "0" * 63,
]


def test_a_wrong_signature_is_refused(
    github: TestClient, engine: Engine, signed: Signed, subtests: pytest.Subtests
) -> None:
    for signature in WRONG_SIGNATURES:
        with subtests.test(signature=str(signature)[:80]):
            delivery = signed(_push())
            delivery["headers"].pop("X-Hub-Signature-256")
            if signature is not None:
                delivery["headers"]["X-Hub-Signature-256"] = signature.encode("latin-1")
            answer = github.post(HOOK, **delivery)
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"
            assert _rows(engine) == []


def test_the_right_signature_of_another_body_is_refused(github: TestClient, engine: Engine, signed: Signed) -> None:
    delivery = signed(_push())
    body = bytearray(delivery["content"])
    for position in random.Random(7).sample(range(len(body)), 40):
        flipped = bytes(body[:position]) + bytes([body[position] ^ 1]) + bytes(body[position + 1 :])
        assert github.post(HOOK, **(delivery | {"content": flipped})).status_code == 401
    assert github.post(HOOK, **(delivery | {"content": delivery["content"][:-1]})).status_code == 401
    assert _rows(engine) == []


def test_two_signatures_are_none(github: TestClient, engine: Engine, signed: Signed) -> None:
    delivery = signed(_push())
    doubled = [*delivery["headers"].items(), ("X-Hub-Signature-256", "sha256=" + "0" * 64)]
    assert github.post(HOOK, content=delivery["content"], headers=doubled).status_code == 401
    assert _rows(engine) == []


def test_an_api_key_is_no_signature(open_app: OpenApp, engine: Engine, signed: Signed) -> None:
    admin = open_app("achievements", "admin")
    assert admin.post(HOOK, **signed(_push(), X_Hub_Signature_256=None)).status_code == 401
    assert _rows(engine) == []


NO_OBJECTS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"a": NaN}',
    b'{"a": "\xff"}',
    b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
]


def test_a_signed_body_that_is_no_json_object_is_not_stored(
    github: TestClient, engine: Engine, signed: Signed, subtests: pytest.Subtests
) -> None:
    for body in NO_OBJECTS:
        with subtests.test(body=str(body)[:80]):
            assert github.post(HOOK, **signed(body)).status_code == 422
            assert _rows(engine) == []


WRONG_HEADERS = [
    ("X_GitHub_Delivery", None),
    ("X_GitHub_Delivery", "one two"),
    ("X_GitHub_Delivery", "x" * 101),
    ("X_GitHub_Event", None),
    ("X_GitHub_Event", "Push!"),
    ("Content_Type", "application/x-www-form-urlencoded"),
]


def test_a_delivery_without_its_headers_is_named_unprocessable(
    github: TestClient, engine: Engine, signed: Signed, subtests: pytest.Subtests
) -> None:
    for header, value in WRONG_HEADERS:
        with subtests.test(header=str(header)[:80]):
            answer = github.post(HOOK, **signed(_push(), **{header: value}))
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["field"] == header.replace("_", "-")
            assert _rows(engine) == []


def test_more_than_github_sends_is_too_large(github: TestClient, engine: Engine, signed: Signed) -> None:
    body = _body({"padding": "x" * (25 * 1024 * 1024)})
    answer = github.post(HOOK, **signed(body))
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    chunks = signed(body) | {"content": (body[at : at + 65536] for at in range(0, len(body), 65536))}
    assert github.post(HOOK, **chunks).status_code == 413
    assert _rows(engine) == []


@pytest.mark.parametrize("event", ["ping", "star", "an_event_of_the_future"])
def test_an_event_that_is_no_work_is_stored_as_ignored_with_its_reason(
    github: TestClient, engine: Engine, signed: Signed, event: str
) -> None:
    answer = github.post(HOOK, **signed(_body({"zen": "Design for failure.", "hook_id": 1}), event=event))
    assert answer.status_code == 202
    assert answer.json()["status"] == "ignored"
    assert answer.json()["reason"]
    assert _rows(engine) == [(event, "ignored")]
    assert _rows(engine, "SELECT key FROM pending") == []


def test_a_signed_payload_that_is_not_its_events_is_kept_as_work(
    github: TestClient, engine: Engine, signed: Signed
) -> None:
    answer = github.post(HOOK, **signed(_body({"action": "closed"}), event="pull_request"))
    assert (answer.status_code, answer.json()["status"]) == (202, "received")
    assert len(_rows(engine, "SELECT key FROM pending")) == 1


def test_characters_that_no_table_holds_are_kept_in_the_raw_body(
    github: TestClient, engine: Engine, signed: Signed
) -> None:
    body = rb'{"zen": "a\u0000b\ud800"}'
    assert github.post(HOOK, **signed(body, event="ping")).status_code == 202
    assert _rows(engine, "SELECT body FROM inbox") == [(body,)]


def test_a_delivery_is_held_while_the_database_restarts(
    github: TestClient, engine: Engine, signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, failures = inbox._store_once, iter([True, True])

    def fail_twice(*arguments: Any) -> Any:
        if next(failures, False):
            raise OperationalError("SELECT 1", {}, Exception("the database system is starting up"))
        return store(*arguments)

    monkeypatch.setattr(inbox, "_store_once", fail_twice)
    monkeypatch.setattr(inbox, "RETRY_SECONDS", 0)
    assert github.post(HOOK, **signed(_push())).status_code == 202
    assert len(_rows(engine)) == 1


def test_connections_that_a_restart_cut_are_replaced(github: TestClient, engine: Engine, signed: Signed) -> None:
    assert github.post(HOOK, **signed(_push())).status_code == 202
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    with engine.connect() as connection:
        connection.execute(text(f"{cut} AND pid <> pg_backend_pid()"))
    assert github.post(HOOK, **signed(_push("b" * 40))).status_code == 202
    assert len(_rows(engine)) == 2


def test_a_delivery_that_cannot_be_stored_is_not_acknowledged(
    open_app: OpenApp, settings: Settings, signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "HOLD_SECONDS", 0)
    nowhere = SecretStr("postgresql://nobody@127.0.0.1:1/nothing")
    github = open_app("achievements", None, settings.model_copy(update={"database_url": nowhere}))
    answer = github.post(HOOK, **signed(_push()))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "127.0.0.1" not in answer.text


@pytest.mark.shared_data
def test_real_deliveries_twice_and_shuffled_with_one_forged(
    github: TestClient, engine: Engine, signed: Signed, shared_data: Path
) -> None:
    files = sorted((shared_data / "github_webhooks").glob("*.json"))
    assert files
    deliveries = [signed(file.read_bytes(), event=file.name.partition("__")[0]) for file in files]
    waiting = deliveries * 2
    random.Random(3).shuffle(waiting)
    answers = [github.post(HOOK, **delivery) for delivery in waiting]
    forged = deliveries[0] | {"content": deliveries[0]["content"] + b" "}
    assert github.post(HOOK, **forged).status_code == 401
    assert {answer.status_code for answer in answers} == {202}
    different = {file.read_bytes() for file in files}
    assert {body for (body,) in _rows(engine, "SELECT body FROM inbox")} == different
    assert len(_rows(engine)) == sum(not answer.json()["duplicate"] for answer in answers) == len(different)
    received = _rows(engine, "SELECT 'inbox:' || id FROM inbox WHERE status = 'received' ORDER BY id")
    assert received
    assert sorted(received) == sorted(_rows(engine, "SELECT key FROM pending WHERE asset = 'achievements'"))
    assert _rows(engine, "SELECT id FROM inbox WHERE status = 'ignored' AND reason IS NULL") == []
