"""`threads-agent up` by an ordinary user: on data of every age, beside another one, killed, in the background.

Real platforms start here four times; that is what the file costs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from threads_agent_dagster.db import migrate, revisions
from threads_agent_dagster.local import schema
from threads_agent_dagster.local.home import Home
from threads_agent_dagster.local.pgfiles import wheel_binaries
from threads_agent_dagster.local.processes import end_marked, end_server, marked

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("threads_agent_dagster", "assets", "resources", "sensors", "dash_app")
SECONDS = 300.0


@dataclass
class Person:
    """Somebody with a home directory, an installation that is no git checkout, and the command `threads-agent`."""

    python: str
    become: dict[str, Any]
    folder: Path

    @property
    def data(self) -> Home:
        return Home(self.folder / "data")

    def start(self, *arguments: str, output: Path, **variables: str) -> subprocess.Popen[bytes]:
        with output.open("wb") as file:
            return subprocess.Popen(
                [self.python, "-P", "-m", "threads_agent_dagster.cli", *arguments],
                env=self._environment(variables),
                cwd=self.folder / "work",
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self.become,
            )

    def run(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """The exit code and what was written, standard error included."""
        output = self.folder / "output"
        code = self.start(*arguments, output=output, **variables).wait(SECONDS)
        return code, output.read_text()

    def status(self) -> dict[str, Any]:
        _, text = self.run("status", "--json")
        return dict(json.loads(text))

    def service(self, name: str) -> dict[str, Any]:
        return next(service for service in self.status()["services"] if service["name"] == name)

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "user"),
            "PYTHONPATH": os.pathsep.join([str(self.folder / "installed"), *filter(None, sys.path)]),
            "THREADS_AGENT_HOME": str(self.data.root),
            **variables,
        }


@pytest.fixture
def person(ordinary_user: tuple[str, dict[str, Any]]) -> Iterator[Person]:
    yield from _person(*ordinary_user)


@pytest.fixture(scope="module")
def owner(ordinary_user: tuple[str, dict[str, Any]]) -> Iterator[Person]:
    """Who runs the platform that the tests share."""
    yield from _person(*ordinary_user)


def _person(python: str, become: dict[str, Any]) -> Iterator[Person]:
    person = Person(python, become, Path(tempfile.mkdtemp(prefix="ta-test-")))
    person.folder.chmod(0o711)
    for name in ("work", "user", "data", "installed"):
        (person.folder / name).mkdir()
        os.chown(person.folder / name, become.get("user", -1), become.get("group", -1))
    for package in PACKAGES:
        (person.folder / "installed" / package).symlink_to(ROOT / package)
    yield person
    if person.data.state.exists():  # a test failed before its end
        person.run("down")
    end_marked(f"{person.data.key}/", 5)
    end_server(person.data.postgres / "cluster")
    shutil.rmtree(person.folder)


@pytest.fixture(scope="module")
def up(owner: Person) -> Iterator[subprocess.Popen[bytes]]:
    """The platform in the foreground, with the demo."""
    log = owner.folder / "up.log"
    process = owner.start("up", "--demo", "--ports", "auto", output=log)

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        return "The platform is ready." in log.read_text()

    try:
        _until("the platform to be ready", is_ready)
        yield process
    finally:
        process.terminate()
        process.wait(SECONDS)


def _until(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.2)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _endpoints(person: Person) -> dict[str, str]:
    return dict(json.loads(person.data.endpoints.read_text()))


def _execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_an_ordinary_user_starts_it_without_a_git_history_and_is_told(
    owner: Person, up: subprocess.Popen[bytes]
) -> None:
    assert psutil.Process(up.pid).uids().real != 0
    assert "no git history here" in (owner.folder / "up.log").read_text()
    said = (owner.folder / "up.log").read_text()
    assert (owner.data.root / "api_key").read_text().strip() not in said  # it may be anybody's log
    assert f"in {owner.data.root / 'api_key'}" in said
    assert owner.status()["ready"]
    assert list((owner.folder / "user").iterdir()) == list((owner.folder / "work").iterdir()) == []


def test_the_doctor_finds_a_running_platform_healthy(owner: Person, up: subprocess.Popen[bytes]) -> None:
    code, text = owner.run("doctor", "--json")
    findings = {finding["name"]: finding["ok"] for finding in json.loads(text)}
    assert findings.keys() >= {"database", "migrations", "code location", "daemon"}
    assert code == 0, text


def test_a_second_up_on_the_same_data_is_refused(owner: Person, up: subprocess.Popen[bytes]) -> None:
    code, text = owner.run("up", "--ports", "auto")
    assert code == 1
    assert text == (
        f"threads-agent: the platform in {owner.data.root} is already run by process {up.pid}; stop that one first\n"
    )
    assert owner.status()["ready"]


def test_a_killed_postmaster_is_replaced(owner: Person, up: subprocess.Popen[bytes]) -> None:
    endpoints = _endpoints(owner)
    _execute(endpoints["database_url"], "INSERT INTO personas (id, name, voice) VALUES ('kept', 'Kept', 'plain')")
    os.kill(owner.service("postgres")["pid"], signal.SIGKILL)
    _until("the next postmaster", lambda: owner.service("postgres")["restarts"] == 1 and owner.status()["ready"])
    ready = f"{endpoints['orchestrator']}/readyz"
    _until("the API to find it", lambda: httpx.get(ready, timeout=60).status_code == 200)
    assert _execute(endpoints["database_url"], "SELECT 1 FROM personas WHERE id = 'kept'")


def test_a_killed_supervisor_leaves_nothing_and_the_next_one_resumes(
    owner: Person, up: subprocess.Popen[bytes]
) -> None:
    family = psutil.Process(up.pid).children(recursive=True)
    up.kill()
    up.wait()
    _until("all of it to end", lambda: not any(map(_lives, family)))
    code, text = owner.run("up", "--detach", "--ports", "auto")
    assert code == 0, text
    assert _endpoints(owner)["dash"] in text
    assert text.endswith("threads-agent down\n\n")
    assert owner.run("status")[0] == 0
    assert _execute(_endpoints(owner)["database_url"], "SELECT 1 FROM personas WHERE id = 'kept'")
    family = [psutil.Process(service["pid"]) for service in owner.status()["services"]]
    assert {"postgres", "api", "code", "dash", "webserver", "daemon"} <= {s["name"] for s in owner.status()["services"]}
    assert owner.run("down") == (0, "stopped\n")
    assert not any(map(_lives, family))
    assert marked(f"{owner.data.key}/") == []
    assert owner.run("status")[0] == 1
    assert not owner.data.endpoints.exists()


def test_data_of_an_older_version_are_saved_then_ours_and_dagsters_tables_migrated(
    person: Person, empty_database_url: str
) -> None:
    code, text = person.run("db", "upgrade", "--dagster", DATABASE_URL=empty_database_url)
    assert code == 0, text
    _execute(empty_database_url, "INSERT INTO personas (id, name, voice) VALUES ('kept', 'Kept', 'plain')")
    older = _make_older(empty_database_url)
    code, text = person.run("up", "--detach", "--ports", "auto", DATABASE_URL=empty_database_url)
    assert code == 0, text
    assert person.run("down") == (0, "stopped\n")
    assert migrate.current(empty_database_url) == revisions.head()
    assert schema.dagster_version(empty_database_url) == version("dagster")
    assert _execute(empty_database_url, DAGSTER_COLUMN)
    assert not (person.data.root / "postgres").exists()
    [saved] = person.data.backups.iterdir()
    assert older in saved.name
    content = subprocess.run([wheel_binaries() / "pg_restore", "-f", "-", saved], capture_output=True, check=True)
    assert b"kept\tKept" in content.stdout
    assert older.encode() in content.stdout


DAGSTER_COLUMN = (
    "SELECT 1 FROM information_schema.columns "
    "WHERE table_schema = 'dagster' AND table_name = 'concurrency_limits' AND column_name = 'using_default_limit'"
)


def _make_older(url: str) -> str:
    """Takes our last revision and one of Dagster's back; returns the revision that is left of ours."""
    migrate.downgrade(url, "-1")
    _execute(url, "ALTER TABLE dagster.concurrency_limits DROP COLUMN using_default_limit")
    _execute(url, "UPDATE dagster.alembic_version SET version_num = '6b7fb194ff9c'")
    _execute(url, "COMMENT ON SCHEMA dagster IS '1.9.0'")
    assert not _execute(url, DAGSTER_COLUMN)
    older = migrate.current(url)
    assert older is not None
    return older


def test_data_of_a_newer_version_are_refused(person: Person, database_url: str) -> None:
    _execute(database_url, "UPDATE alembic_version SET version_num = '9999_from_the_future'")
    code, text = person.run("up", "--ports", "auto", DATABASE_URL=database_url)
    assert code == 1
    assert "9999_from_the_future" in text
    assert "written by a newer version; install that version" in text
    assert _execute(database_url, "SELECT version_num FROM alembic_version") == [("9999_from_the_future",)]
    assert marked(f"{person.data.key}/") == []


def test_taken_ports_are_named_with_their_holder_and_the_way_out(person: Person) -> None:
    names = ("ORCHESTRATOR", "ACHIEVEMENTS", "PROMPTS", "DAGSTER", "DASH")
    variables = {f"THREADS_AGENT_{name}_PORT": "0" for name in names}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, text = person.run("up", **variables | {"THREADS_AGENT_DASH_PORT": port})
    assert code == 1
    assert f"port {port} is taken by " in text
    assert "set THREADS_AGENT_DASH_PORT; or let `--ports auto` choose free ones" in text
    assert marked(f"{person.data.key}/") == []


def test_dagsters_own_launcher_executes_the_runs_where_that_is_set(person: Person) -> None:
    """They are children of the code server, which is ours in either case."""
    code, told = person.run("up", "--detach", "--ports", "auto", THREADS_AGENT_RUN_LAUNCHER="default")
    assert code == 0, told
    assert "run-host" not in {service["name"] for service in person.status()["services"]}
    assert person.run("task", "add", "what we shipped")[0] == 0
    _until("the post", lambda: '"status": "completed"' in person.run("task", "show", "1")[1])
