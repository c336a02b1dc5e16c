"""The continuous archive: every change of the embedded database, on another disk as it is committed.

Below `backup_dir` each life of a database has a folder of its own, named in its data folder's file `history`: a
restored database begins another one, so that two never write into the same archive. In it: `wal` (what pg_receivewal
writes, without a gap thanks to a slot), `base` (backups), `marks` (named moments).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from threads_agent_dagster.errors import ConfigurationError
from threads_agent_dagster.local.home import Home, write_private
from threads_agent_dagster.local.pgfiles import wheel_binaries
from threads_agent_dagster.local.postgres import EmbeddedPostgres
from threads_agent_dagster.local.schema import libpq
from threads_agent_dagster.local.services import Program

SLOT = "threads_agent_archive"
GRACE_SECONDS = 5.0
FLUSHED = "SELECT flush_lsn::text FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'"
MAKE_SLOT = "SELECT pg_create_physical_replication_slot(%s, true)"
DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
WAL_STATUS = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s"


@dataclass(frozen=True)
class History:
    """The backups of one life of one database."""

    folder: Path

    @property
    def wal(self) -> Path:
        return self.folder / "wal"

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def marks(self) -> Path:
        return self.folder / "marks"

    def create(self) -> None:
        """Make the folders; only their owner may look. Raises ConfigurationError where that is not possible."""
        try:
            for folder in (self.folder, self.wal, self.base, self.marks):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"backups cannot be kept in {self.folder.parent} ({error.strerror}); set THREADS_AGENT_BACKUP_DIR"
            ) from error

    def segments(self) -> list[Path]:
        """The archived write-ahead log, oldest first; the last one is still written to."""
        return sorted(path for path in self.wal.glob("0*") if len(path.name.removesuffix(".partial")) == 24)


def current(backups: Path, home: Home) -> History:
    """The history of the database in `home`, begun if there is none."""
    note = home.postgres / "history"
    if not note.exists():
        write_private(note, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}\n")
    history = History(backups / note.read_text().strip())
    history.create()
    return history


def settings(*, synchronous: bool) -> dict[str, str]:
    """What the server has to know of its archive."""
    return {"synchronous_standby_names": SLOT if synchronous else ""}


def receiver(home: Home, server: EmbeddedPostgres, backups: Path) -> tuple[Program, bool]:
    """The program that receives every change; and whether a gap made it begin a new history."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        found = connection.execute(WAL_STATUS, [SLOT]).fetchone()
        gap = found is not None and found[0] == "lost"
        if gap:
            connection.execute(DROP_SLOT, [SLOT])
            (home.postgres / "history").unlink(missing_ok=True)
        if gap or found is None:
            connection.execute(MAKE_SLOT, [SLOT])
    history = current(backups, home)
    return _program(home, server.url, history), gap


def abandon(server: EmbeddedPostgres) -> None:
    """Without a receiver the server must not keep its log for one."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(DROP_SLOT, [SLOT])


def flushed(database_url: str) -> str | None:
    """Up to where the archive has everything on its disk; None while nobody receives."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute(FLUSHED, [SLOT]).fetchone()
    return None if found is None else found[0]


def _program(home: Home, database_url: str, history: History) -> Program:
    environment: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGAPPNAME": SLOT, **libpq(database_url)}
    options = ["--directory", str(history.wal), "--slot", SLOT, "--synchronous", "--no-loop", "--no-password"]
    return Program(
        name="archive",
        command=[str(wheel_binaries() / "pg_receivewal"), *options],
        environment=environment,
        folder=history.folder,
        log=home.log("archive"),
        home_key=home.key,
        ready=lambda: flushed(database_url) is not None,
        grace_seconds=GRACE_SECONDS,
    )
