"""/content/posts and their arcs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine, insert, text

from tests.llm_server import KEY, LLMServer, rate
from threads_agent_dagster.db.tables import emotion_segments, emotion_trajectories, emotion_transitions
from threads_agent_dagster.settings import Settings


def _pending(engine: Engine) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text("SELECT asset, key, day::text FROM pending"))]


@pytest.fixture
def quiet(engine: Engine, post_id: int) -> int:
    """A post whose arc is not due."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM pending"))
    return post_id


def test_the_newest_post_stands_first(client: TestClient, engine: Engine, post_id: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO posts (persona_id, hook, body, ts) VALUES ('default', 'Newer', '', '2026-01-05T00:00:00Z')"
            )
        )
    page = client.get("/content/posts?per_page=1").json()
    assert [item["hook"] for item in page["items"]] == ["Newer"]
    assert page["items"][0]["engagement_rate"] is None
    rest = client.get(f"/content/posts?cursor={page['next']}").json()
    assert ([item["id"] for item in rest["items"]], rest["next"]) == ([post_id], None)
    assert len(client.get("/content/posts?until=2026-01-02&persona_id=default").json()["items"]) == 1
    assert client.get("/content/posts?persona_id=nobody").json()["items"] == []


def test_an_edited_post_makes_its_arc_due(client: TestClient, engine: Engine, quiet: int) -> None:
    edited = client.put(f"/content/posts/{quiet}", json={"hook": "Another hook"})
    assert edited.status_code == 200
    assert (edited.json()["hook"], edited.json()["body"]) == ("Another hook", "A body.")
    assert edited.json()["edited_by"] == "test editor"
    assert _pending(engine) == [("emotion_trajectories", f"post:{quiet}", "2026-01-02")]


def test_an_edit_of_an_older_version_is_refused(client: TestClient, post_id: int) -> None:
    path = f"/content/posts/{post_id}"
    seen = {"If-Match": client.get(path).headers["etag"]}
    assert client.put(path, json={"body": "First"}, headers=seen).status_code == 200
    assert client.put(path, json={"body": "Second"}, headers=seen).status_code == 412


NOT_EDITABLE = [
    {},
    {"hook": ""},
    {"hook": None},
    {"body": "x" * 50_001},
    {"engagement_rate": 1.0},
    {"ts": "2026-01-01T00:00:00Z"},
]


def test_only_its_text_can_be_edited(client: TestClient, engine: Engine, quiet: int, subtests: pytest.Subtests) -> None:
    for body in NOT_EDITABLE:
        with subtests.test(body=str(body)[:80]):
            assert client.put(f"/content/posts/{quiet}", json=body).status_code == 422
            assert _pending(engine) == []


def test_the_stored_arc_is_what_is_answered(client: TestClient, engine: Engine, post_id: int) -> None:
    path = f"/content/posts/{post_id}/emotions"
    assert client.get(path).status_code == 404
    arc = {
        "post_id": post_id, "persona_id": "default", "day": "2026-01-02", "content_hash": "0" * 64, "segment_count": 2,
        "trajectory_type": "rising", "joy_avg": 0.25, "sentiment_compound": 0.5, "dominant_emotion": "joy",
        "emotional_variance": 0.1, "peaks": [1], "valleys": [], "confidence": 0.75, "scorer_version": "test@1",
        "run_id": "a run",
    }  # fmt: skip
    with engine.begin() as connection:
        arc_id = connection.execute(insert(emotion_trajectories).values(arc).returning(emotion_trajectories.c.id))
        trajectory_id = arc_id.scalar_one()
        segments = [
            {"trajectory_id": trajectory_id, "index": index, "text": f"Part {index}.", "joy": index / 2}
            for index in (1, 0)
        ]
        connection.execute(insert(emotion_segments), segments)
        connection.execute(
            insert(emotion_transitions).values(
                trajectory_id=trajectory_id, from_index=0, to_index=1, intensity_change=0.5, type="intensifying"
            )
        )
    answer = client.get(path).json()
    assert [(one["index"], one["emotions"]["joy"]) for one in answer["segments"]] == [(0, 0.0), (1, 0.5)]
    assert (answer["emotions"]["joy"], answer["emotions"]["anger"]) == (0.25, None)
    assert answer["segments"][0]["sentiment"] is None
    assert (answer["sentiment"]["compound"], answer["variance"], answer["peaks"]) == (0.5, 0.1, [1])
    assert (answer["scorer_version"], answer["run_id"]) == ("test@1", "a run")
    assert answer["transitions"][0]["type"] == "intensifying"


def test_a_text_is_analysed_and_not_stored(
    open_app: Callable[..., TestClient], settings: Settings, engine: Engine
) -> None:
    client = open_app(settings=settings.model_copy(update={"emotion_scorer": "vader"}))
    text_of = "\n\n".join(["It went well.", "Then it broke.", "I am furious and outraged!"])
    arc = client.post("/emotions/analyze", json={"text": text_of}).json()
    assert [segment["index"] for segment in arc["segments"]] == list(range(len(arc["segments"])))
    assert arc["scorer_version"].startswith("vader@")
    assert arc == client.post("/emotions/analyze", json={"text": text_of}).json()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM emotion_trajectories")).scalar_one() == 0


def test_a_text_that_a_language_model_analyses_is_held_to_the_budget(
    open_app: Callable[..., TestClient], settings: Settings
) -> None:
    with LLMServer(rate) as server:
        asking = {"emotion_scorer": "llm", "openai_api_key": SecretStr(KEY), "openai_base_url": server.url}
        asking |= {"openai_model": "m"}
        client = open_app(settings=settings.model_copy(update=asking))
        for _ in range(2):
            assert client.post("/emotions/analyze", json={"text": "I am happy!"}).json()["emotions"]["joy"] == 0.9
        assert len(server.calls) == 1, "the same text is paid once"
        client = open_app(settings=settings.model_copy(update=asking | {"llm_tokens_per_day": 0}))
        assert client.post("/emotions/analyze", json={"text": "Another one."}).status_code == 503
        assert len(server.calls) == 1


NO_TEXTS = [{}, {"text": ""}, {"text": "x" * 50_001}, {"text": 1}, {"text": "x", "scorer": "y"}]


def test_what_is_no_text_is_not_analysed(client: TestClient, subtests: pytest.Subtests) -> None:
    for body in NO_TEXTS:
        with subtests.test(body=str(body)[:80]):
            assert client.post("/emotions/analyze", json=body).status_code == 422
