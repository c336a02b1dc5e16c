"""The embedded server, for real: what it promises, whatever was killed, as root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from threads_agent_dagster.errors import Conflict
from threads_agent_dagster.local.postgres import EmbeddedPostgres
from threads_agent_dagster.local.processes import end_server

REPOSITORY = Path(__file__).parents[2]
OWNER = """
import sys, time
from pathlib import Path
from threads_agent_dagster.local.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
print(server.start(), flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the server's account can reach, unlike pytest's own when root runs it."""
    path = Path(tempfile.mkdtemp(prefix="ta-test-"))
    yield path
    if path.exists():
        end_server(path / "cluster")
        shutil.rmtree(path)


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shared() -> Iterator[EmbeddedPostgres]:
    """One server for the tests that only look."""
    folder = Path(tempfile.mkdtemp(prefix="ta-test-"))
    server = EmbeddedPostgres(folder)
    server.start()
    yield server
    server.remove()


def _value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def _remember(url: str, word: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", [word])


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _owner(folder: Path, python: str = sys.executable, **popen: object) -> tuple[subprocess.Popen[str], str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path]), "HOME": "/tmp"}
    command = [python, "-c", OWNER, str(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd="/", **popen
    )  # type: ignore[call-overload]
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_it_checks_its_pages_and_sorts_the_same_everywhere(shared: EmbeddedPostgres) -> None:
    assert _value(shared.url, "SHOW data_checksums") == "on"
    assert _value(shared.url, "SHOW server_encoding") == "UTF8"
    assert _value(shared.url, "SELECT datlocprovider::text FROM pg_database WHERE datname = current_database()") == "b"
    assert _value(shared.url, "SELECT upper('é')") == "É"


def test_it_is_durable_unless_a_test_asks_otherwise(shared: EmbeddedPostgres) -> None:
    settings = ("fsync", "full_page_writes", "synchronous_commit")
    assert {_value(shared.url, f"SHOW {name}") for name in settings} == {"on"}


def test_it_refuses_a_wrong_password_over_both_ways_in(shared: EmbeddedPostgres) -> None:
    sockets = str(_value(shared.url, "SHOW unix_socket_directories"))
    port = str(_value(shared.url, "SHOW port"))
    for host in ("127.0.0.1", sockets):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(host=host, port=port, user="threads_agent", password="guess", dbname="threads_agent")
    assert Path(sockets).stat().st_mode & 0o077 == 0


def test_only_the_owner_may_read_the_password(shared: EmbeddedPostgres) -> None:
    assert (shared.data_dir / "password").stat().st_mode & 0o777 == 0o600


def test_it_has_the_vector_extension(shared: EmbeddedPostgres) -> None:
    with psycopg.connect(shared.url) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE EXTENSION pg_trgm")


def test_a_stopped_server_resumes_with_its_data_on_the_same_port(server: EmbeddedPostgres) -> None:
    url = server.url
    _remember(url, "kept")
    server.stop()
    assert not server.is_alive()
    assert server.start() == url
    assert _value(url, "SELECT word FROM words") == "kept"


def test_a_killed_postmaster_is_seen_and_replaced(server: EmbeddedPostgres) -> None:
    url, pid = server.url, server.pid
    assert pid is not None
    _remember(url, "kept")
    os.kill(pid, signal.SIGKILL)
    _until(lambda: not server.is_alive())
    assert server.exit_code == -signal.SIGKILL
    assert server.start() == url
    assert server.pid != pid
    assert _value(url, "SELECT word FROM words") == "kept"


def test_backends_that_outlive_a_killed_postmaster_do_not_block_the_next_one(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    busy = psycopg.connect(server.url)
    backend = psutil.Process(busy.info.backend_pid)
    backend.suspend()  # it cannot notice the loss
    os.kill(server.pid, signal.SIGKILL)
    _until(lambda: not server.is_alive())
    assert backend.is_running()
    url = server.start()
    assert not backend.is_running() or backend.status() == psutil.STATUS_ZOMBIE  # where nobody reaps, it stays listed
    assert _value(url, "SELECT 1") == 1


def test_after_a_killed_owner_the_next_one_takes_over(folder: Path) -> None:
    first, url = _owner(folder)
    _remember(url, "kept")
    first.kill()
    first.wait()
    server = EmbeddedPostgres(folder, fsync=False)
    assert server.start() == url
    assert _value(url, "SELECT word FROM words") == "kept"
    server.stop()


def test_the_sockets_of_a_server_that_ended_after_its_owner_are_removed(folder: Path) -> None:
    owner, url = _owner(folder)
    sockets = Path(str(_value(url, "SHOW unix_socket_directories")))
    owner.kill()
    owner.wait()
    end_server(folder / "cluster")
    assert sockets.exists()
    with EmbeddedPostgres(folder, fsync=False):
        assert not sockets.exists()


def test_a_recycled_process_id_harms_nobody(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    _until(lambda: not server.is_alive())
    bystander = subprocess.Popen(["sleep", "600"], cwd=server.cluster)
    status = server.cluster / "postmaster.pid"
    status.write_text("\n".join([str(bystander.pid), *status.read_text().splitlines()[1:]]))
    server.start()
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_an_interrupted_initialisation_starts_over(folder: Path) -> None:
    (folder / "cluster.new").mkdir()
    (folder / "cluster.new" / "half").touch()
    with EmbeddedPostgres(folder, fsync=False) as url:
        assert _value(url, "SELECT 1") == 1


def test_two_owners_are_one_too_many(shared: EmbeddedPostgres) -> None:
    other = EmbeddedPostgres(shared.data_dir)
    with pytest.raises(Conflict, match=f"already run by process {os.getpid()}"):
        other.start()
    other.stop()  # owns nothing, so it ends nothing
    assert _value(shared.url, "SELECT 1") == 1


def test_no_process_and_no_socket_is_left(folder: Path) -> None:
    with EmbeddedPostgres(folder, fsync=False) as url:
        sockets = Path(str(_value(url, "SHOW unix_socket_directories")))
        assert sockets.is_dir()
    assert not sockets.exists()
    assert not [p for p in psutil.process_iter() if _cwd(p) == str(folder / "cluster")]


def _cwd(process: psutil.Process) -> str | None:
    try:
        return process.cwd()
    except psutil.Error:
        return None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to drop to another user")
def test_root_drops_to_another_user(shared: EmbeddedPostgres) -> None:
    assert shared.pid is not None
    assert psutil.Process(shared.pid).uids().real != 0
    assert shared.cluster.stat().st_uid == psutil.Process(shared.pid).uids().real


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's private folders are out of reach for the server")
def test_data_below_a_private_folder_move_where_the_server_can_reach_them(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    server = EmbeddedPostgres(private / "postgres", fsync=False)
    try:
        assert _value(server.start(), "SELECT 1") == 1
        assert (private / "postgres").is_symlink()
        assert (private / "postgres" / "cluster").resolve() == server.cluster.resolve()
        assert private.stat().st_mode & 0o777 == 0o700
    finally:
        server.remove()
    assert not server.cluster.exists()
    assert not (private / "postgres").is_symlink()


def test_it_runs_as_an_ordinary_user(folder: Path, ordinary_user: tuple[str, dict[str, Any]]) -> None:
    python, become = ordinary_user
    os.chown(folder, become.get("user", -1), become.get("group", -1))
    owner, url = _owner(folder, python, **become)
    assert _value(url, "SELECT 1") == 1
    assert (folder / "cluster").stat().st_uid == folder.stat().st_uid != 0
    owner.communicate()
    assert owner.returncode == 0
