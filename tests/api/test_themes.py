"""/achievements/{id}/similar and /analytics/themes: what is about the same thing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event, text

from threads_agent_dagster.work import embeddings, themes
from threads_agent_dagster.work.drain import Origin, drain

ORIGIN = Origin("run-1", "1")
ORDERS = [f"Migrate the database of orders, part {number}" for number in range(5)]
LOGIN = [f"Let users log in with a passkey, part {number}" for number in range(4)]


@pytest.fixture
def client(open_app: Callable[..., TestClient]) -> TestClient:
    return open_app("achievements", "editor")


@pytest.fixture
def ids(client: TestClient) -> list[int]:
    return [
        client.post("/achievements/", json={"title": t, "category": "feature"}).json()["id"] for t in ORDERS + LOGIN
    ]


def _understand(engine: Engine) -> None:
    drain(engine, embeddings.job(), None, ORIGIN)
    drain(engine, themes.job(), None, ORIGIN)


def test_what_is_alike_is_named_with_how_much(client: TestClient, engine: Engine, ids: list[int]) -> None:
    unknown = client.get(f"/achievements/{ids[0]}/similar").json()
    assert unknown == {"id": ids[0], "model": None, "items": None}
    _understand(engine)
    found = client.get(f"/achievements/{ids[0]}/similar").json()
    assert {one["id"] for one in found["items"]} == set(ids[1:5])
    assert all(one["near_duplicate"] == (one["similarity"] >= 0.9) for one in found["items"])
    assert any(one["near_duplicate"] for one in found["items"])
    assert found["items"] == sorted(found["items"], key=lambda one: -one["similarity"])
    everything = client.get(f"/achievements/{ids[0]}/similar?min_similarity=-1&limit=3").json()
    assert len(everything["items"]) == 3


def test_a_question_without_sense_names_its_field(client: TestClient, ids: list[int]) -> None:
    for query in ("min_similarity=2", "min_similarity=nan", "limit=0", "limit=101"):
        answer = client.get(f"/achievements/{ids[0]}/similar?{query}")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"].endswith(query.partition("=")[0])
    assert client.get("/achievements/999999/similar").status_code == 404


def test_mixed_models_are_a_conflict_with_its_remedy(client: TestClient, engine: Engine, ids: list[int]) -> None:
    _understand(engine)
    with engine.begin() as connection:
        statement = text("UPDATE achievement_embeddings SET model = 'another' WHERE achievement_id = :id")
        connection.execute(statement, {"id": ids[0]})
    answer = client.get(f"/achievements/{ids[1]}/similar")
    assert answer.status_code == 409
    assert "materialise the asset" in answer.json()["detail"]


def test_themes_have_figures_and_members(client: TestClient, engine: Engine, ids: list[int]) -> None:
    assert client.get("/analytics/themes").json() == {"items": []}
    _understand(engine)
    with engine.begin() as connection:
        statement = "UPDATE achievements SET impact_score = 40, portfolio_ready = true WHERE id = :id"
        connection.execute(text(statement), {"id": ids[0]})
    orders, login = client.get("/analytics/themes").json()["items"]
    assert (orders["achievements"], orders["avg_impact"], orders["portfolio_ready"]) == (5, 40.0, 1)
    assert (login["achievements"], login["avg_impact"], login["time_saved_hours"]) == (4, None, None)
    assert "orders" in orders["words"]
    listed = client.get(f"/achievements/?theme={login['id']}").json()["items"]
    assert {one["title"] for one in listed} == set(LOGIN)
    assert client.get("/achievements/?theme=0").status_code == 422


def test_neither_costs_statements_per_achievement(client: TestClient, engine: Engine, ids: list[int]) -> None:
    _understand(engine)
    seen: list[str] = []
    app_engine = client.app.state.engine  # type: ignore[attr-defined]
    event.listen(app_engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
    client.get(f"/achievements/{ids[0]}/similar?min_similarity=-1")
    assert sum("achievement" in statement for statement in seen) == 4  # the row, the models, its vector, the nearest
    seen.clear()
    client.get("/analytics/themes")
    assert sum("achievement" in statement for statement in seen) == 1
