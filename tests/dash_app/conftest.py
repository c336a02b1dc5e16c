"""The dashboard as people get it: real rows in a real database, served over HTTP, looked at with a real browser."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright
from sqlalchemy import Connection, Engine, text

from dash_app import frame
from dash_app.app import create_app
from threads_agent_dagster.settings import Settings

expect.set_options(timeout=120_000)  # ms; a patient limit for a busy machine, not a pause

RUN_ID = "3f6c1e52-8f0f-4e0c-9d6e-52d1c0a4b7aa"
NOW = datetime.now(UTC)
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
RULES = [
    {"name": "size: hand-written lines", "input": 412, "weight": 60, "points": 41.5},
    {"name": "reviewed by others: people", "input": None, "weight": 10, "points": 0},
    {"name": "kind of change", "input": 0.9, "weight": 35, "points": 31.5},
]
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

_ACHIEVEMENT = text("""
    INSERT INTO achievements (
        title, description, category, completed_at, impact_score, complexity_score, source_type, source_key, source_url,
        repository, author_name, impact_rules, complexity_rules, scorer_version, run_id, code_version
    ) VALUES (
        :title, :description, cast(:category AS achievement_category), :completed_at, :impact, 40, 'github_pr',
        'key ' || :number, :url, 'acme/threads', 'Ada Example', cast(:rules AS jsonb), cast(:rules AS jsonb),
        '1', :run, '7'
    )
    RETURNING id
""")
_ARC = text("""
    WITH arc AS (
        INSERT INTO emotion_trajectories (
            post_id, persona_id, day, content_hash, segment_count, trajectory_type, sentiment_compound,
            dominant_emotion, peaks, valleys, confidence, scorer_version, run_id, code_version
        ) VALUES (
            :post, 'default', utc_day(now()), 'h', 3, 'rising', 0.1, 'joy', '{2}', '{0}', 0.9, 'blend@1', :run, '7'
        )
        RETURNING id
    )
    INSERT INTO emotion_segments (trajectory_id, index, text, joy, sadness, sentiment_compound, dominant_emotion)
    SELECT arc.id, i, 'Part ' || i, 0.2 * i, 0.1, -0.4 + 0.5 * i, 'joy' FROM arc, generate_series(0, 2) AS i
""")

_EXPERIMENTS = text("""
    WITH made AS (
        INSERT INTO experiments (id, name, status)
        SELECT 'exp-' || lpad(i::text, 2, '0'), 'Experiment ' || i, 'running' FROM generate_series(0, :n - 1) AS i
        RETURNING id
    )
    INSERT INTO variants (variant_id, experiment_id, hook, is_control)
    SELECT made.id || '-' || letter, made.id, 'Hook ' || letter, letter = 'a'
    FROM made, unnest(ARRAY['a', 'b']) AS letter
""")


def _achievements(connection: Connection, n: int) -> None:
    for i in range(n):
        row = {
            "number": str(i),
            "title": HOSTILE if i == 0 else f"Change number {i:02}",
            "description": f"{HOSTILE} and more",
            "category": "feature" if i % 3 else "bugfix",
            "completed_at": NOW - timedelta(days=i),
            "impact": None if i == 1 else 73.0 if i == 2 else float(90 - i),
            "url": "javascript:alert(1)" if i == 0 else f"https://github.com/acme/threads/pull/{i}",
            "rules": None if i == 1 else json.dumps(RULES),
            "run": RUN_ID,
        }
        connection.execute(_ACHIEVEMENT, row)


def seed(engine: Engine, n: int = 30) -> None:
    """`n` achievements, posts with and without an arc, experiments with and without traffic, all of one run."""
    run = {"run": RUN_ID}
    with engine.begin() as connection:
        _achievements(connection, n)
        for i in range(n):
            post = connection.execute(
                text("""INSERT INTO posts (persona_id, hook, body, generator, run_id, code_version)
                        VALUES ('default', :hook, 'A body.', 'composer@1', :run, '7') RETURNING id"""),
                {"hook": f"Hook {i:02}", **run},
            ).scalar_one()
            if i % 2 == 0:
                connection.execute(_ARC, {"post": post, **run})
        connection.execute(_EXPERIMENTS, {"n": n})
        connection.execute(
            text("""
                INSERT INTO variant_performance (variant_id, dimensions, impressions, successes, mean_performance,
                                                 ci_low, ci_high, confidence_level, run_id, code_version)
                SELECT variant_id, '{}', 1000, 20, 0.02, 0.013, 0.031, 0.95, :run, '7' FROM variants
                WHERE experiment_id = 'exp-00'
            """),
            run,
        )
        connection.execute(text("SELECT refresh_dashboard_metrics()"))
        connection.execute(
            text("INSERT INTO dashboard_refreshes (folded, run_id, code_version) VALUES (1, :run, '7')"), run
        )


@pytest.fixture
def seeded(engine: Engine) -> Engine:
    """A database with everything that the pages show."""
    seed(engine)
    return engine


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Serves the dashboard over an engine; returns its address."""
    monkeypatch.setattr(frame, "POLL_SECONDS", 0.5)
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(engine: Engine, dagster_url: str = "http://127.0.0.1:1") -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        app = create_app(Settings(host="127.0.0.1", dagster_url=dagster_url), engine)
        server = uvicorn.Server(uvicorn.Config(app.server, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.fail("no Chromium: the browser tests need Debian's `chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A reader without cookies or settings, on a screen of 1280 × 900."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    context.set_default_timeout(120_000)  # ms; for a busy machine
    yield context
    context.close()
