"""Each page in a real browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, expect
from sqlalchemy import Engine, make_url, text

from threads_agent_dagster.db import identities
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.work import emotions
from threads_agent_dagster.work.drain import Origin, drain

pytestmark = pytest.mark.browser

RUN_ID = "3f6c1e52-8f0f-4e0c-9d6e-52d1c0a4b7aa"
PATHS = (
    "/",
    "/achievements",
    "/achievements/1",
    "/achievements/2",
    "/content",
    "/content/1",
    "/content/2",
    "/experiments",
    "/experiments/exp-00",
    "/experiments/exp-01",
)
EMPTY = {
    "/": ("dashboard_metrics", "threads-agent up"),
    "/achievements": ("achievements", "threads-agent import git PATH"),
    "/content": ("posts", "threads-agent task add"),
    "/experiments": ("variant_performance", "threads-agent import experiments FILE.csv"),
}
THREE_TICKS = """() => {
  const tick = window.dash_clientside.dashboard.tick;
  let passed = 0;
  return new Promise((told) => {
    window.dash_clientside.dashboard.tick = (ticks) => { ++passed > 2 && told(); return tick(ticks); };
  });
}"""


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def dagster() -> Iterator[str]:
    """Stands for the Dagster UI: answers every path with that path."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"Dagster at {self.path}".encode())

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def opened(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#body > *").first.wait_for()
    expect(page).to_have_title(re.compile("· Threads-Agent$"))


def source_of(page: Page, label: str) -> Page:
    """Follows the ⓘ of a number to the Dagster run that it names."""
    page.get_by_role("button", name=f"Where “{label}” comes from", exact=True).first.click()
    with page.context.expect_page() as followed:
        page.get_by_role("dialog").get_by_role("link", name=RUN_ID[:8]).click()
    return followed.value


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/", "Achievements"),
        ("/", "Last refresh"),
        ("/achievements/3", "Impact"),
        ("/content/1", "Mood"),
        ("/experiments/exp-00", "Success rate"),
    ],
)
def test_a_number_leads_to_the_run_that_made_it(
    seeded: Engine, serve: Callable[..., str], page: Page, dagster: str, path: str, label: str
) -> None:
    opened(page, serve(seeded, dagster) + path)
    followed = source_of(page, label)
    expect(followed.get_by_text(f"Dagster at /runs/{RUN_ID}")).to_be_visible()


def test_the_origin_names_asset_time_and_version(seeded: Engine, serve: Callable[..., str], page: Page) -> None:
    opened(page, serve(seeded))
    page.get_by_role("button", name="Where “Achievements” comes from").click()
    origin = page.get_by_role("dialog")
    expect(origin).to_contain_text("dashboard_metrics")
    expect(origin).to_contain_text("Code version7")
    expect(origin).to_contain_text(re.compile(r"Made at\d+ \w{3} \d{4}, \d\d:\d\d UTC"))


def test_the_origin_opens_and_closes_by_keyboard(seeded: Engine, serve: Callable[..., str], page: Page) -> None:
    opened(page, serve(seeded))
    button = page.get_by_role("button", name="Where “Achievements” comes from")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(button).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_ask_no_other_host_and_log_no_error(
    seeded: Engine, serve: Callable[..., str], page: Page, scheme: str
) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    base = serve(seeded)
    asked: list[str] = []
    complaints: list[str] = []

    def note_request(request: Request) -> None:
        if not request.url.startswith((base, "data:")):
            asked.append(request.url)

    def note_message(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    page.on("request", note_request)
    page.on("console", note_message)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for path in PATHS:
        opened(page, base + path)
        for chart in page.locator(".js-plotly-plot").all():
            chart.locator(".main-svg").first.wait_for()
    assert (asked, complaints) == ([], [])


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_wider_than_a_phone(seeded: Engine, serve: Callable[..., str], page: Page, path: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, serve(seeded) + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("path", EMPTY)
def test_an_empty_page_names_the_asset_and_what_fills_it(
    engine: Engine, serve: Callable[..., str], page: Page, path: str
) -> None:
    opened(page, serve(engine) + path)
    asset, command = EMPTY[path]
    notice = page.locator(".empty").first
    expect(notice.locator("code", has_text=asset).first).to_be_visible()
    expect(notice.locator("pre")).to_have_text(command)


def test_a_hostile_title_is_only_text(seeded: Engine, serve: Callable[..., str], page: Page) -> None:
    base = serve(seeded)
    opened(page, base + "/achievements")
    expect(page.get_by_role("link", name="<img src=x")).to_be_visible()
    opened(page, base + "/achievements/1")
    expect(page.get_by_role("heading", level=1)).to_contain_text("<img src=x onerror=")
    expect(page.locator("#body")).to_contain_text("and more")
    assert page.locator("main img, a[href^='javascript:']").count() == 0
    assert page.title() != "owned"


def test_the_score_is_explained_rule_by_rule(seeded: Engine, serve: Callable[..., str], page: Page) -> None:
    opened(page, serve(seeded) + "/achievements/3")
    impact = page.locator(".rules").first
    expect(impact.get_by_role("heading", name="Why 73.0?")).to_be_visible()
    rows = impact.locator("tbody tr")
    expect(rows.nth(0)).to_contain_text("Size: hand-written lines")
    expect(rows.nth(0)).to_contain_text("41.50 of 60")
    expect(rows.nth(1)).to_contain_text("—")  # not told, rather than zero reviewers
    expect(rows.last).to_contain_text("73.00")


def test_achievements_are_mine_until_everyones_are_asked_for(
    seeded: Engine, serve: Callable[..., str], page: Page
) -> None:
    with seeded.begin() as connection:
        connection.execute(text("UPDATE achievements SET source_type = 'git', author_email = 'bo@example.org'"))
        connection.execute(text("UPDATE achievements SET author_email = 'me@example.org' WHERE id = 3"))
        identities.add(connection, ["me@example.org"], [])
    base = serve(seeded)
    opened(page, base + "/achievements")
    expect(page.locator(".list tbody tr")).to_have_count(1)
    expect(page.locator(".page-heading")).to_contain_text("These are mine: show everyone's")
    page.get_by_role("link", name="show everyone's").click()
    expect(page.get_by_role("link", name="show mine")).to_be_visible()
    assert page.locator(".list tbody tr").count() > 1
    for link in ("Download CSV", "JSON Resume"):
        address = page.get_by_role("link", name=link).get_attribute("href")
        assert address is not None
        assert address.endswith("?who=everyone")
    with seeded.begin() as connection:
        identities.replace(connection, ["nobody@example.org"], [])
    opened(page, base + "/achievements")
    expect(page.locator(".empty")).to_contain_text("None of yours yet")


def test_an_achievement_that_was_not_scored_says_so(seeded: Engine, serve: Callable[..., str], page: Page) -> None:
    opened(page, serve(seeded) + "/achievements/2")
    expect(page.get_by_text("has not scored this row").first).to_be_visible()


def test_what_is_similar_is_shown_and_a_theme_is_a_filter(
    seeded: Engine, serve: Callable[..., str], page: Page
) -> None:
    with seeded.begin() as connection:
        connection.execute(
            text("""INSERT INTO achievement_embeddings (achievement_id, model, dimensions, content_hash, embedding)
                    VALUES (3, 'm', 2, '', '[0.6,0.8]'), (4, 'm', 2, '', '[0.8,0.6]'), (5, 'm', 2, '', '[-0.8,0.6]')""")
        )
        connection.execute(
            text("INSERT INTO achievement_themes (id, label, words) VALUES (1, 'ship · fast', '{ship}')")
        )
        connection.execute(text("INSERT INTO achievement_theme_members VALUES (3, 1, 0.9), (4, 1, 0.8)"))
    base = serve(seeded)
    opened(page, base + "/achievements/3")
    similar = page.locator(".rules").last
    expect(similar.locator("tbody tr")).to_have_count(1)
    expect(similar).to_contain_text("Change number 03")
    expect(similar).to_contain_text("0.96 same thing?")
    opened(page, base + "/achievements/6")
    expect(page.get_by_text("has no vector to compare by yet")).to_be_visible()
    opened(page, base + "/achievements?theme=1")
    expect(page.get_by_text("1–2 of 2 achievements")).to_be_visible()
    expect(page.get_by_role("link", name="JSON Resume")).to_have_attribute("href", "/portfolio/json-resume")


def test_a_link_reopens_the_same_view(seeded: Engine, serve: Callable[..., str], page: Page) -> None:
    base = serve(seeded)
    opened(page, base + "/achievements")
    page.get_by_label("Search", exact=True).fill("number 1")
    expect(page.get_by_text("1–12 of 12 achievements")).to_be_visible()
    page.get_by_role("link", name="Impact", exact=True).click()
    page.wait_for_url("**sort=-impact**")
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Impact")
    titles = page.locator("tbody .title").all_inner_texts()

    other = page.context.new_page()
    opened(other, page.url)
    expect(other.get_by_label("Search", exact=True)).to_have_value("number 1")
    assert other.locator("tbody .title").all_inner_texts() == titles


def test_the_back_button_brings_back_the_filters(seeded: Engine, serve: Callable[..., str], page: Page) -> None:
    opened(page, serve(seeded) + "/achievements")
    page.get_by_label("Search", exact=True).fill("number 1")
    page.wait_for_url("**q=number**")
    page.go_back()
    expect(page.get_by_label("Search", exact=True)).to_have_value("")
    expect(page.get_by_text("1–25 of 30 achievements")).to_be_visible()


def test_pages_of_a_table_are_links(seeded: Engine, serve: Callable[..., str], page: Page) -> None:
    opened(page, serve(seeded) + "/content")
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("26–30 of 30 posts")).to_be_visible()
    assert page.url.endswith("/content?page=2")


def test_filters_that_match_nothing_offer_to_clear_them(seeded: Engine, serve: Callable[..., str], page: Page) -> None:
    opened(page, serve(seeded) + "/achievements?q=nothing+like+this")
    page.get_by_role("link", name="Clear the filters").click()
    expect(page.get_by_text("1–25 of 30 achievements")).to_be_visible()
    expect(page.get_by_label("Search", exact=True)).to_have_value("")


@pytest.mark.parametrize(
    "path", ["/achievements/999", "/content/x", "/experiments/none", "/no/such/page", "/content/1/2"]
)
def test_what_does_not_exist_is_said_to(seeded: Engine, serve: Callable[..., str], page: Page, path: str) -> None:
    opened(page, serve(seeded) + path)
    expect(page.get_by_role("heading", level=1)).to_contain_text("No such")


def _publish(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO posts (persona_id, hook, body) VALUES ('default', 'New', 'one')"))
        connection.execute(text("SELECT refresh_dashboard_metrics()"))
        connection.execute(text("INSERT INTO dashboard_refreshes (folded) VALUES (1)"))


def test_new_figures_appear_without_a_reload(seeded: Engine, serve: Callable[..., str], page: Page) -> None:
    opened(page, serve(seeded))
    tile = page.locator(".tile", has_text="Posts").first.locator(".value")
    expect(tile).to_contain_text("30")
    _publish(seeded)
    expect(tile).to_contain_text("31")


def test_new_figures_wait_while_somebody_reads_where_a_number_comes_from(
    seeded: Engine, serve: Callable[..., str], page: Page
) -> None:
    opened(page, serve(seeded))
    tile = page.locator(".tile", has_text="Posts").first.locator(".value")
    tile.get_by_role("button").click()
    expect(page.locator(".provenance")).to_be_visible()
    _publish(seeded)
    page.evaluate(THREE_TICKS)
    expect(page.locator(".provenance")).to_be_visible()
    expect(tile).to_contain_text("30")
    page.keyboard.press("Escape")
    expect(tile).to_contain_text("31")


@contextmanager
def away(database_url: str) -> Iterator[None]:
    """The database refuses everyone, and drops those it has."""
    name = make_url(database_url).database
    admin = make_engine(make_url(database_url).set(database="postgres").render_as_string(hide_password=False))
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :n"), {"n": name}
        )
        try:
            yield
        finally:
            connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    admin.dispose()


@pytest.mark.parametrize("path", ["/", "/achievements"])
def test_an_open_page_says_that_the_database_is_away_and_heals(
    seeded: Engine, database_url: str, serve: Callable[..., str], page: Page, path: str
) -> None:
    opened(page, serve(seeded) + path)
    with away(database_url):
        expect(page.get_by_text("The database is not reachable")).to_be_visible()
        expect(page.locator("#body")).to_contain_text("acme/threads" if path != "/" else "Achievements by category")
    expect(page.get_by_text("The database is not reachable")).to_be_hidden()


def test_an_open_page_says_that_the_dashboard_is_away_and_draws_itself_anew(
    seeded: Engine, serve: Callable[..., str], page: Page
) -> None:
    """What was asked for meanwhile got no answer; it is asked for again, and nobody reloads."""
    opened(page, serve(seeded))
    page.evaluate("window.openedOnce = true")
    tile = page.locator(".tile", has_text="Posts").first.locator(".value")
    expect(tile).to_contain_text("30")
    page.route("**/_dash-update-component*", lambda route: route.abort("connectionrefused"))
    expect(page.get_by_text("The dashboard is not reachable")).to_be_visible()
    with seeded.begin() as connection:
        connection.execute(text("INSERT INTO posts (persona_id, hook, body) VALUES ('default', 'New', 'one')"))
        connection.execute(text("SELECT refresh_dashboard_metrics()"))
    expect(tile).to_contain_text("30")
    page.unroute("**/_dash-update-component*")
    expect(tile).to_contain_text("31")
    expect(page.get_by_text("The dashboard is not reachable")).to_be_hidden()
    assert page.evaluate("window.openedOnce")


@pytest.mark.parametrize("path", ["/", "/achievements", "/content/1"])
def test_a_page_opened_without_a_database_heals(
    seeded: Engine, database_url: str, serve: Callable[..., str], page: Page, path: str
) -> None:
    base = serve(seeded)
    with away(database_url):
        opened(page, base + path)
        expect(page.get_by_text("This page could not be read")).to_be_visible()
        assert page.locator(".empty").count() == 0
    expect(page.get_by_text("This page could not be read")).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_the_chosen_colour_scheme_is_kept(seeded: Engine, serve: Callable[..., str], page: Page) -> None:
    base = serve(seeded)
    opened(page, base)
    page.get_by_role("button", name="Toggle color scheme").click()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    opened(page, base + "/achievements")
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")


def test_what_was_not_measured_of_a_post_is_shown_as_missing(
    engine: Engine, serve: Callable[..., str], context: BrowserContext
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO posts (persona_id, hook, body, generator, run_id, code_version)
                    VALUES ('default', 'Je suis très content avec vous.', 'Je ne sais.', 'composer@1', :run, '1')"""),
            {"run": RUN_ID},
        )
    arcs = emotions.job("fast")
    assert drain(engine, arcs, None, Origin(RUN_ID, arcs.code_version)).stored == 1
    page = context.new_page()
    page.goto(f"{serve(engine)}/content/1")
    expect(page.get_by_text("Other language. Only English is analysed; no feeling is guessed.")).to_be_visible()
    expect(page.get_by_text("Part by part")).to_be_visible()
    expect(page.get_by_text("none stands out")).to_have_count(0)
    expect(page.locator(".js-plotly-plot")).to_have_count(0)
