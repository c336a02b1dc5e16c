from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date

import pytest
from sqlalchemy import Engine, event, text

from dash_app import data
from dash_app.address import Query
from dash_app.components import Provenance
from dash_app.pages.achievements import detail
from dash_app.pages.page import View
from dash_app.rows import PER_PAGE, SetAside
from threads_agent_dagster.db import identities
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.errors import ConfigurationError, Unavailable

READS: dict[str, tuple[int, Callable[[Engine], object]]] = {
    "pulse": (1, data.pulse),
    "overview": (5, data.overview),
    "achievements": (2, lambda engine: data.list_achievements(engine, {}, 1)),
    "achievement": (1, lambda engine: data.achievement(engine, 3)),
    "themes": (1, lambda engine: data.list_themes(engine)),
    "similar achievements": (1, lambda engine: data.similar_achievements(engine, 3)),
    "portfolio exported": (1, lambda engine: data.export_portfolio(engine)),
    "achievements exported": (1, lambda engine: list(data.export_achievements(engine, {}))),
    "personas": (1, data.list_personas),
    "posts": (2, lambda engine: data.list_posts(engine, {}, 1)),
    "post": (2, lambda engine: data.post(engine, 1)),
    "experiments": (4, lambda engine: data.list_experiments(engine, {}, 1)),
    "experiment": (4, lambda engine: data.experiment(engine, "exp-00")),
}


@contextmanager
def counting(engine: Engine) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("name", READS)
def test_a_page_costs_the_same_statements_for_any_number_of_rows(seeded: Engine, name: str) -> None:
    expected, read = READS[name]
    with counting(seeded) as statements:
        read(seeded)
    assert len(statements) == expected


@pytest.mark.parametrize("name", READS)
def test_a_database_that_is_away_is_an_error_and_never_empty(name: str) -> None:
    _, read = READS[name]
    with pytest.raises(Unavailable):
        read(make_engine("postgresql://nobody@127.0.0.1:1/nothing"))


@pytest.mark.parametrize("name", READS)
def test_a_database_without_the_tables_names_the_remedy(empty_database_url: str, name: str) -> None:
    engine = make_engine(empty_database_url)
    with pytest.raises(ConfigurationError, match="threads-agent db upgrade"):
        READS[name][1](engine)
    engine.dispose()


def test_figures_that_were_never_refreshed_are_missing(engine: Engine) -> None:
    read = data.overview(engine)
    assert read.figures is None
    assert (read.daily, read.categories, read.queue, read.dead) == ({}, [], [], [])


def test_figures_equal_the_rows_they_come_from(seeded: Engine) -> None:
    figures = data.overview(seeded).figures
    assert figures is not None
    with seeded.connect() as connection:
        n, impact = connection.execute(
            text(
                "SELECT count(*), avg(impact_score) FROM achievements WHERE utc_day(completed_at) > utc_day(now()) - 30"
            )
        ).one()
    assert figures.achievements == n
    assert figures.average_impact == pytest.approx(impact)
    assert figures.hours_saved is None  # no text claims any
    assert figures.engagement_rate is None  # nobody measured any
    assert (figures.origin.asset, figures.origin.code_version) == ("dashboard_metrics", "7")


def test_days_and_categories_add_up_to_the_figure(seeded: Engine) -> None:
    read = data.overview(seeded)
    assert read.figures is not None
    assert sum(day.n for day in read.daily["achievements"]) == read.figures.achievements
    assert sum(n for _, n in read.categories) == read.figures.achievements


def test_once_it_is_known_who_i_am_achievements_are_mine_unless_asked_for_all(seeded: Engine) -> None:
    with seeded.begin() as connection:
        connection.execute(
            text("""
                UPDATE achievements SET author_email = 'me@example.org', time_saved_hours = 2
                WHERE id = (SELECT min(id) FROM achievements WHERE utc_day(completed_at) > utc_day(now()) - 30)
            """)
        )
        identities.add(connection, ["Me@example.org"], [])
        mine = connection.execute(
            text("SELECT impact_score, category::text FROM achievements WHERE author_email = 'me@example.org'")
        ).one()
    read, everyones = data.overview(seeded), data.overview(seeded, everyone=True)
    assert read.figures is not None
    assert everyones.figures is not None
    assert (read.figures.achievements, read.figures.hours_saved, read.figures.categories) == (1, 2, 1)
    assert read.figures.average_impact == pytest.approx(mine.impact_score)
    assert read.categories == [(mine.category, 1)]
    assert sum(day.n for day in read.daily["achievements"]) == 1
    assert everyones.figures.achievements > 1
    assert read.daily["posts"] == everyones.daily["posts"], "posts have no author"


def test_the_queue_tells_waiting_from_working_from_given_up(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO pending (asset, key, day, lease_until, dead_at, error) VALUES
                    ('posts', 'a', '2026-01-02', NULL, NULL, NULL),
                    ('posts', 'b', '2026-01-03', now() + interval '1 minute', NULL, NULL),
                    ('posts', 'c', '2026-01-04', now() - interval '1 minute', NULL, NULL),
                    ('posts', 'd', '2026-01-05', NULL, now(), 'no such persona')
            """)
        )
    read = data.overview(engine)
    (line,) = read.queue
    assert (line.waiting, line.working, line.dead, line.oldest_day) == (2, 1, 1, date(2026, 1, 2))
    assert [(item.key, item.error) for item in read.dead] == [("d", "no such persona")]


def test_the_pulse_changes_with_new_work_and_with_a_refresh(engine: Engine) -> None:
    seen = [data.pulse(engine)]
    for statement in (
        "INSERT INTO pending (asset, key, day) VALUES ('posts', 'a', '2026-01-02')",
        "INSERT INTO dashboard_refreshes (folded) VALUES (0)",
        "DELETE FROM pending",
    ):
        with engine.begin() as connection:
            connection.execute(text(statement))
        seen.append(data.pulse(engine))
    assert len(set(seen)) == 4


def test_filters_and_order_reach_every_page(seeded: Engine) -> None:
    asked = {"q": "change NUMBER", "source": "github_pr", "sort": "title"}
    first, second = (data.list_achievements(seeded, asked, page) for page in (1, 2))
    titles = [item.title for item in (*first.items, *second.items)]
    assert titles == sorted(titles)
    assert (first.total, len(titles)) == (29, 29)
    assert titles == [item.title for item in data.export_achievements(seeded, asked)]


def test_filters_narrow_together(seeded: Engine) -> None:
    found = data.list_achievements(seeded, {"category": "feature", "q": "number 1"}, 1)
    assert {item.category for item in found.items} == {"feature"}
    assert found.total == 8  # 1 and 10 to 21, where there is a 1 in them, without the multiples of three
    assert data.list_achievements(seeded, {"category": "no such category"}, 1).total == 0


@pytest.mark.parametrize(("words", "found"), [("%", 0), ("_", 0), ("number 0", 11), ("'; DROP TABLE posts; --", 0)])
def test_searched_words_are_taken_literally(seeded: Engine, words: str, found: int) -> None:
    assert data.list_achievements(seeded, {"q": words}, 1).total == found


@pytest.mark.parametrize("descending", ["impact", "-impact"])
def test_what_is_not_scored_comes_last_either_way(seeded: Engine, descending: str) -> None:
    scores = [item.impact_score for item in data.export_achievements(seeded, {"sort": descending})]
    assert scores[-1] is None
    assert scores.count(None) == 1


def test_a_page_beyond_the_last_shows_the_last(seeded: Engine) -> None:
    listing = data.list_achievements(seeded, {}, 99)
    assert (listing.page, listing.pages, len(listing.items)) == (2, 2, 30 - PER_PAGE)


def test_deleted_achievements_are_not_shown(seeded: Engine) -> None:
    with seeded.begin() as connection:
        connection.execute(text("UPDATE achievements SET deleted_at = now() WHERE id = 3"))
    assert data.achievement(seeded, 3) is None
    assert data.list_achievements(seeded, {}, 1).total == 29


def test_what_was_set_aside_is_shown_with_who_wrote_it(seeded: Engine) -> None:
    aside = '{"set_aside": [{"field": "title", "value": "Mine <b>", "edited_by": "ada", "edited_at": null}]}'
    with seeded.begin() as connection:
        connection.execute(text("UPDATE achievements SET metadata_json = :aside WHERE id = 3"), {"aside": aside})
    found = data.achievement(seeded, 3)
    assert found is not None
    assert found.set_aside == [SetAside("title", "Mine <b>", "ada")]
    shown = detail(View(seeded, Provenance("http://127.0.0.1:1"), Query.parse(""), "3"))
    assert "Title: “Mine <b>”" in str(shown.children)


@pytest.mark.parametrize("key", [0, 2**31, 2**62])
def test_what_no_row_can_have_is_not_found(seeded: Engine, key: int) -> None:
    assert data.achievement(seeded, key) is None
    assert data.post(seeded, key) is None


def test_a_post_without_an_arc_has_none(seeded: Engine) -> None:
    found = data.post(seeded, 2)
    assert found is not None
    item, segments = found
    assert (item.arc, item.engagement_rate, segments) == (None, None, [])


def test_parts_of_an_arc_come_in_order_with_unmeasured_emotions_missing(seeded: Engine) -> None:
    found = data.post(seeded, 1)
    assert found is not None
    assert [segment.index for segment in found[1]] == [0, 1, 2]
    assert found[1][1].emotions["sadness"] == 0.1
    assert found[1][1].emotions["anger"] is None


def test_variants_without_observations_have_no_rate(seeded: Engine) -> None:
    measured, unmeasured = data.experiment(seeded, "exp-00"), data.experiment(seeded, "exp-01")
    assert measured is not None
    assert unmeasured is not None
    assert [variant.rate for variant in measured.variants] == [0.02, 0.02]
    assert [(variant.rate, variant.impressions) for variant in unmeasured.variants] == [(None, None)] * 2
    assert [variant.is_control for variant in measured.variants] == [True, False]
