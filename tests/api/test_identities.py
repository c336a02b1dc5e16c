"""/me: read and written whole, refused with the field named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient


@pytest.fixture
def client(open_app: Callable[..., TestClient]) -> TestClient:
    return open_app("achievements")


def test_nobody_is_me_until_somebody_says_so(client: TestClient) -> None:
    assert client.get("/me").json() == {"emails": [], "logins": []}
    written = client.put("/me", json={"emails": ["Me@Example.org", "me@example.org"], "logins": ["@Octo"]})
    assert written.json() == {"emails": ["me@example.org"], "logins": ["octo"]}
    assert client.get("/me").json() == written.json()
    assert client.put("/me", json={"emails": [], "logins": ["cat"]}).json() == {"emails": [], "logins": ["cat"]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"emails": ["octo"], "logins": []}, "emails.0"),
        ({"emails": [], "logins": ["me@example.org"]}, "logins.0"),
        ({"emails": [], "logins": ["a\x00b"]}, "logins.0"),
        ({"emails": []}, "logins"),
        ({"emails": [], "logins": [], "name": "Me"}, "name"),
    ],
)
def test_what_is_wrong_is_named_and_not_stored(client: TestClient, body: dict[str, Any], field: str) -> None:
    answer = client.put("/me", json=body)
    assert answer.status_code == 422
    assert field in answer.text
    assert client.get("/me").json() == {"emails": [], "logins": []}


def test_a_viewer_reads_and_does_not_write(open_app: Callable[..., TestClient]) -> None:
    viewer = open_app("achievements", role="viewer")
    assert viewer.get("/me").status_code == 200
    assert viewer.put("/me", json={"emails": [], "logins": []}).status_code == 403
