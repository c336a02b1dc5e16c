"""Real PostgreSQL for the tests: one embedded server for all workers, one database for each test."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text

from tests.receiver import Receiver
from threads_agent_dagster.db import migrate
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.local.postgres import EmbeddedPostgres

REPOSITORY = Path(__file__).parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
TEMPLATE = "template_migrated"
NOBODY = 65534


def _on(server_url: str, database: str) -> str:
    return make_url(server_url).set(database=database).render_as_string(hide_password=False)


@contextmanager
def _administration(server_url: str) -> Iterator[Engine]:
    engine = make_engine(server_url)
    try:
        yield engine.execution_options(isolation_level="AUTOCOMMIT")
    finally:
        engine.dispose()


def _run(server_url: str, statement: str) -> None:
    with _administration(server_url) as engine, engine.connect() as connection:
        connection.execute(text(statement))


@pytest.fixture(scope="session")
def postgres_server_url(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """A server of this pytest worker's own; workers share nothing, so that none waits for another."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp(f"postgres-{worker_id}"), fsync=False)
    url = server.start()
    try:
        _run(url, f"CREATE DATABASE {TEMPLATE}")
        migrate.upgrade(_on(url, TEMPLATE))
        yield url
    finally:
        server.remove()


@pytest.fixture
def empty_database_url(postgres_server_url: str) -> Iterator[str]:
    """A database with nothing in it."""
    yield from _fresh_database(postgres_server_url, "template0")


@pytest.fixture
def database_url(postgres_server_url: str) -> Iterator[str]:
    """A migrated database of this test's own."""
    yield from _fresh_database(postgres_server_url, TEMPLATE)


def _fresh_database(server_url: str, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:16]}"
    _run(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _on(server_url, name)
    _run(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on this test's migrated database."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An HTTP server that others post to."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """The xdist worker's name; `main` without xdist."""
    return getattr(request.config, "workerinput", {}).get("workerid", "main")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; its absence is a failure in CI and a named skip elsewhere."""
    if not SHARED_DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"the shared data folder {SHARED_DATA} is missing, and CI must not skip")
        pytest.skip("the shared data folder is not beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def ordinary_user() -> tuple[str, dict[str, Any]]:
    """Somebody who is not root, also where root runs the tests: a Python, and the arguments of Popen to become them."""
    if os.geteuid() != 0:
        return sys.executable, {}
    become = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        try:  # the interpreter in use may lie in somebody's private home
            subprocess.run([candidate, "-c", ""], check=True, cwd="/", capture_output=True, **become)
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate, become
    pytest.fail(f"no Python {version} on this machine that an ordinary user may run")
