"""/metrics/summary."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi.testclient import TestClient
from sqlalchemy import Engine, insert

from threads_agent_dagster.db import metrics
from threads_agent_dagster.db.tables import achievements


def test_nothing_measured_is_null_not_zero(client: TestClient) -> None:
    summary = client.get("/metrics/summary").json()
    assert (summary["total_achievements"], summary["avg_impact"], summary["refreshed_at"]) == (0, None, None)


def test_the_summary_is_the_view_with_its_refresh(client: TestClient, engine: Engine) -> None:
    row = {"title": "t", "category": "feature", "source_type": "manual", "completed_at": datetime.now(UTC)}
    with engine.begin() as connection:
        connection.execute(insert(achievements), [row | {"impact_score": score} for score in (20.0, 50.0)])
        metrics.refresh(connection, "a run", "1")
    summary = client.get("/metrics/summary").json()
    assert (summary["total_achievements"], summary["avg_impact"], summary["categories_covered"]) == (2, 35.0, 1)
    assert (summary["run_id"], summary["code_version"]) == ("a run", "1")
    assert summary["refreshed_at"] is not None
