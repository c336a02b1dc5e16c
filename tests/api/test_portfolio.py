"""/portfolio and /analytics: every figure is a sum of the table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, insert, update

from threads_agent_dagster.db.tables import achievements
from threads_agent_dagster.domain.business_value import read_business_value


@pytest.fixture
def viewer(open_app: Callable[..., TestClient]) -> TestClient:
    return open_app("achievements", "viewer")


def _row(month: int, impact: float | None, **more: Any) -> dict[str, Any]:
    row = {"title": "t", "category": "feature", "source_type": "manual", "portfolio_ready": False}
    measured = {"time_saved_hours": None, "portfolio_section": None, "display_priority": 50, "deleted_at": None}
    completed = datetime(2026, month, 28, 23, 59, tzinfo=UTC)
    return row | measured | {"completed_at": completed, "impact_score": impact} | more


@pytest.fixture
def stored(engine: Engine) -> None:
    """Five achievements of three months, and a deleted one that no figure may count."""
    rows = [
        _row(1, 20.0, portfolio_ready=True, portfolio_section="Backend", display_priority=2, title="second"),
        _row(1, 40.0, portfolio_ready=True, portfolio_section="Backend", display_priority=1, title="first"),
        _row(2, 100.0, category="bugfix", time_saved_hours=200.0),
        _row(3, None, category="bugfix"),
        _row(3, 99.0, portfolio_ready=True, display_priority=3, title="third", category="testing"),
        _row(2, 1.0, deleted_at=datetime(2026, 5, 1, tzinfo=UTC), portfolio_ready=True),
    ]
    with engine.begin() as connection:
        connection.execute(insert(achievements), rows)


def test_what_is_ready_stands_in_the_order_of_its_priority(viewer: TestClient, stored: None) -> None:
    first = viewer.get("/portfolio/ready?per_page=2").json()
    rest = viewer.get(f"/portfolio/ready?per_page=2&cursor={first['next']}").json()
    assert [item["title"] for item in first["items"] + rest["items"]] == ["first", "second", "third"]
    assert rest["next"] is None
    assert len(viewer.get("/portfolio/ready?section=Backend").json()["items"]) == 2
    assert len(viewer.get("/portfolio/ready?category=testing").json()["items"]) == 1


def test_statistics_are_sums_of_the_table(viewer: TestClient, stored: None) -> None:
    stats = viewer.get("/portfolio/stats").json()
    assert (stats["achievements"], stats["portfolio_ready"]) == (5, 3)
    assert (stats["avg_impact"], stats["max_impact"], stats["time_saved_hours"]) == (64.75, 100.0, 200.0)
    assert [(one["name"], one["achievements"]) for one in stats["sections"]] == [("Backend", 2), (None, 1)]
    assert stats["sections"][0]["time_saved_hours"] is None


def test_without_achievements_nothing_was_measured(viewer: TestClient) -> None:
    stats = viewer.get("/portfolio/stats").json()
    assert (stats["achievements"], stats["avg_impact"], stats["time_saved_hours"]) == (0, None, None)
    assert viewer.get("/analytics/impact").json() == {"categories": [], "distribution": []}
    assert viewer.get("/analytics/timeline").json()["items"] == []


def test_impact_is_shown_by_category_and_by_score(viewer: TestClient, stored: None) -> None:
    impact = viewer.get("/analytics/impact").json()
    assert [(one["name"], one["achievements"], one["avg_impact"]) for one in impact["categories"]] == [
        ("bugfix", 2, 100.0),
        ("feature", 2, 30.0),
        ("testing", 1, 99.0),
    ]
    assert [(one["at_least"], one["achievements"]) for one in impact["distribution"]] == [(20, 1), (40, 1), (90, 2)]
    february = viewer.get("/analytics/impact?since=2026-02-01&until=2026-02-28").json()
    assert [(one["name"], one["achievements"]) for one in february["categories"]] == [("bugfix", 1)]


@pytest.mark.parametrize(
    ("unit", "starts"),
    [
        ("day", ["2026-01-28", "2026-02-28", "2026-03-28"]),
        ("month", ["2026-01-01", "2026-02-01", "2026-03-01"]),
        ("year", ["2026-01-01"]),
    ],
)
def test_the_timeline_has_a_row_per_period(viewer: TestClient, stored: None, unit: str, starts: list[str]) -> None:
    items = viewer.get(f"/analytics/timeline?unit={unit}").json()["items"]
    assert [item["start"] for item in items] == starts
    assert sum(item["achievements"] for item in items) == 5


def test_a_return_is_reckoned_from_claims_and_stated_assumptions(
    open_app: Callable[..., TestClient], engine: Engine, stored: None
) -> None:
    editor = open_app("achievements", "editor")
    nothing = editor.post("/analytics/roi", json={"cost": 1000}).json()
    assert (nothing["per_year"], nothing["roi_pct"], nothing["lines"]) == (None, None, [])
    value = read_business_value("This automation saves 200 developer hours annually.")
    assert value is not None
    with engine.begin() as connection:
        first = update(achievements).where(achievements.c.title == "first")
        connection.execute(first.values(business_value=value.to_document()))
    reckoned = editor.post("/analytics/roi", json={"cost": 10_000}).json()
    assert (reckoned["per_year"], reckoned["currency"], reckoned["roi_pct"]) == (20_000.0, "USD", 100.0)
    assert [line["per_year"] for line in reckoned["lines"]] == [20_000.0]
    assert reckoned["assumptions"]["hourly_rate"] == 100.0
    cheaper = editor.post("/analytics/roi", json={"assumptions": {"hourly_rate": 50}}).json()
    assert (cheaper["per_year"], cheaper["roi_pct"]) == (10_000.0, None)
    assert editor.post("/analytics/roi", json={"achievement_ids": []}).json()["per_year"] is None
    for wrong in ({"cost": -1}, {"cost": 0}, {"assumptions": {"hourly_rate": "free"}}, {"discount": 1}):
        assert editor.post("/analytics/roi", json=wrong).status_code == 422
