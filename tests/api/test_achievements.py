"""/achievements/: lists that tell the truth, edits that nobody loses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event, insert, text, update

from threads_agent_dagster.db.tables import achievements
from threads_agent_dagster.domain.achievements import CATEGORIES, SOURCE_TYPES

OpenApp = Callable[..., TestClient]
NEW = {"title": "Count every request", "category": "feature"}
JSON = {"Content-Type": "application/json"}
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def editor(open_app: OpenApp) -> TestClient:
    return open_app("achievements", "editor")


@pytest.fixture
def admin(open_app: OpenApp) -> TestClient:
    return open_app("achievements", "admin")


@pytest.fixture
def stored(engine: Engine) -> list[dict[str, Any]]:
    """Seven achievements: one a day, two without an end, two of equal score, one deleted (not in the list)."""
    rows = [
        {
            "title": f"Achievement {number}",
            "description": "100% of it" if number == 3 else None,
            "category": "feature" if number % 2 else "bugfix",
            "source_type": "git" if number < 4 else "manual",
            "completed_at": None if number > 4 else START + timedelta(days=number),
            "impact_score": None if number == 6 else float(number // 2 * 10),
            "portfolio_ready": number == 2,
            "repository": "acme/app" if number > 4 else None,
            "author_email": "ada@example.org" if number == 5 else None,
            "deleted_at": None,
        }
        for number in range(7)
    ]
    with engine.begin() as connection:
        connection.execute(insert(achievements), [*rows, rows[1] | {"title": "Deleted", "deleted_at": START}])
    return rows


def _walk(client: TestClient, query: str) -> Iterator[str]:
    """The titles of all pages, cursor by cursor."""
    cursor = ""
    while cursor is not None:
        page = client.get(f"/achievements/?per_page=2&{query}{cursor and f'&cursor={cursor}'}").json()
        yield from (item["title"] for item in page["items"])
        cursor = page["next"]


def _pending(engine: Engine) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [
            tuple(row)
            for row in connection.execute(
                text("SELECT key, day::text FROM pending WHERE asset = 'achievements' ORDER BY key")
            )
        ]


@pytest.mark.parametrize("column", ["completed_at", "impact_score", "title", "display_priority", "created_at"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_pages_show_each_achievement_once_and_in_order(
    editor: TestClient, stored: list[dict[str, Any]], column: str, sign: str
) -> None:
    titles = list(_walk(editor, f"sort={sign}{column}"))
    assert sorted(titles) == [row["title"] for row in stored]
    whole = editor.get(f"/achievements/?sort={sign}{column}").json()
    assert titles == [item["title"] for item in whole["items"]]
    assert whole["next"] is None
    if column in stored[0]:
        values = [next(row for row in stored if row["title"] == title)[column] for title in titles]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=sign == "-")


def test_numbered_pages_cover_the_list(editor: TestClient, stored: list[dict[str, Any]]) -> None:
    pages = [editor.get(f"/achievements/?page={page}&per_page=3").json()["items"] for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert len({item["id"] for page in pages for item in page}) == len(stored)


FILTERS = [
    ("category=feature", [1, 3, 5]),
    ("source=git", [0, 1, 2, 3]),
    ("since=2026-01-03&until=2026-01-04", [2, 3]),
    ("min_score=10&max_score=10", [2, 3]),
    ("portfolio_ready=true", [2]),
    ("q=achievement 3", [3]),
    ("q=100%25", [3]),
    ("q=%25", [3]),
    ("q=_chievement", []),
    ("q=CHIEV 3", [3]),
    ("q=of 3 100", [3]),
    ("q=of it 4", []),
    ("q=ada@ acme/app", [5]),
    ("q=%20", [0, 1, 2, 3, 4, 5, 6]),
    ("category=bugfix&min_score=1", [2, 4]),
]


def test_filters_show_what_meets_them(
    editor: TestClient, stored: list[dict[str, Any]], subtests: pytest.Subtests
) -> None:
    for query, numbers in FILTERS:
        with subtests.test(query=str(query)[:80]):
            assert sorted(_walk(editor, query)) == [f"Achievement {number}" for number in numbers]


@pytest.mark.parametrize(("path", "words"), [("/achievements/", "q"), ("/portfolio/ready", "section")])
def test_a_filter_is_a_value_never_sql(editor: TestClient, stored: list[dict[str, Any]], path: str, words: str) -> None:
    """The predecessor's failure obs-22."""
    injection = {"category": "feature' OR portfolio_ready=false --"}
    answer = editor.get(path, params=injection)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "category"
    assert editor.get(path, params={words: "x' OR '1'='1"}).json()["items"] == []
    assert editor.get(path).json()["items"] != []


SENSELESS = [
    "per_page=0",
    "per_page=101",
    "page=0",
    "page=-1",
    "cursor=x",
    "cursor=%00",
    "sort=secret_hash",
    "q=%00",
    "min_score=NaN",
    "min_score=-1",
    "min_score=inf",
    "since=2026-13-01",
    "until=9999-12-31",
    "source=linear",
    "page=99999999999999999999",
    "page=2&cursor=WyItY29tcGxldGVkX2F0Il0",
]


def test_a_query_that_makes_no_sense_is_unprocessable(editor: TestClient, subtests: pytest.Subtests) -> None:
    for query in SENSELESS:
        with subtests.test(query=str(query)[:80]):
            assert editor.get(f"/achievements/?{query}").status_code == 422


def test_a_cursor_serves_its_own_list_only(editor: TestClient, stored: list[dict[str, Any]]) -> None:
    cursor = editor.get("/achievements/?per_page=2&sort=title").json()["next"]
    assert editor.get(f"/achievements/?sort=title&cursor={cursor}").status_code == 200
    assert editor.get(f"/achievements/?sort=-title&cursor={cursor}").status_code == 422
    assert editor.get(f"/achievements/?cursor={cursor}").status_code == 422


def test_a_list_takes_as_many_statements_however_long_it_is(
    editor: TestClient, engine: Engine, stored: list[dict[str, Any]]
) -> None:
    seen: list[str] = []
    app_engine = editor.app.state.engine  # type: ignore[attr-defined]
    event.listen(app_engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
    for per_page in (1, 7):
        seen.clear()
        assert len(editor.get(f"/achievements/?per_page={per_page}").json()["items"]) == per_page
        assert sum("FROM achievements" in statement for statement in seen) == 1
        assert len(seen) <= 3


def test_a_new_achievement_is_stored_and_waits_for_its_score(editor: TestClient, engine: Engine) -> None:
    body = NEW | {"description": "All of them.", "completed_at": "2026-01-02T23:30:00-01:00"}
    answer = editor.post("/achievements/", json=body)
    assert answer.status_code == 201
    created = answer.json()
    assert answer.headers["location"] == f"/achievements/{created['id']}"
    assert (created["impact_score"], created["source_type"]) == (None, "manual")
    assert created["edited_fields"] == ["title", "category", "description", "completed_at"]
    assert _pending(engine) == [(f"achievement:{created['id']}", "2026-01-03")]
    assert editor.get(answer.headers["location"]).json() == created


def test_what_is_not_finished_is_not_scored(editor: TestClient, engine: Engine) -> None:
    assert editor.post("/achievements/", json=NEW).status_code == 201
    assert _pending(engine) == []


def test_every_category_of_the_vocabulary_is_stored(editor: TestClient, subtests: pytest.Subtests) -> None:
    """The predecessor's failure obs-12: one vocabulary for API and database."""
    for category in CATEGORIES:
        with subtests.test(category=str(category)[:80]):
            assert editor.post("/achievements/", json=NEW | {"category": category}).json()["category"] == category
            assert len(editor.get(f"/achievements/?category={category}").json()["items"]) == 1


def test_every_source_of_the_vocabulary_can_be_asked_for(editor: TestClient, subtests: pytest.Subtests) -> None:
    for source_type in SOURCE_TYPES:
        with subtests.test(source_type=str(source_type)[:80]):
            assert editor.get(f"/achievements/?source={source_type}").status_code == 200


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"category": "refactoring"}, "category"),
    ({"source_type": "linear"}, "source_type"),
    ({"title": ""}, "title"),
    ({"title": " \n"}, "title"),
    ({"title": "x" * 256}, "title"),
    ({"title": "x" * 10_000_000}, "title"),
    ({"title": None}, "title"),
    ({"description": "x" * 10_000_000}, "description"),
    ({"impact_score": 100}, "impact_score"),
    ({"deleted_at": None}, "deleted_at"),
    ({"completed_at": "2026-01-02T03:04:05"}, "completed_at"),
    ({"completed_at": "9999-12-31T23:59:59-01:00"}, "completed_at"),
    ({"completed_at": "yesterday"}, "completed_at"),
    ({"started_at": "2026-01-02T00:00:00Z", "completed_at": "2026-01-01T00:00:00Z"}, "completed_at"),
    ({"display_priority": -1}, "display_priority"),
    ({"display_priority": 10**400}, "display_priority"),
    ({"source_url": "javascript:alert(1)"}, "source_url"),
    ({"portfolio_section": "a\u0000b"}, "portfolio_section"),
    ({"description": "half of a pair \ud83d"}, "description"),
    ({"started_at": "0000-01-01T00:00:00Z"}, "started_at"),
    ({"linkedin_published_at": "10000-01-01T00:00:00Z"}, "linkedin_published_at"),
    ({"category": None}, "category"),
    ({"portfolio_ready": None}, "portfolio_ready"),
    ({"portfolio_ready": "yes"}, "portfolio_ready"),
    ({"display_priority": "5"}, "display_priority"),
    ({"display_priority": True}, "display_priority"),
    ({"display_priority": float("nan")}, "display_priority"),
    ({"linkedin_post_id": {}}, "linkedin_post_id"),
]


def test_nothing_that_is_not_valid_is_stored(editor: TestClient, engine: Engine, subtests: pytest.Subtests) -> None:
    """Among them the predecessor's failures obs-11 and obs-12."""
    for change, field in INVALID:
        with subtests.test(change=str(change)[:80]):
            answer = editor.post("/achievements/", content=json.dumps(NEW | change), headers=JSON)
            assert answer.status_code == 422
            assert any(field in one["field"] for one in answer.json()["errors"])
            assert editor.get("/achievements/").json()["items"] == []


def test_nothing_that_is_not_valid_changes_what_is_stored(editor: TestClient, subtests: pytest.Subtests) -> None:
    created = editor.post("/achievements/", json=NEW)
    path, before = created.headers["location"], created.json()
    for change, field in INVALID:
        with subtests.test(change=str(change)[:80]):
            answer = editor.put(path, content=json.dumps(change), headers=JSON)
            assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
            assert field in [error["field"] for error in answer.json()["errors"]]
            assert editor.get(path).json() == before


def test_an_edit_is_checked_against_what_is_stored(editor: TestClient) -> None:
    created = editor.post("/achievements/", json=NEW | {"completed_at": "2026-01-02T00:00:00Z"}).json()
    answer = editor.put(f"/achievements/{created['id']}", json={"started_at": "2026-01-03T00:00:00Z"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "completed_at"


def test_an_edit_keeps_what_it_does_not_name(editor: TestClient, engine: Engine) -> None:
    created = editor.post("/achievements/", json=NEW | {"portfolio_section": "Backend"}).json()
    edited = editor.put(f"/achievements/{created['id']}", json={"title": "Another", "portfolio_ready": True}).json()
    assert (edited["title"], edited["portfolio_ready"], edited["portfolio_section"]) == ("Another", True, "Backend")
    assert edited["edited_by"] == "test editor"
    assert edited["updated_at"] > created["updated_at"]
    emptied = editor.put(f"/achievements/{created['id']}", json={"portfolio_section": None}).json()
    assert emptied["portfolio_section"] is None


def test_an_edited_derived_title_is_noted_so_that_scoring_keeps_it(
    editor: TestClient, stored: list[dict[str, Any]]
) -> None:
    (item,) = editor.get("/achievements/?q=achievement 4").json()["items"]
    edited = editor.put(f"/achievements/{item['id']}", json={"title": "Mine", "display_priority": 1}).json()
    assert edited["edited_fields"] == ["title"]


def test_what_was_set_aside_when_two_became_one_is_shown(editor: TestClient, engine: Engine) -> None:
    path = editor.post("/achievements/", json=NEW).headers["location"]
    assert editor.get(path).json()["set_aside"] == []
    aside = {"field": "source_url", "value": None, "edited_by": "ada", "edited_at": "2026-01-02T03:04:05Z"}
    with engine.begin() as connection:
        connection.execute(update(achievements).values(metadata_json={"set_aside": [aside]}))
    assert editor.get(path).json()["set_aside"] == [aside]


def test_an_edit_of_an_older_version_is_refused(editor: TestClient) -> None:
    created = editor.post("/achievements/", json=NEW)
    path, seen = created.headers["location"], created.headers["etag"]
    assert editor.get(path).headers["etag"] == seen
    first = editor.put(path, json={"title": "First"}, headers={"If-Match": seen})
    assert first.status_code == 200
    assert editor.put(path, json={"title": "Second"}, headers={"If-Match": seen}).status_code == 412
    assert editor.get(path).json()["title"] == "First"
    again = {"If-Match": f'"another", {first.headers["etag"]}'}
    assert editor.put(path, json={"title": "Second"}, headers=again).status_code == 200


def test_a_deletion_can_be_undone(admin: TestClient) -> None:
    created = admin.post("/achievements/", json=NEW)
    path = created.headers["location"]
    assert admin.delete(path, headers={"If-Match": '"0"'}).status_code == 412
    assert admin.delete(path, headers={"If-Match": created.headers["etag"]}).status_code == 204
    assert admin.get(path).status_code == admin.delete(path).status_code == 404
    assert admin.get("/achievements/").json()["items"] == []
    assert admin.post(f"{path}/restore").status_code == 200
    assert admin.get(path).json()["title"] == NEW["title"]
    assert admin.post(f"{path}/restore").status_code == 404


def test_why_is_a_table(editor: TestClient, engine: Engine) -> None:
    path = editor.post("/achievements/", json=NEW).headers["location"]
    unscored = editor.get(f"{path}/explain").json()
    assert (unscored["impact_score"], unscored["impact_rules"]) == (None, None)
    rules = [{"name": "reviewers", "input": 2, "weight": 10, "points": 7.5}]
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE achievements SET impact_score = 7.5, impact_rules = cast(:rules AS jsonb)"),
            {"rules": json.dumps(rules)},
        )
    explained = editor.get(f"{path}/explain").json()
    assert explained["impact_score"] == sum(rule["points"] for rule in explained["impact_rules"])
    assert explained["impact_rules"] == rules


def test_what_is_not_there_is_not_found(admin: TestClient) -> None:
    for method, path in [("GET", "/1"), ("GET", "/1/explain"), ("PUT", "/1"), ("DELETE", "/1"), ("POST", "/1/restore")]:
        answer = admin.request(method, f"/achievements{path}", json={})
        assert answer.status_code == 404, (method, path)
        assert answer.headers["content-type"] == "application/problem+json"
    assert admin.get(f"/achievements/{2**31 - 1}").status_code == 404
    assert admin.get(f"/achievements/{2**31}").status_code == 422
