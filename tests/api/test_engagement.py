"""POST /content/posts/{id}/engagement."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import Engine, text


def _snapshot(event_id: str, impressions: int = 100, engagements: int = 7) -> dict[str, Any]:
    return {"event_id": event_id, "impressions": impressions, "engagements": engagements}


def _rows(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def test_a_snapshot_counts_once_and_makes_the_posts_engagement_due(
    client: TestClient, engine: Engine, post_id: int
) -> None:
    path = f"/content/posts/{post_id}/engagement"
    first = client.post(path, json={"snapshots": [_snapshot("a"), _snapshot("b", 200, 9)]})
    assert first.json() == {"post_id": post_id, "recorded": 2, "duplicates": 0}
    assert client.post(path, json={"snapshots": [_snapshot("a")]}).json()["duplicates"] == 1
    assert client.post(path, json={"snapshots": [_snapshot("a", 101), _snapshot("c")]}).status_code == 409
    assert len(_rows(engine, "SELECT id FROM engagement_snapshots")) == 2
    due = _rows(engine, "SELECT key, day::text FROM pending WHERE asset = 'post_engagement'")
    assert due == [(f"post:{post_id}", "2026-01-02")]


def test_figures_that_cannot_be_are_refused(client: TestClient, engine: Engine, post_id: int) -> None:
    path = f"/content/posts/{post_id}/engagement"
    future = _snapshot("a") | {"observed_at": "8999-01-01T00:00:00Z"}
    for wrong in ([], [_snapshot("a", -1)], [_snapshot("a", 1, -1)], [_snapshot("a")] * 2, [_snapshot("")], [future]):
        assert client.post(path, json={"snapshots": wrong}).status_code == 422
    assert client.post("/content/posts/404404/engagement", json={"snapshots": [_snapshot("a")]}).status_code == 404
    assert _rows(engine, "SELECT id FROM engagement_snapshots") == []
