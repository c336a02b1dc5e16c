"""The pages, figures, export and neighbours of 100,000 achievements beside the bare SQL that each needs.

The pages go through the whole app (routing, key, validation, JSON) with an empty cache. Beside them: the statement
with all its rows fetched, over a connection that is already there, and an empty answer of the same app (the floor).
"""

from __future__ import annotations

import csv
import io
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from threads_agent_dagster.db.tables import ACHIEVEMENT_WORDS
from threads_agent_dagster.domain.embeddings import DIMENSIONS
from threads_agent_dagster.domain.themes import find_themes
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work.api_keys import create

A_FEW_TIMES = 5.0
SEED = """
INSERT INTO achievements (title, description, category, source_type, source_key, source_url, repository, merge_sha,
    author_name, author_email, metadata_json, started_at, completed_at, impact_score, complexity_score, impact_rules,
    complexity_rules, skills, business_value, time_saved_hours, portfolio_ready, display_priority, scorer_version)
SELECT 'Ship part ' || n || ' of the platform', repeat('What it does and why. ', 12),
    (enum_range(NULL::achievement_category))[1 + n %% 12], 'git', 'git:acme/app:' || n, 'https://example.org/' || n,
    'acme/app', md5(n::text) || '01234567', author, lower(author) || '@example.org', '{"co_authors": []}',
    now() - n * interval '37 minutes' - interval '2 hours', now() - n * interval '37 minutes', n * 7 %% 9000 / 100.0,
    n * 11 %% 9000 / 100.0, %(rules)s, %(rules)s, '[{"name": "Python", "evidence": "12 files"}]',
    CASE WHEN n %% 50 = 0 THEN %(value)s::jsonb END, CASE WHEN n %% 50 = 0 THEN 200 END, n %% 2 = 0, n %% 100, '1'
FROM generate_series(1, %(rows)s) AS n, LATERAL (VALUES (CASE WHEN n %% 2 = 0 THEN 'Ada' ELSE 'Bo' END)) AS _ (author)
"""
ME = "INSERT INTO identities VALUES ('email', 'ada@example.org')"
MINE = "deleted_at IS NULL AND author_email = 'ada@example.org'"
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
NEWEST = "ORDER BY completed_at DESC, id DESC LIMIT 101"
STATS = (
    f"""SELECT count(*), avg(impact_score), max(impact_score), sum(time_saved_hours),
        count(*) FILTER (WHERE portfolio_ready), min(completed_at), max(completed_at)
        FROM achievements WHERE {MINE}""",
    f"""SELECT portfolio_section, count(*), avg(impact_score), max(impact_score), sum(time_saved_hours)
        FROM achievements WHERE {MINE} AND portfolio_ready GROUP BY 1""",
    f"""SELECT category, count(*), avg(impact_score), max(impact_score), sum(time_saved_hours)
        FROM achievements WHERE {MINE} GROUP BY 1""",
)
EXPORT = """SELECT id, source_key, source_type, source_url, repository, merge_sha, title, description, category,
    portfolio_section, author_name, author_login, started_at, completed_at, impact_score, complexity_score,
    time_saved_hours, performance_improvement_pct, business_value, skills, scorer_version, impact_rules,
    complexity_rules FROM achievements WHERE deleted_at IS NULL
    ORDER BY display_priority, impact_score DESC NULLS LAST, id"""
NEAREST = """SELECT achievement_id, embedding <#> %s::halfvec AS distance FROM achievement_embeddings
    WHERE achievement_id <> %s ORDER BY distance LIMIT 10"""
MIDDLE = """SELECT achievement_id, embedding::text FROM achievement_embeddings ORDER BY achievement_id
    OFFSET %s LIMIT 1"""
DISTRIBUTION = f"""SELECT floor(impact_score / 10), count(*) FROM achievements
    WHERE {MINE} AND impact_score IS NOT NULL GROUP BY 1"""
TIMELINE = f"""SELECT date_trunc('month', completed_at, 'UTC'), count(*), avg(impact_score), max(impact_score),
    sum(time_saved_hours) FROM achievements WHERE {MINE} GROUP BY 1"""
VALUES = f"SELECT business_value FROM achievements WHERE {MINE} AND business_value IS NOT NULL"
EMBEDDED = "(achievement_id, model, dimensions, content_hash, embedding)"


def run(size: Size) -> list[Row]:
    rows, rounds = (100_000, 7) if size is Size.FULL else (300, 1)
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as server:
        migrate.upgrade(server)
        vectors = _seed(server, rows)
        settings = Settings(database_url=SecretStr(server), _env_file=None)
        engine = make_engine(server)
        headers = {"X-API-Key": create(engine, "benchmark", ["editor"])}
        engine.dispose()
        with TestClient(create_app("achievements", settings), headers=headers) as client, _connect(server) as bare:
            pages = [_page(one, client, bare, rows, rounds) for one in _asked(client, bare, rows)]
            exports = [_export(form, client, bare, rows) for form in FORMATS]
    return [*pages, *exports, _themes(vectors, min(rounds, 3))]


def _connect(server: str) -> psycopg.Connection[Any]:
    return psycopg.connect(libpq_url(server), autocommit=True)


def _seed(server: str, rows: int) -> np.ndarray[Any, Any]:
    vectors = _vectors(rows)
    with _connect(server) as connection:
        connection.execute(SEED, {"rows": rows, "rules": json.dumps(RULES), "value": json.dumps(VALUE)})
        ids = [row[0] for row in connection.execute("SELECT id FROM achievements ORDER BY id")]
        with connection.cursor().copy(f"COPY achievement_embeddings {EMBEDDED} FROM STDIN (FORMAT binary)") as copy:
            copy.write(_binary(ids, vectors))
        connection.execute(ME)
        connection.execute("DELETE FROM pending")
        connection.execute("VACUUM ANALYZE")
    return vectors


def _vectors(rows: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, DIMENSIONS), np.float32)
    vectors = centres[rng.integers(40, size=rows)] + rng.standard_normal((rows, DIMENSIONS), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _binary(ids: list[int], vectors: np.ndarray[Any, Any]) -> bytes:
    """The rows as COPY reads them: as text, 38 million decimal numbers would take most of the benchmark's time."""
    width = DIMENSIONS
    row = np.dtype(
        [
            ("fields", ">i2"), ("id_bytes", ">i4"), ("id", ">i4"), ("model_bytes", ">i4"), ("model", "S9"),
            ("dimensions_bytes", ">i4"), ("dimensions", ">i4"), ("hash_bytes", ">i4"), ("vector_bytes", ">i4"),
            ("width", ">i2"), ("unused", ">i2"), ("vector", ">f2", (width,)),
        ]
    )  # fmt: skip
    rows = np.zeros(len(ids), row)
    for name, value in {
        "fields": 5, "id_bytes": 4, "id": ids, "model_bytes": 9, "model": b"benchmark", "dimensions_bytes": 4,
        "dimensions": width, "vector_bytes": 4 + 2 * width, "width": width, "vector": vectors,
    }.items():  # fmt: skip
        rows[name] = value
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows.tobytes() + b"\xff\xff"


@dataclass(frozen=True)
class Asked:
    """A request and the statements that it needs; `ids` says which rows were served, where it is a list of rows."""

    what: str
    path: str
    statements: Sequence[tuple[str, Sequence[Any]]]
    body: Mapping[str, Any] | None = None
    ids: bool = True


def _searched(*words: str) -> tuple[str, list[str]]:
    conditions = "".join(f" AND ({ACHIEVEMENT_WORDS}) ILIKE %s" for _ in words)
    return f"{PAGE}{conditions} {NEWEST}", [f"%{word}%" for word in words]


def _asked(client: TestClient, bare: psycopg.Connection[Any], rows: int) -> list[Asked]:
    deep = max(1, rows // 100 - 2)
    page = client.get(f"/achievements/?per_page=100&page={deep}").json()
    last = page["items"][-1]
    middle, vector = bare.execute(MIDDLE, [rows // 2]).fetchone() or (0, "")
    return [
        Asked("newest 100", "/achievements/?per_page=100", [(f"{PAGE} {NEWEST}", [])]),
        Asked("the last 100 by number", f"/achievements/?per_page=100&page={deep + 1}",
              [(f"{PAGE} {NEWEST} OFFSET {deep * 100}", [])]),
        Asked("the last 100 by cursor", f"/achievements/?per_page=100&cursor={page['next']}",
              [(f"{PAGE} AND (completed_at, id) < (%s, %s) {NEWEST}", [last["completed_at"], last["id"]])]),
        Asked("the best of a category", "/achievements/?per_page=100&category=feature&sort=-impact_score",
              [(f"{PAGE} AND category = 'feature' ORDER BY impact_score DESC, id DESC LIMIT 101", [])]),
        Asked("text search, 280 rows found", "/achievements/?per_page=100&q=part+777", [_searched("part", "777")]),
        Asked("text search, none found", "/achievements/?per_page=100&q=no+such+words",
              [_searched("no", "such", "words")]),
        Asked("statistics of mine", "/portfolio/stats", [(statement, []) for statement in STATS], ids=False),
        Asked("impact of mine", "/analytics/impact", [(STATS[2], []), (DISTRIBUTION, [])], ids=False),
        Asked("timeline of mine by month", "/analytics/timeline", [(TIMELINE, [])], ids=False),
        Asked("return of my claims", "/analytics/roi", [(VALUES, [])], body={"cost": 10_000}, ids=False),
        Asked("ten nearest", f"/achievements/{middle}/similar?min_similarity=-1", [(NEAREST, [vector, middle])]),
    ]  # fmt: skip


def _page(asked: Asked, client: TestClient, bare: psycopg.Connection[Any], rows: int, rounds: int) -> Row:
    app: Any = client.app

    def serve() -> Any:
        app.state.cache.forget()
        answer = client.get(asked.path) if asked.body is None else client.post(asked.path, json=asked.body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ask() -> list[Any]:
        return [bare.execute(statement, values).fetchall() for statement, values in asked.statements]

    served, [found, *_] = serve(), ask()
    if asked.ids:
        assert [item["id"] for item in served["items"]] == [row[0] for row in found[:100]], asked.what
    return _beside(f"{rows:,} achievements: {asked.what}", client, serve, ask, rounds)


def _beside(what: str, client: TestClient, serve: Callable[[], object], ask: Callable[[], object], rounds: int) -> Row:
    def empty() -> float:
        return 1000 * wall_seconds(lambda: client.get("/livez"))

    return compare(
        "A",
        what,
        "ms",
        subject=lambda: 1000 * wall_seconds(serve),
        peer=("bare SQL + an empty answer", lambda: 1000 * wall_seconds(ask) + empty()),
        floor=("an empty answer", empty),
        rounds=rounds,
        limit=Limit(at_most=A_FEW_TIMES),
    )


def _export(form: str, client: TestClient, bare: psycopg.Connection[Any], rows: int) -> Row:
    """Once, as it takes half a minute; so it is of everything, whoever's and ready or not."""
    served: list[bytes] = []

    def serve() -> None:
        answer = client.post("/portfolio/export", json={"format": form, "all": True, "everyone": True})
        assert answer.status_code == 200, answer.text
        served.append(answer.content)

    row = _beside(f"{rows:,} achievements: export as {form}", client, serve, lambda: bare.execute(EXPORT).fetchall(), 1)
    assert FORMATS[form](served.pop()) == rows, form
    return row


def _csv_rows(body: bytes) -> int:
    return sum(1 for _ in csv.reader(io.StringIO(body.decode()))) - 1


FORMATS: Mapping[str, Callable[[bytes], int]] = {
    "csv": _csv_rows,
    "json-resume": lambda body: len(json.loads(body)["projects"]),
    "md": lambda body: body.count(b"\n### "),
}


def _themes(vectors: np.ndarray[Any, Any], rounds: int) -> Row:
    titles = [f"word{number % 40} part" for number in range(len(vectors))]
    taken = alternate({"themes": lambda: cpu_seconds(lambda: find_themes(vectors, titles))}, rounds)
    return Row("A", f"{len(vectors):,} vectors: themes", "CPU s", statistics.median(taken["themes"]))
