"""Deliveries while PostgreSQL is killed, restarted and out of disk: what was acknowledged is there, once."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine, text

from threads_agent_dagster.api import apps, inbox
from threads_agent_dagster.db import migrate
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.local.postgres import EmbeddedPostgres
from threads_agent_dagster.settings import Settings

HOOK = "/webhooks/github"
SECRET = "a secret of this test"  # what the fixture `signed` signs with
Signed = Callable[..., dict[str, Any]]


@contextmanager
def _github(url: str) -> Iterator[TestClient]:
    settings = Settings(database_url=SecretStr(url), github_webhook_secret=SecretStr(SECRET), _env_file=None)
    with TestClient(apps.create_app("achievements", settings), raise_server_exceptions=False) as client:
        yield client


def _body(number: int, padding: int = 0) -> bytes:
    return json.dumps({"zen": f"delivery {number}", "padding": os.urandom(padding // 2).hex()}).encode()


def _stored(url: str) -> list[bytes]:
    engine = make_engine(url)
    with engine.connect() as connection:
        bodies = list(connection.execute(text("SELECT body FROM inbox")).scalars())
    engine.dispose()
    return bodies


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that may be killed, and that keeps what it was told."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    migrate.upgrade(server.start())
    yield server
    server.remove()


def _kill(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    while server.is_alive():
        time.sleep(0.01)
    server.start()


def _restart(server: EmbeddedPostgres) -> None:
    server.stop()
    server.start()


def _await(count: int, acknowledged: list[bytes], senders: list[Future[list[int]]]) -> None:
    while len(acknowledged) < count:
        assert not any(sender.done() for sender in senders)
        time.sleep(0.01)


@pytest.mark.parametrize("outage", [_kill, _restart])
def test_deliveries_are_held_while_a_real_postgres_comes_back(
    server: EmbeddedPostgres,
    signed: Signed,
    outage: Callable[[EmbeddedPostgres], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inbox, "HOLD_SECONDS", 120.0)  # a busy machine restarts a server in more than eight
    numbers, over = itertools.count(), threading.Event()
    acknowledged: list[bytes] = []

    def deliver(github: TestClient) -> list[int]:
        statuses = []
        while not over.is_set() and set(statuses) <= {202}:
            body = _body(next(numbers), padding=64)
            answer = github.post(HOOK, **signed(body, event="ping"))
            statuses.append(answer.status_code)
            if answer.status_code == 202:
                acknowledged.append(body)
        return statuses

    before = set(_stored(server.url))
    with _github(server.url) as github, ThreadPoolExecutor(6) as pool:
        senders = [pool.submit(deliver, github) for _ in range(6)]
        try:
            _await(20, acknowledged, senders)
            outage(server)
            _await(len(acknowledged) + 20, acknowledged, senders)
        finally:
            over.set()
        statuses = {status for sender in senders for status in sender.result()}
    assert statuses == {202}, "a delivery was refused although PostgreSQL came back in time"
    stored = _stored(server.url)
    assert len(stored) == len(set(stored))
    assert set(acknowledged) == set(stored) - before


@pytest.fixture
def small_disk() -> Iterator[subprocess.Popen[str]]:
    """The process of small_disk.py; its first line is the URL."""
    script = Path(__file__).with_name("small_disk.py")
    private = ["unshare", "--mount"]
    if os.geteuid() != 0:
        private += ["--user", "--map-current-user", "--keep-caps"]
    with tempfile.TemporaryDirectory(prefix="ta-disk-") as folder:  # pytest's own the server's account cannot reach
        command = [*private, sys.executable, str(script), folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            yield process
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


def _say(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def test_on_a_full_disk_nothing_is_acknowledged_that_is_lost(
    small_disk: subprocess.Popen[str], signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert small_disk.stdout is not None
    url = small_disk.stdout.readline().strip()
    assert url, "the server did not start"
    migrate.upgrade(url)
    _say(small_disk, "fill")
    monkeypatch.setattr(inbox, "HOLD_SECONDS", 0.5)
    acknowledged, refused = [], []
    with _github(url) as github:
        for number in range(200):
            delivery = signed(_body(number, padding=400_000), event="ping")
            answer = github.post(HOOK, **delivery)
            if answer.status_code == 202:
                acknowledged.append(delivery["content"])
                continue
            assert answer.status_code == 503, answer.text
            assert "disk is full" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) > 0
            refused.append(delivery)
            if len(refused) == 3:
                break
        assert acknowledged
        assert len(refused) == 3, "the disk did not fill up"
        _say(small_disk, "free")
        monkeypatch.undo()
        assert {github.post(HOOK, **delivery).status_code for delivery in refused} == {202}
    stored = _stored(url)
    assert sorted(stored) == sorted(acknowledged + [delivery["content"] for delivery in refused])


def test_what_comes_while_too_much_is_under_way_is_told_when_to_come_again(
    settings: Settings, engine: Engine, signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "MAX_REQUESTS", 2)
    with TestClient(apps.create_app("achievements", settings)) as github, ThreadPoolExecutor(2) as pool:
        with engine.begin() as connection:
            connection.execute(text("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE"))
            held = [pool.submit(github.post, HOOK, **signed(_body(number), event="ping")) for number in range(2)]
            waits = text("SELECT count(*) FROM pg_locks WHERE relation = 'inbox'::regclass AND NOT granted")
            with engine.connect() as watcher:
                while watcher.execute(waits).scalar_one() < 2:
                    watcher.rollback()
            answer = github.post(HOOK, **signed(_body(3), event="ping"))
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
            assert github.get("/livez").status_code == 200
        assert {one.result().status_code for one in held} == {202}
        assert github.post(HOOK, **signed(_body(3), event="ping")).status_code == 202


def test_bodies_that_would_fill_the_memory_are_not_read(
    settings: Settings, engine: Engine, signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "MAX_HELD_BYTES", 1000)
    with TestClient(apps.create_app("achievements", settings)) as github:
        for _ in range(2):
            answer = github.post(HOOK, **signed(_body(1, padding=2000), event="ping"))
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
        assert github.post(HOOK, **signed(_body(2), event="ping")).status_code == 202, "what was held is let go"
    assert len(_stored(engine.url.render_as_string(hide_password=False))) == 1
