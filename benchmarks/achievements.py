"""The pages, figures, export and neighbours of 100,000 achievements beside the bare SQL that each needs.

The pages go through the whole app (routing, key, validation, JSON) with an empty cache. Beside them: the statement
alone with all its rows fetched, over a connection that is already there, and an empty answer of the same app.
"""

from __future__ import annotations

import csv
import io
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from fastapi.testclient import TestClient
from pydantic import SecretStr

from benchmarks.deployment import postgres
from benchmarks.harness import Limit, Row, Size, alternate, compare, cpu_seconds, wall_seconds
from threads_agent_dagster.api.apps import create_app
from threads_agent_dagster.db import migrate
from threads_agent_dagster.db.engine import libpq_url, make_engine
from threads_agent_dagster.domain.embeddings import DIMENSIONS
from threads_agent_dagster.domain.themes import find_themes
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work.api_keys import create

A_FEW_TIMES = 5.0
SEED = """
INSERT INTO achievements (title, description, category, source_type, source_key, source_url, repository, merge_sha,
    author_name, started_at, completed_at, impact_score, complexity_score, impact_rules, complexity_rules, skills,
    business_value, time_saved_hours, portfolio_ready, display_priority, scorer_version)
SELECT 'Ship part ' || n || ' of the platform', repeat('What it does and why. ', 12),
    (enum_range(NULL::achievement_category))[1 + n %% 12], 'git', 'git:acme/app:' || n, 'https://example.org/' || n,
    'acme/app', md5(n::text) || '01234567', 'Ada', now() - n * interval '37 minutes' - interval '2 hours',
    now() - n * interval '37 minutes', n * 7 %% 9000 / 100.0, n * 11 %% 9000 / 100.0, %(rules)s, %(rules)s,
    '[{"name": "Python", "evidence": "12 files"}]', CASE WHEN n %% 50 = 0 THEN %(value)s::jsonb END,
    CASE WHEN n %% 50 = 0 THEN 200 END, n %% 2 = 0, n %% 100, '1' FROM generate_series(1, %(rows)s) AS n
"""
RULES = [
    {"name": name, "input": 3.5, "weight": 12, "points": 4.25}
    for name in ("kind of change", "size", "reach", "tests", "outcome", "reviewed", "documentation", "contract")
]
VALUE = {
    "claims": [
        {
            "kind": "time", "amount": 200.0, "unit": "hours", "period": "year", "quote": "saves 200 hours a year",
            "confidence": 0.9, "metric": None,
        }
    ]
}  # fmt: skip
PAGE = """SELECT id, title, category, source_type, source_url, repository, author_name, started_at, completed_at,
    duration_hours, impact_score, complexity_score, time_saved_hours, performance_improvement_pct, portfolio_ready,
    portfolio_section, display_priority FROM achievements WHERE deleted_at IS NULL"""
STATS = (
    """SELECT count(*), avg(impact_score), max(impact_score), sum(time_saved_hours),
        count(*) FILTER (WHERE portfolio_ready), min(completed_at), max(completed_at)
        FROM achievements WHERE deleted_at IS NULL""",
    """SELECT portfolio_section, count(*), avg(impact_score), max(impact_score), sum(time_saved_hours)
        FROM achievements WHERE deleted_at IS NULL AND portfolio_ready GROUP BY 1""",
    """SELECT category, count(*), avg(impact_score), max(impact_score), sum(time_saved_hours)
        FROM achievements WHERE deleted_at IS NULL GROUP BY 1""",
)
EXPORT = """SELECT id, source_key, source_type, source_url, repository, merge_sha, title, description, category,
    portfolio_section, author_name, author_login, started_at, completed_at, impact_score, complexity_score,
    time_saved_hours, performance_improvement_pct, business_value, skills, scorer_version, impact_rules,
    complexity_rules FROM achievements WHERE deleted_at IS NULL 
    ORDER BY display_priority, impact_score DESC NULLS LAST, id"""
NEAREST = """SELECT achievement_id, embedding <#> %s::halfvec AS distance FROM achievement_embeddings
    ORDER BY distance LIMIT 10"""


def run(size: Size) -> list[Row]:
    rows, rounds = (100_000, 9) if size is Size.FULL else (300, 1)
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as server:
        migrate.upgrade(server)
        vectors = _seed(server, rows)
        settings = Settings(database_url=SecretStr(server), _env_file=None)
        engine = make_engine(server)
        headers = {"X-API-Key": create(engine, "benchmark", ["editor"])}
        engine.dispose()
        with TestClient(create_app("achievements", settings), headers=headers) as client, _connect(server) as bare:
            return [*_pages(client, bare, rows, rounds), _export(client, bare, rows, rounds), _themes(vectors, rounds)]


def _connect(server: str) -> psycopg.Connection[Any]:
    return psycopg.connect(libpq_url(server), autocommit=True)


def _seed(server: str, rows: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, DIMENSIONS))
    vectors = centres[rng.integers(40, size=rows)] + rng.standard_normal((rows, DIMENSIONS))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    with _connect(server) as connection:
        connection.execute(SEED, {"rows": rows, "rules": json.dumps(RULES), "value": json.dumps(VALUE)})
        ids = [row[0] for row in connection.execute("SELECT id FROM achievements ORDER BY id")]
        columns = "(achievement_id, model, dimensions, content_hash, embedding)"
        with connection.cursor().copy(f"COPY achievement_embeddings {columns} FROM STDIN") as copy:
            for id_, vector in zip(ids, vectors, strict=True):
                copy.write_row((id_, "benchmark", DIMENSIONS, "", f"[{','.join(f'{x:.5f}' for x in vector)}]"))
        connection.execute("DELETE FROM pending")
        connection.execute("VACUUM ANALYZE")
    return vectors


def _pages(client: TestClient, bare: psycopg.Connection[Any], rows: int, rounds: int) -> list[Row]:
    deep = max(1, rows // 100 - 1)
    middle = bare.execute(
        "SELECT id, embedding::text FROM achievement_embeddings JOIN achievements ON id = "
        "achievement_id ORDER BY id OFFSET %s LIMIT 1",
        [rows // 2],
    ).fetchone()
    assert middle is not None
    newest = f"{PAGE} ORDER BY completed_at DESC, id DESC LIMIT 101"
    asked: list[tuple[str, str, list[tuple[str, list[Any]]]]] = [
        ("newest 100", "/achievements/?per_page=100", [(newest, [])]),
        ("the last 100 by number", f"/achievements/?per_page=100&page={deep}",
         [(f"{newest} OFFSET {(deep - 1) * 100}", [])]),
        ("the best of a category", "/achievements/?per_page=100&category=feature&sort=-impact_score",
         [(f"{PAGE} AND category = 'feature' ORDER BY impact_score DESC, id DESC LIMIT 101", [])]),
        ("statistics", "/portfolio/stats", [(statement, []) for statement in STATS]),
        ("ten nearest", f"/achievements/{middle[0]}/similar", [(NEAREST, [middle[1]])]),
    ]  # fmt: skip
    found = []
    for what, path, statements in asked:
        served: Any = client.app

        def serve(path: str = path, served: Any = served) -> float:
            served.state.cache.forget()
            answer = client.get(path)
            assert answer.status_code == 200, answer.text
            return 0.0

        def ask(statements: list[tuple[str, list[Any]]] = statements) -> None:
            for statement, values in statements:
                bare.execute(statement, values).fetchall()
            assert client.get("/livez").status_code == 200

        serve()
        ask()
        found.append(_beside(f"{rows:,} achievements: {what}", serve, ask, rounds))
    return found


def _beside(what: str, subject: Callable[[], object], peer: Callable[[], object], rounds: int) -> Row:
    return compare(
        "A",
        what,
        "ms",
        subject=lambda: 1000 * wall_seconds(subject),
        peer=("bare SQL and an empty answer", lambda: 1000 * wall_seconds(peer)),
        rounds=rounds,
        limit=Limit(at_most=A_FEW_TIMES),
    )


def _export(client: TestClient, bare: psycopg.Connection[Any], rows: int, rounds: int) -> Row:
    def serve() -> None:
        answer = client.post("/portfolio/export", json={"format": "csv", "all": True})
        assert sum(1 for _ in csv.reader(io.StringIO(answer.text))) == rows + 1

    return _beside(
        f"{rows:,} achievements: export as CSV", serve, lambda: bare.execute(EXPORT).fetchall(), min(rounds, 3)
    )


def _themes(vectors: np.ndarray[Any, Any], rounds: int) -> Row:
    titles = [f"word{number % 40} part" for number in range(len(vectors))]
    taken = alternate({"themes": lambda: cpu_seconds(lambda: find_themes(vectors, titles))}, min(rounds, 3))
    return Row("A", f"{len(vectors):,} vectors: themes", "CPU s", statistics.median(taken["themes"]))
