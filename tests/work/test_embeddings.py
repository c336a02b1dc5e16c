"""One vector per achievement, of one model; the nearest are found among those that are there."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, text

from threads_agent_dagster.db import themes as themes_db
from threads_agent_dagster.domain.embeddings import DIMENSIONS, MODEL_ID, embed
from threads_agent_dagster.errors import Conflict
from threads_agent_dagster.work import embeddings, themes
from threads_agent_dagster.work.backfills import begin
from threads_agent_dagster.work.drain import Drained, Origin, drain

ORIGIN = Origin("run-1", embeddings.CODE_VERSION)
TITLES = [
    "Migrate the database of orders",
    "Migrate the orders' database",
    "Let users log in with a passkey",
    "Draw the chart in the dark colour scheme",
]


@pytest.fixture
def ids(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        return [_add(connection, title) for title in TITLES]


def _add(connection: Connection, title: str) -> int:
    statement = "INSERT INTO achievements (title, category, source_type) VALUES (:title, 'feature', 'git') RETURNING id"
    return int(connection.execute(text(statement), {"title": title}).scalar_one())


def _drain(engine: Engine) -> Drained:
    return drain(engine, embeddings.job(), None, ORIGIN)


def _waiting(engine: Engine, asset: str = "achievement_embeddings") -> list[str]:
    statement = text("SELECT key FROM pending WHERE asset = :asset AND dead_at IS NULL ORDER BY key")
    with engine.connect() as connection:
        return list(connection.execute(statement, {"asset": asset}).scalars())


def _mark(engine: Engine, *, force: bool = False) -> int:
    return begin(engine, embeddings.job(), None, uuid4().hex, force=force, lease=0)


def _do(engine: Engine, statement: str, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), values)


def test_stored_vectors_are_those_of_the_texts(engine: Engine, ids: list[int]) -> None:
    _do(engine, "UPDATE achievements SET description = 'In the browser.' WHERE id = :id", id=ids[3])
    assert _drain(engine).stored == len(ids)
    with engine.connect() as connection:
        stored = themes_db.read_embedded(connection)
        models = connection.execute(text("SELECT DISTINCT model, dimensions FROM achievement_embeddings")).all()
    assert (stored.ids, stored.titles, models) == (ids, TITLES, [(MODEL_ID, DIMENSIONS)])
    expected = embed([*TITLES[:3], f"{TITLES[3]}\nIn the browser."])
    np.testing.assert_allclose(stored.vectors, expected, atol=2e-4)


def test_only_another_text_asks_for_another_vector(engine: Engine, ids: list[int]) -> None:
    _drain(engine)
    _do(engine, "UPDATE achievements SET portfolio_ready = true, impact_score = 5")
    assert _waiting(engine) == []
    _do(engine, "UPDATE achievements SET title = 'Another' WHERE id = :id", id=ids[0])
    assert _waiting(engine) == [f"achievement:{ids[0]}"]


def test_a_text_that_moved_meanwhile_is_done_again(engine: Engine, ids: list[int]) -> None:
    job = embeddings.job()
    with engine.begin() as connection:
        claimed = [type("Row", (), {"key": f"achievement:{id_}"}) for id_ in ids]
        results = job.compute(job.load(connection, claimed))  # type: ignore[arg-type]
        connection.execute(text("UPDATE achievements SET title = 'Another' WHERE id = :id"), {"id": ids[0]})
        assert job.store(connection, results, ORIGIN) == {f"achievement:{ids[0]}"}  # type: ignore[arg-type]


def test_the_nearest_come_first_with_their_cosine(engine: Engine, ids: list[int]) -> None:
    with engine.connect() as connection:
        assert embeddings.similar(connection, ids[0], at_least=-1, limit=10) is None
    _drain(engine)
    with engine.connect() as connection:
        found = embeddings.similar(connection, ids[0], at_least=-1, limit=10)
        assert found is not None
        cosines = dict(zip(ids[1:], (embed(TITLES[1:]) @ embed(TITLES[:1])[0]).tolist(), strict=True))
        assert [row["id"] for row in found.rows] == sorted(cosines, key=lambda id_: -cosines[id_])
        assert [row["similarity"] for row in found.rows] == pytest.approx(
            sorted(cosines.values(), reverse=True), abs=1e-3
        )
        near = embeddings.similar(connection, ids[0], at_least=0.8, limit=10)
        assert near is not None
        assert [row["id"] for row in near.rows] == [ids[1]]
        connection.execute(text("UPDATE achievements SET deleted_at = now() WHERE id = :id"), {"id": ids[1]})
        gone = embeddings.similar(connection, ids[0], at_least=0.8, limit=10)
        assert gone is not None
        assert gone.rows == []


def test_mixed_models_are_refused_with_the_remedy_that_rights_them(engine: Engine, ids: list[int]) -> None:
    _drain(engine)
    statement = """UPDATE achievement_embeddings SET model = 'another', dimensions = 2, embedding = '[0.6,0.8]',
        code_version = '1/another' WHERE achievement_id = :id"""
    _do(engine, statement, id=ids[0])
    with engine.connect() as connection, pytest.raises(Conflict, match="materialise the asset"):
        embeddings.similar(connection, ids[1], at_least=0, limit=1)
    assert drain(engine, themes.job(), None, ORIGIN).postponed == 1
    assert _mark(engine) == 1
    assert _drain(engine).stored == 1
    with engine.connect() as connection:
        assert embeddings.similar(connection, ids[1], at_least=0, limit=1) is not None


def test_what_is_missing_or_of_another_version_is_stale(engine: Engine, ids: list[int]) -> None:
    _drain(engine)
    assert _mark(engine) == 0
    _do(engine, "DELETE FROM achievement_embeddings WHERE achievement_id = :id", id=ids[0])
    assert _mark(engine) == 1
    assert _mark(engine, force=True) == len(ids)


def test_themes_follow_the_vectors(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(5):
            _add(connection, f"Migrate the database of orders, part {number}")
            _add(connection, f"Let users log in with a passkey, part {number}")
    _drain(engine)
    assert _waiting(engine, "achievement_themes") == [themes.KEY]
    assert drain(engine, themes.job(), None, ORIGIN).stored == 1
    with engine.connect() as connection:
        found = themes_db.figures(connection)
    assert sorted(one["achievements"] for one in found) == [5, 5]
    assert {"database", "passkey"} <= {word for one in found for word in one["words"]}
    _do(engine, "DELETE FROM achievements WHERE title LIKE 'Let%'")
    assert _waiting(engine, "achievement_themes") == [themes.KEY]
    drain(engine, themes.job(), None, ORIGIN)
    with engine.connect() as connection:
        assert themes_db.figures(connection) == []
