"""What was published on LinkedIn is noted from a CSV, whole or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from threads_agent_dagster.errors import InvalidInput, NotFound
from threads_agent_dagster.work.portfolio import PUBLISHED_COLUMNS, record_publications

HEADER = ",".join(PUBLISHED_COLUMNS)
GOOD = "1,urn:li:share:7,2026-01-02T03:04:05Z"


@pytest.fixture(autouse=True)
def _achievements(engine: Engine) -> None:
    with engine.begin() as connection:
        statement = "INSERT INTO achievements (id, title, category, source_type) VALUES (:id, 't', 'feature', 'git')"
        connection.execute(text(statement), [{"id": 1}, {"id": 2}])


def _noted(engine: Engine) -> list[tuple[object, ...]]:
    statement = """SELECT id, linkedin_post_id, linkedin_published_at, edited_by FROM achievements
        WHERE linkedin_post_id IS NOT NULL ORDER BY id"""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def test_publications_are_noted_with_who_told(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "linkedin.csv"
    file.write_text(f"{HEADER}\n{GOOD}\n2,urn:li:share:8,2026-01-02T04:04:05+01:00\n")
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    by = "portfolio published linkedin.csv"
    expected = [(1, "urn:li:share:7", moment, by), (2, "urn:li:share:8", moment, by)]
    for _ in range(2):
        assert record_publications(engine, file) == 2
        assert _noted(engine) == expected


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("id,post\n1,x", "columns"),
        (f"{HEADER}\n{GOOD}\n3,x,2026-01-02T03:04:05Z", "achievement_id"),
        (f"{HEADER}\n{GOOD}\nfirst,x,2026-01-02T03:04:05Z", "line 3, achievement_id"),
        (f"{HEADER}\n{GOOD}\n{10**30},x,2026-01-02T03:04:05Z", "line 3, achievement_id"),
        (f"{HEADER}\n{GOOD}\n2,,2026-01-02T03:04:05Z", "line 3, linkedin_post_id"),
        (f"{HEADER}\n{GOOD}\n2,x,2026-01-02T03:04:05", "line 3, linkedin_published_at"),
        (f"{HEADER}\n{GOOD}\n2,x", "line 3, linkedin_published_at"),
    ],
)
def test_a_bad_line_is_named_and_stops_it_whole(engine: Engine, tmp_path: Path, lines: str, named: str) -> None:
    file = tmp_path / "linkedin.csv"
    file.write_text(lines)
    with pytest.raises(InvalidInput, match=named):
        record_publications(engine, file)
    assert _noted(engine) == []


def test_no_file_is_not_found(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        record_publications(engine, tmp_path / "nothing.csv")
