"""/portfolio and /analytics: every figure is a sum of the table."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pypdf import PdfReader
from sqlalchemy import Engine, event, insert, select, update

from threads_agent_dagster.db.tables import achievements
from threads_agent_dagster.domain.business_value import read_business_value


@pytest.fixture
def client(open_app: Callable[..., TestClient]) -> TestClient:
    return open_app("achievements", "editor")


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


PEOPLE = [
    {"title": "mine", "author_email": "Me@example.org"},
    {"title": "with me", "author_name": "Bo", "metadata_json": {"co_authors": [{"email": "me@example.org"}]}},
    {"title": "Bo's", "author_name": "Bo", "author_email": "bo@example.org"},
]


def _sum_of(path: str, part: str) -> Callable[[TestClient, dict[str, Any]], int]:
    return lambda client, who: sum(one["achievements"] for one in client.get(path, params=who).json()[part])


FIGURES_OF: list[Callable[[TestClient, dict[str, Any]], int]] = [
    lambda client, who: len(client.get("/portfolio/ready", params=who).json()["items"]),
    lambda client, who: client.get("/portfolio/stats", params=who).json()["achievements"],
    _sum_of("/portfolio/stats", "sections"),
    _sum_of("/portfolio/stats", "categories"),
    _sum_of("/analytics/impact", "categories"),
    _sum_of("/analytics/impact", "distribution"),
    _sum_of("/analytics/timeline", "items"),
    lambda client, who: len(client.post("/analytics/roi", json=who).json()["lines"]),
    lambda client, who: len(client.post("/portfolio/export", json={"format": "json-resume", **who}).json()["projects"]),
]


@pytest.mark.parametrize("count", FIGURES_OF)
def test_portfolio_and_figures_are_mine_unless_others_are_asked_for(
    client: TestClient, engine: Engine, count: Callable[[TestClient, dict[str, Any]], int]
) -> None:
    value = read_business_value("Saves 200 developer hours annually.")
    assert value is not None
    told = {"author_name": None, "author_email": None, "metadata_json": {}, "business_value": value.to_document()}
    with engine.begin() as connection:
        rows = [_row(1, 20.0, portfolio_ready=True, source_type="git") | told | person for person in PEOPLE]
        connection.execute(insert(achievements), rows)
    assert count(client, {}) == 3, "nobody said who I am"
    assert client.put("/me", json={"emails": ["me@example.org"], "logins": []}).status_code == 200
    assert [count(client, who) for who in ({}, {"everyone": True}, {"author": "bo"}, {"author": "Me@Example.org"})] == [
        2, 3, 2, 1,
    ]  # fmt: skip


def test_a_return_of_named_achievements_counts_whoevers_they_are(client: TestClient, engine: Engine) -> None:
    value = read_business_value("Saves 200 developer hours annually.")
    assert value is not None
    with engine.begin() as connection:
        row = _row(1, 20.0, source_type="git", author_name="Bo", business_value=value.to_document())
        key = connection.execute(insert(achievements).returning(achievements.c.id), row).scalar_one()
    client.put("/me", json={"emails": ["me@example.org"], "logins": []})
    lines = [
        len(client.post("/analytics/roi", json=asked).json()["lines"])
        for asked in ({}, {"achievement_ids": [key]}, {"achievement_ids": [key], "author": "Ada"})
    ]
    assert lines == [0, 1, 0]


def test_what_is_ready_stands_in_the_order_of_its_priority(client: TestClient, stored: None) -> None:
    first = client.get("/portfolio/ready?per_page=2").json()
    rest = client.get(f"/portfolio/ready?per_page=2&cursor={first['next']}").json()
    assert [item["title"] for item in first["items"] + rest["items"]] == ["first", "second", "third"]
    assert rest["next"] is None
    assert len(client.get("/portfolio/ready?section=Backend").json()["items"]) == 2
    assert len(client.get("/portfolio/ready?category=testing").json()["items"]) == 1


def test_statistics_are_sums_of_the_table(client: TestClient, stored: None) -> None:
    stats = client.get("/portfolio/stats").json()
    assert (stats["achievements"], stats["portfolio_ready"]) == (5, 3)
    assert (stats["avg_impact"], stats["max_impact"], stats["time_saved_hours"]) == (64.75, 100.0, 200.0)
    assert [(one["name"], one["achievements"]) for one in stats["sections"]] == [("Backend", 2), (None, 1)]
    assert stats["sections"][0]["time_saved_hours"] is None


def test_the_value_of_one_claim_is_that_claim(client: TestClient, engine: Engine, stored: None) -> None:
    """The predecessor's failure obs-07: its total joined the digits of 12000 and of the confidence to 120000.9."""
    value = read_business_value("Cuts hosting costs, saving $12,000 per year.")
    assert value is not None
    with engine.begin() as connection:
        first = update(achievements).where(achievements.c.title == "first")
        connection.execute(first.values(business_value=value.to_document()))
    assert client.post("/analytics/roi", json={}).json()["per_year"] == 12_000.0


def test_without_achievements_nothing_was_measured(client: TestClient) -> None:
    stats = client.get("/portfolio/stats").json()
    assert (stats["achievements"], stats["avg_impact"], stats["time_saved_hours"]) == (0, None, None)
    assert client.get("/analytics/impact").json() == {"categories": [], "distribution": []}
    assert client.get("/analytics/timeline").json()["items"] == []


def test_impact_is_shown_by_category_and_by_score(client: TestClient, stored: None) -> None:
    impact = client.get("/analytics/impact").json()
    assert [(one["name"], one["achievements"], one["avg_impact"]) for one in impact["categories"]] == [
        ("bugfix", 2, 100.0),
        ("feature", 2, 30.0),
        ("testing", 1, 99.0),
    ]
    assert [(one["at_least"], one["achievements"]) for one in impact["distribution"]] == [(20, 1), (40, 1), (90, 2)]
    february = client.get("/analytics/impact?since=2026-02-01&until=2026-02-28").json()
    assert [(one["name"], one["achievements"]) for one in february["categories"]] == [("bugfix", 1)]


@pytest.mark.parametrize(
    ("unit", "starts"),
    [
        ("day", ["2026-01-28", "2026-02-28", "2026-03-28"]),
        ("month", ["2026-01-01", "2026-02-01", "2026-03-01"]),
        ("year", ["2026-01-01"]),
    ],
)
def test_the_timeline_has_a_row_per_period(client: TestClient, stored: None, unit: str, starts: list[str]) -> None:
    items = client.get(f"/analytics/timeline?unit={unit}").json()["items"]
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


# --- the portfolio as a file -------------------------------------------------------------------------------------

FORMATS = {
    "md": ("text/markdown; charset=utf-8", "portfolio.md"),
    "html": ("text/html; charset=utf-8", "portfolio.html"),
    "pdf": ("application/pdf", "portfolio.pdf"),
    "json-resume": ("application/json", "resume.json"),
    "csv": ("text/csv; charset=utf-8", "portfolio.csv"),
    "linkedin": ("text/plain; charset=utf-8", "linkedin.txt"),
    "web": ("application/zip", "portfolio.zip"),
}
FIGURES = ("impact_score", "complexity_score", "time_saved_hours", "performance_improvement_pct")


@pytest.mark.parametrize("form", FORMATS)
def test_the_file_itself_is_answered(client: TestClient, stored: None, form: str) -> None:
    answer = client.post("/portfolio/export", json={"format": form})
    assert answer.status_code == 200
    media_type, name = FORMATS[form]
    assert answer.headers["Content-Type"] == media_type
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert int(answer.headers["Content-Length"]) == len(answer.content) > 0


@pytest.mark.parametrize("form", FORMATS)
def test_any_stored_value_is_exported(client: TestClient, engine: Engine, stored: None, form: str) -> None:
    """The predecessor's failure obs-13: HTTP 500 for a business value of None, '0', '5000' or a JSON string."""
    for value in (None, "0", "5000", 5000, '{"total": 5000}', {"claims": []}, {"claims": [{"amount": 1}]}):
        with engine.begin() as connection:
            connection.execute(update(achievements).values(business_value=value))
        answer = client.post("/portfolio/export", json={"format": form})
        assert answer.status_code == 200, value


def test_pdf_and_web_folder_are_whole(client: TestClient, stored: None) -> None:
    """The predecessor's failure obs-14: the file was removed before it was sent."""
    document = PdfReader(io.BytesIO(client.post("/portfolio/export", json={"format": "pdf"}).content))
    text = "".join(page.extract_text() for page in document.pages)
    assert all(title in text for title in ("first", "second", "third"))
    with zipfile.ZipFile(io.BytesIO(client.post("/portfolio/export", json={"format": "web"}).content)) as archive:
        assert archive.testzip() is None
        assert {name: len(archive.read(name)) > 100 for name in archive.namelist()} == {
            "index.html": True, "data.json": True, "manifest.json": True,
        }  # fmt: skip


def _table(engine: Engine, *conditions: Any) -> list[dict[str, Any]]:
    columns = [achievements.c[name] for name in ("title", *FIGURES)]
    rows = select(*columns).where(achievements.c.deleted_at.is_(None), *conditions).order_by(achievements.c.id)
    with engine.connect() as connection:
        return sorted((dict(row) for row in connection.execute(rows).mappings()), key=lambda row: row["title"])


def test_exported_figures_are_those_of_the_table(client: TestClient, engine: Engine, stored: None) -> None:
    expected = _table(engine, achievements.c.portfolio_ready)
    resume = client.post("/portfolio/export", json={"format": "json-resume"}).json()
    shown = [{"title": one["name"]} | {name: one.get(name) for name in FIGURES} for one in resume["projects"]]
    assert sorted(shown, key=lambda row: row["title"]) == expected
    sheet = client.post("/portfolio/export", json={"format": "csv"}).content.decode("utf-8-sig")
    rows = [
        {"title": row["title"]} | {name: float(row[name]) if row[name] else None for name in FIGURES}
        for row in csv.DictReader(io.StringIO(sheet))
    ]
    assert sorted(rows, key=lambda row: row["title"]) == expected


@pytest.mark.parametrize(
    ("wanted", "titles"),
    [
        ({}, ["first", "second", "third"]),
        ({"section": "backend"}, ["first", "second"]),
        ({"section": "Testing"}, ["third"]),
        ({"since": "2026-03-28"}, ["third"]),
        ({"since": "2026-01-29"}, ["third"]),
        ({"all": True}, ["first", "second", "third", "t", "t"]),
        ({"all": True, "since": "2026-02-01", "section": "bugfix"}, ["t", "t"]),
    ],
)
def test_the_selection_is_what_was_asked_for(
    client: TestClient, stored: None, wanted: dict[str, Any], titles: list[str]
) -> None:
    resume = client.post("/portfolio/export", json={"format": "json-resume", **wanted}).json()
    assert [project["name"] for project in resume["projects"]] == titles


@pytest.mark.parametrize("author", ["Ada Lovelace", "ADA", "ada@Example.org"])
def test_an_author_has_three_names(client: TestClient, engine: Engine, stored: None, author: str) -> None:
    names = {"author_name": "Ada Lovelace", "author_login": "ada", "author_email": "ada@example.org"}
    with engine.begin() as connection:
        connection.execute(update(achievements).where(achievements.c.title == "third").values(**names))
    resume = client.post("/portfolio/export", json={"format": "json-resume", "author": author}).json()
    assert resume["basics"]["name"] == "Ada Lovelace"
    assert [project["name"] for project in resume["projects"]] == ["third"]
    assert "example.org" not in json.dumps(resume)


def test_nothing_to_export_says_why(client: TestClient, engine: Engine, stored: None) -> None:
    with engine.begin() as connection:
        connection.execute(update(achievements).values(portfolio_ready=False))
    answer = client.post("/portfolio/export", json={"format": "pdf"})
    assert answer.status_code == 404
    assert "marked ready" in answer.text
    assert client.post("/portfolio/export", json={"format": "pdf", "all": True}).status_code == 200
    answer = client.post("/portfolio/export", json={"format": "pdf", "all": True, "section": "x' OR true --"})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "body", [{}, {"format": "docx"}, {"format": "md", "since": "soon"}, {"format": "md", "to": "me"}]
)
def test_a_wrong_request_names_its_field(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/portfolio/export", json=body).status_code == 422


@contextmanager
def _statements(engine: Engine) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("count", [1, 300])
def test_an_export_is_one_statement(client: TestClient, engine: Engine, count: int) -> None:
    with engine.begin() as connection:
        connection.execute(insert(achievements), [_row(1, 5.0, portfolio_ready=True) for _ in range(count)])
    served: Engine = client.app.state.engine  # type: ignore[attr-defined]
    with _statements(served) as seen:
        assert client.post("/portfolio/export", json={"format": "csv"}).status_code == 200
    assert len([statement for statement in seen if "achievements" in statement]) == 1
