from __future__ import annotations

import csv
import io
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import Engine, text

from dash_app.downloads import BYTE_ORDER_MARK, lines
from dash_app.pages.achievements import EXPORTS
from threads_agent_dagster.db import identities
from threads_agent_dagster.db.engine import make_engine


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "＝", "＋", "－", "＠", "'", "\t", "\r", "\n"])
def test_a_text_that_starts_like_a_formula_is_marked_as_text(start: str) -> None:
    (row,) = list(csv.reader(io.StringIO("".join(lines(["title"], [[f"{start}1+1"]])), newline="")))[1:]
    assert row == [f"'{start}1+1"]


def test_numbers_stay_numbers_and_what_is_missing_stays_empty() -> None:
    assert "".join(lines(["a", "b"], [[-1.5, None]])) == f"{BYTE_ORDER_MARK}a,b\r\n-1.5,\r\n"


def test_the_export_has_the_filtered_rows_in_their_order(seeded: Engine, serve: Callable[..., str]) -> None:
    with seeded.begin() as connection:
        connection.execute(text("""UPDATE achievements SET title = '=HYPERLINK("http://x","Zürich")' WHERE id = 5"""))
    answer = httpx.get(serve(seeded) + "/achievements.csv?category=feature&sort=-impact&page=2", timeout=30)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="achievements.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    assert {row["category"] for row in rows} == {"feature"}
    scores = [float(row["impact_score"]) for row in rows if row["impact_score"]]
    assert scores == sorted(scores, reverse=True)
    assert [row["title"] for row in rows if row["id"] == "5"] == ['\'=HYPERLINK("http://x","Zürich")']
    assert len(rows) == 20


def test_an_export_of_nothing_is_its_header(engine: Engine, serve: Callable[..., str]) -> None:
    answer = httpx.get(serve(engine) + "/achievements.csv", timeout=30)
    assert answer.content.decode("utf-8-sig").startswith("id,title,")
    assert answer.content.count(b"\r\n") == 1


def test_an_export_without_a_database_is_an_error(serve: Callable[..., str]) -> None:
    answer = httpx.get(serve(make_engine("postgresql://nobody@127.0.0.1:1/nothing")) + "/achievements.csv", timeout=30)
    assert answer.status_code == 503


def test_the_portfolio_is_downloaded_in_every_format(seeded: Engine, serve: Callable[..., str]) -> None:
    base = serve(seeded)
    nothing = httpx.get(f"{base}/portfolio/md", timeout=30)
    assert (nothing.status_code, "portfolio_ready" in nothing.text) == (404, True)
    with seeded.begin() as connection:
        connection.execute(text("UPDATE achievements SET portfolio_ready = true WHERE id = 5"))
    for form, label in EXPORTS.items():
        answer = httpx.get(f"{base}/portfolio/{form}", timeout=30)
        assert answer.status_code == 200, label
        assert answer.headers["content-disposition"].startswith("attachment; filename=")
        assert len(answer.content) > 100
    assert httpx.get(f"{base}/portfolio/docx", timeout=30).status_code == 422


def test_downloads_are_mine_unless_everyones_are_asked_for(seeded: Engine, serve: Callable[..., str]) -> None:
    base = serve(seeded)
    with seeded.begin() as connection:
        connection.execute(text("UPDATE achievements SET portfolio_ready = true, author_email = 'bo@example.org'"))
        connection.execute(text("UPDATE achievements SET author_email = 'me@example.org' WHERE id = 5"))
        connection.execute(text("UPDATE achievements SET source_type = 'git'"))
        identities.add(connection, ["me@example.org"], [])

    def rows(path: str) -> int:
        answer = httpx.get(base + path, timeout=30)
        assert answer.status_code == 200
        return len(list(csv.reader(io.StringIO(answer.text)))) - 1

    for path in ("/achievements.csv", "/portfolio/csv"):
        assert rows(path) == 1
        assert rows(f"{path}?who=everyone") > 1
    with seeded.begin() as connection:
        identities.replace(connection, ["nobody@example.org"], [])
    nothing = httpx.get(f"{base}/portfolio/csv", timeout=30)
    assert (nothing.status_code, "who=everyone" in nothing.text) == (404, True)
