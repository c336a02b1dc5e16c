"""/health, /livez, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine, insert, text

from threads_agent_dagster.api.apps import ROUTERS
from threads_agent_dagster.db import metrics, pending
from threads_agent_dagster.db.tables import achievements
from threads_agent_dagster.settings import Settings

OpenApp = Callable[..., TestClient]
NOWHERE = SecretStr("postgresql://nobody@127.0.0.1:1/nothing")


def _beat(engine: Engine, seconds_ago: int) -> None:
    statements = [
        "CREATE SCHEMA IF NOT EXISTS dagster",
        'CREATE TABLE IF NOT EXISTS dagster.daemon_heartbeats (daemon_type text, "timestamp" timestamp)',
        "INSERT INTO dagster.daemon_heartbeats "
        f"VALUES ('SENSOR', now() AT TIME ZONE 'UTC' - interval '{seconds_ago} s')",
    ]
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.mark.parametrize("name", sorted(ROUTERS))
def test_an_app_is_alive_without_anything_else(open_app: OpenApp, settings: Settings, name: str) -> None:
    anybody = open_app(name, None, settings.model_copy(update={"database_url": NOWHERE}))
    for path in ("/health", "/livez"):
        assert anybody.get(path).json() == {"status": "ok", "service": name}


def test_ready_means_database_migrations_and_daemon(client: TestClient, engine: Engine) -> None:
    _beat(engine, 5)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"] == {"database": "ok", "migrations": "ok", "daemon": "ok"}


def test_without_a_database_nothing_is_ready(open_app: OpenApp, settings: Settings) -> None:
    anybody = open_app("orchestrator", None, settings.model_copy(update={"database_url": NOWHERE}))
    answer = anybody.get("/readyz")
    assert answer.status_code == 503
    assert set(answer.json()["checks"]) == {"database"}
    assert "127.0.0.1" not in answer.text


def test_pending_migrations_are_not_ready(client: TestClient, engine: Engine) -> None:
    _beat(engine, 5)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001_create_queue'"))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "0001_create_queue" in answer.json()["checks"]["migrations"]
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    assert client.get("/readyz").status_code == 503


def test_a_silent_daemon_is_not_ready(client: TestClient, engine: Engine) -> None:
    assert client.get("/readyz").json()["checks"]["daemon"] != "ok"
    _beat(engine, 61)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["database"]) == (503, "ok")
    assert "last sign of life" in answer.json()["detail"]
    _beat(engine, 1)
    assert client.get("/readyz").status_code == 200


def test_other_routes_say_when_the_database_does_not_answer(
    open_app: OpenApp, settings: Settings, key: Callable[[str], str]
) -> None:
    anybody = open_app("orchestrator", None, settings.model_copy(update={"database_url": NOWHERE}))
    answer = anybody.get("/tasks/1", headers={"X-API-Key": key("viewer")})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_requests_are_counted_by_route_not_by_path(client: TestClient) -> None:
    for number in (1, 2, 3):
        client.get(f"/tasks/{number}")
    client.get("/etc/passwd")
    scrape = client.get("/metrics").text
    assert 'http_requests_total{endpoint="/tasks/{task_id}",method="GET",status="404"} 3.0' in scrape
    assert 'http_request_duration_seconds_count{endpoint="/tasks/{task_id}",method="GET"} 3.0' in scrape
    assert "passwd" not in scrape


def test_the_scrape_tells_how_deep_the_queue_is(client: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pending.mark(connection, "posts", [(f"task:{number}", date(2026, 1, 2)) for number in range(4)])
        connection.execute(text("UPDATE pending SET dead_at = now() WHERE key = 'task:0'"))
        connection.execute(text("UPDATE pending SET lease_until = now() + interval '1 hour' WHERE key = 'task:1'"))
        connection.execute(text("UPDATE pending SET lease_until = now() - interval '1 hour' WHERE key = 'task:2'"))
    scrape = client.get("/metrics").text
    assert 'pending_rows{asset="posts"} 2.0' in scrape
    assert 'pending_claimed_rows{asset="posts"} 1.0' in scrape
    assert 'pending_dead_rows{asset="posts"} 1.0' in scrape
    assert "database_up 1.0" in scrape


def test_the_scrape_has_the_business_metrics(client: TestClient, engine: Engine, post_id: int) -> None:
    row: dict[str, Any] = {"title": "t", "category": "feature", "source_type": "manual", "deleted_at": None}
    scores = [0.0, 10.0, 10.5, 100.0, None]
    with engine.begin() as connection:
        connection.execute(insert(achievements), [row | {"impact_score": score} for score in scores])
        connection.execute(insert(achievements), row | {"impact_score": 50.0, "deleted_at": datetime.now(UTC)})
        metrics.refresh(connection, None, "1")
    client.get("/tasks/1")
    scrape = client.get("/metrics").text.splitlines()
    buckets = [line.split()[1] for line in scrape if line.startswith("achievement_impact_score_bucket")]
    assert buckets == ["1.0", "2.0", "3.0", "3.0", "3.0", "3.0", "4.0", "4.0"]
    assert "achievement_impact_score_count 4.0" in scrape
    assert "achievement_impact_score_sum 120.5" in scrape
    assert 'content_generated_total{persona="default",type="post"} 1.0' in scrape
    assert "active_users 1.0" in scrape


def test_the_scrape_says_when_it_cannot_read_the_queue(open_app: OpenApp, settings: Settings) -> None:
    anybody = open_app("orchestrator", None, settings.model_copy(update={"database_url": NOWHERE}))
    scrape = anybody.get("/metrics").text
    assert "database_up 0.0" in scrape
    assert "pending_rows" not in scrape
