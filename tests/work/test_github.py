"""Connected repositories: the hook, the polling, the repair, and what is missing by number."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from assets.pull_requests import CHECKS
from tests.github_server import GitHubServer, Pull
from threads_agent_dagster.clients.github import GitHub
from threads_agent_dagster.db import checks
from threads_agent_dagster.db import github as db
from threads_agent_dagster.errors import ConfigurationError, Conflict, InvalidInput, NotFound
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work import achievements, imports
from threads_agent_dagster.work import github as work
from threads_agent_dagster.work.drain import Origin, drain
from threads_agent_dagster.work.pull_requests import import_github

SHOP = "acme/shop"
URL = "https://me.example"
SECRET = "the secret of the hook"
SETTINGS = Settings(github_webhook_secret=SecretStr(SECRET))
EARLIER, LATER = timedelta(hours=-5), timedelta(minutes=5)


def _now() -> datetime:
    return datetime.now(UTC)


def _execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def _drain(engine: Engine) -> set[str]:
    drain(engine, achievements.job(), None, Origin("run", achievements.CODE_VERSION))
    with engine.connect() as connection:
        return set(connection.execute(text("SELECT source_key FROM achievements")).scalars())


def _sync(engine: Engine, github: GitHub) -> work.Synced:
    (done,) = work.sync(engine, lambda: nullcontext(github), _now(), 60)
    return done


def _missing(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return checks.run(connection, CHECKS, {})["merged_prs_all_collected"].samples


@pytest.fixture
def shop(server: GitHubServer) -> GitHubServer:
    server.add(SHOP, Pull(1, "feat: before", at=_now() + EARLIER))
    return server


def test_a_public_address_gets_a_hook_with_the_secret_once(engine: Engine, github: GitHub, shop: GitHubServer) -> None:
    made = work.connect(engine, github, SETTINGS, "acme/Shop", URL)
    assert (made.repository, made.hook_url) == (SHOP, f"{URL}/webhooks/github")
    again = work.connect(engine, github, SETTINGS, SHOP, URL)
    assert again == made, "the hook that is there is kept"
    (hook,) = shop.hooks.values()
    assert hook["config"]["content_type"] == "json"
    assert {"pull_request", "push", "issues", "release"} <= set(hook["events"])
    assert SECRET not in str(made)
    assert shop.refused == []


def test_without_a_secret_no_hook_is_made(engine: Engine, github: GitHub, shop: GitHubServer) -> None:
    with pytest.raises(ConfigurationError, match="GITHUB_WEBHOOK_SECRET"):
        work.connect(engine, github, Settings(github_webhook_secret=None), SHOP, URL)
    assert shop.hooks == {}


@pytest.mark.parametrize(
    "url", ["http://localhost:8090", "http://127.0.0.1", "https://10.0.0.4/x", "ftp://me.example", "me.example", "https://a:b@me.example"]
)  # fmt: skip
def test_an_address_that_github_cannot_reach_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="--url"):
        work.webhook_url(url)


@pytest.mark.parametrize("url", [URL, f"{URL}/", f"{URL}/webhooks/github"])
def test_deliveries_go_to_the_webhook(url: str) -> None:
    assert work.webhook_url(url) == f"{URL}/webhooks/github"


def test_polling_brings_what_is_merged_from_now_on(engine: Engine, github: GitHub, shop: GitHubServer) -> None:
    work.connect(engine, github, SETTINGS, SHOP, None)
    assert _sync(engine, github).read == 0
    assert _drain(engine) == set(), "history comes with import github"
    shop.add(SHOP, Pull(2, "feat: after", at=_now() + LATER))
    assert _sync(engine, github).read == 1
    assert _drain(engine) == {f"gh:{SHOP}:pr:2"}
    budget = shop.remaining
    assert _sync(engine, github) == work.Synced(SHOP)
    assert shop.remaining == budget, "nothing new costs nothing"
    import_github(engine, github, SHOP, _now())
    assert _drain(engine) == {f"gh:{SHOP}:pr:1", f"gh:{SHOP}:pr:2"}


def test_an_import_that_would_come_back_is_not_undone(engine: Engine, github: GitHub, shop: GitHubServer) -> None:
    work.connect(engine, github, SETTINGS, SHOP, None)
    import_id = import_github(engine, github, SHOP, _now()).import_id
    assert import_id is not None
    with pytest.raises(Conflict, match="disconnect"):
        imports.undo(engine, import_id)
    work.disconnect(engine, lambda: nullcontext(github), SHOP)
    imports.undo(engine, import_id)
    assert _drain(engine) == set()


def test_disconnecting_takes_the_hook_away_and_nothing_else(engine: Engine, github: GitHub, shop: GitHubServer) -> None:
    import_github(engine, github, SHOP, _now())
    work.connect(engine, github, SETTINGS, SHOP, URL)
    work.disconnect(engine, lambda: nullcontext(github), "ACME/shop")
    assert shop.hooks == {}
    assert _drain(engine) == {f"gh:{SHOP}:pr:1"}
    with engine.connect() as connection:
        assert not db.any_connected(connection)
    with pytest.raises(NotFound, match="github list"):
        work.disconnect(engine, lambda: nullcontext(github), SHOP)


def test_what_is_merged_and_not_collected_is_named(engine: Engine, github: GitHub, shop: GitHubServer) -> None:
    """The check fires when an achievement is taken away, and names the number."""
    shop.add(SHOP, Pull(2, "feat: two", at=_now() + EARLIER), Pull(3, "feat: three", at=_now() + EARLIER))
    shop.add(SHOP, Pull(4, "chore: bump", login="dependabot[bot]", kind="Bot", at=_now() + EARLIER))
    import_github(engine, github, SHOP, _now())
    _drain(engine)
    _execute(engine, "UPDATE pull_requests SET listed_at = now() - interval '2 hours'")
    assert _missing(engine) == []
    _execute(engine, f"DELETE FROM achievements WHERE source_key = 'gh:{SHOP}:pr:2'")
    assert _missing(engine) == [f"{SHOP}#2"]
    _execute(engine, f"UPDATE achievements SET deleted_at = now() WHERE source_key = 'gh:{SHOP}:pr:3'")
    assert _missing(engine) == [f"{SHOP}#2"], "what a person took away was collected"


def test_what_no_delivery_brought_is_named_and_import_brings_it(
    engine: Engine, github: GitHub, shop: GitHubServer
) -> None:
    work.connect(engine, github, SETTINGS, SHOP, URL)
    shop.add(SHOP, Pull(2, "feat: lost", at=_now() + LATER))
    assert _sync(engine, github).listed == 1
    assert _missing(engine) == [], "a delivery may still be on its way"
    hour = "now() - interval '2 hours'"
    _execute(engine, f"UPDATE pull_requests SET listed_at = {hour}, merged_at = {hour}")
    assert _missing(engine) == [f"{SHOP}#2"], "what was merged before the connection is not expected"
    with engine.connect() as connection:
        assert [one.missing for one in db.connected(connection)] == [1]
    import_github(engine, github, SHOP, _now())
    _drain(engine)
    assert _missing(engine) == []


def test_failed_deliveries_are_asked_for_once_more(engine: Engine, github: GitHub, shop: GitHubServer) -> None:
    work.connect(engine, github, SETTINGS, SHOP, URL)
    (hook_id,) = shop.hooks
    now = _now()
    shop.add_delivery(hook_id, "too-old", now - timedelta(days=4), 502)
    shop.add_delivery(hook_id, "failed", now - timedelta(days=2), 502)
    shop.add_delivery(hook_id, "arrived-though", now - timedelta(days=2), 504)
    shop.add_delivery(hook_id, "fine", now - timedelta(days=1), 202)
    shop.add_delivery(hook_id, "failed-then-fine", now - timedelta(hours=3), 500)
    shop.add_delivery(hook_id, "failed-then-fine", now - timedelta(hours=2), 202, redelivery=True)
    shop.add_delivery(hook_id, "unreachable", now - timedelta(hours=1), 0)
    shop.add_delivery(hook_id, "hello", now - timedelta(hours=1), 502, event="ping")
    _execute(
        engine,
        "INSERT INTO inbox (source, delivery_id, event, body, body_hash, day) "
        "VALUES ('github', 'arrived-though', 'push', '{}', 'x', '2026-01-01')",
    )
    asked: list[str] = []

    def deliver(first: Any) -> int:
        asked.append(first["guid"])
        return 502 if first["guid"] == "unreachable" else 202

    shop.deliver = deliver
    assert _sync(engine, github).redelivered == 2
    assert asked == ["failed", "unreachable"], "the oldest first"
    assert _sync(engine, github).redelivered == 0, "each once, also where it failed again"
    assert shop.refused == []


def test_many_failed_deliveries_are_asked_for_in_turns(engine: Engine, github: GitHub, shop: GitHubServer) -> None:
    work.connect(engine, github, SETTINGS, SHOP, URL)
    (hook_id,) = shop.hooks
    for number in range(130):
        shop.add_delivery(hook_id, f"guid-{number}", _now() - timedelta(minutes=200 - number), 502)
    assert [_sync(engine, github).redelivered for _ in range(4)] == [50, 50, 30, 0]


def test_a_repository_that_fails_is_shown_and_stops_no_other(
    engine: Engine, github: GitHub, shop: GitHubServer
) -> None:
    shop.add("acme/other", Pull(1, "feat: other", at=_now() + EARLIER))
    for name in (SHOP, "acme/other"):
        work.connect(engine, github, SETTINGS, name, None)
    shop.add("acme/other", Pull(2, "feat: new", at=_now() + LATER))
    del shop.pulls[SHOP]
    other, broken = work.sync(engine, lambda: nullcontext(github), _now(), 60)
    assert (other.read, other.failure) == (1, None)
    assert broken.failure is not None
    assert "may not see it" in broken.failure
    with engine.connect() as connection:
        found = checks.run(connection, CHECKS, {})["every_connected_repository_answers"]
    assert [sample.partition(":")[0] for sample in found.samples] == [SHOP]
