"""Base backups of the embedded database, named moments between them, and seeing that both are whole.

All of it is PostgreSQL's own: pg_basebackup, pg_verifybackup, pg_waldump. One cluster holds our tables and Dagster's,
so one backup holds both. Beside each lie the home's secrets; a backup is as private as the data.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from threads_agent_dagster.errors import Conflict, InvalidInput, NotFound, PermanentFailure, Unavailable
from threads_agent_dagster.local import archive
from threads_agent_dagster.local.archive import History
from threads_agent_dagster.local.home import Home, read_json, write_json
from threads_agent_dagster.local.pgfiles import wheel_binaries
from threads_agent_dagster.local.schema import libpq

ARCHIVED_SECONDS = 30.0
SEGMENT_BYTES = 16 * 2**20
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}", re.IGNORECASE)
RESTORE_POINT = "SELECT pg_create_restore_point(%s)::text, clock_timestamp()"


@dataclass(frozen=True)
class Base:
    """One complete backup; `folder` holds `data`, `secrets` and `about.json`."""

    folder: Path
    began: str  # ISO 8601, like `finished`
    finished: str
    start_lsn: str
    end_lsn: str
    timeline: int
    size: int  # bytes
    seconds: float

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    @property
    def first_segment(self) -> str:
        """Name of the oldest file of the write-ahead log that it needs."""
        high, low = (int(part, 16) for part in self.start_lsn.split("/"))
        return f"{self.timeline:08X}{high:08X}{low // SEGMENT_BYTES:08X}"


@dataclass(frozen=True)
class Mark:
    """A named moment that one can go back to."""

    name: str
    lsn: str
    at: str  # ISO 8601


@dataclass(frozen=True)
class Verified:
    """What a history was seen to hold."""

    history: str
    bases: list[str]
    marks: list[str]
    segments: int  # files of the write-ahead log, unbroken since the oldest backup


def make(home: Home, database_url: str, backups: Path) -> Base:
    """A base backup of the running database, verified. Raises Unavailable with the tool's own words."""
    history, began, clock = archive.current(backups, home), datetime.now(UTC), time.monotonic()
    target = history.base / f"{began:%Y%m%dT%H%M%SZ}"
    draft = target.with_suffix(".part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    try:
        options = ["--checkpoint=fast", "--wal-method=stream", "--manifest-checksums=SHA256", "--no-password"]
        _tool("pg_basebackup", f"--pgdata={draft / 'data'}", *options, environment=libpq(database_url))
        _tool("pg_verifybackup", "--quiet", str(draft / "data"))
        _keep_secrets(home, database_url, draft / "secrets")
        start, end, timeline = _range(draft / "data")
        size = sum(path.stat().st_size for path in (draft / "data").rglob("*") if path.is_file())
        finished, seconds = datetime.now(UTC).isoformat(), round(time.monotonic() - clock, 2)
        base = Base(target, began.isoformat(), finished, start, end, timeline, size, seconds)
        write_json(draft / "about.json", {name: value for name, value in asdict(base).items() if name != "folder"})
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return base


def mark(home: Home, database_url: str, backups: Path, name: str) -> Mark:
    """Name this moment; returns when the archive has it. Raises Conflict without an archive or for a name in use."""
    history = archive.current(backups, home)
    file = history.marks / f"{name}.json"
    if not NAME.fullmatch(name):
        raise InvalidInput("letters, digits, dot, dash and underscore, at most 63", "mark")
    if file.exists():
        raise Conflict(f"there is a mark {name} already; choose another name")
    if archive.flushed(database_url) is None:
        raise Conflict("a mark needs the continuous archive; set THREADS_AGENT_BACKUP_DIR and start the platform anew")
    with psycopg.connect(database_url, autocommit=True) as connection:
        found = connection.execute(RESTORE_POINT, [name]).fetchone()
        assert found is not None  # a function call has one row
        _await_archived(connection, found[0])
    made = Mark(name, found[0], found[1].isoformat())
    write_json(file, asdict(made))
    return made


def prune(history: History, keep: int) -> int:
    """Delete all but the newest `keep` backups, and the log that only they needed; returns how many went."""
    found = bases(history)
    old, kept = found[:-keep], found[-keep:]
    for base in old:
        shutil.rmtree(base.folder)
    if old and history.segments():
        _tool("pg_archivecleanup", str(history.wal), kept[0].first_segment)
        for one in marks(history):
            if position(one.lsn) < position(kept[0].end_lsn):
                (history.marks / f"{one.name}.json").unlink()
    return len(old)


def bases(history: History) -> list[Base]:
    """The complete backups, oldest first."""
    folders = sorted(path for path in history.base.glob("*Z") if (path / "about.json").exists())
    return [Base(folder, **(read_json(folder / "about.json") or {})) for folder in folders]


def marks(history: History) -> list[Mark]:
    """The named moments, oldest first."""
    found = [Mark(**(read_json(path) or {})) for path in history.marks.glob("*.json")]
    return sorted(found, key=lambda one: position(one.lsn))


def histories(folder: Path) -> list[History]:
    """The histories in a backup folder, or the one that it is; oldest first. Raises NotFound when there is none."""
    places = [folder, *sorted(folder.iterdir())] if folder.is_dir() else []
    found = [History(place) for place in places if (place / "base").is_dir()]
    if not found:
        raise NotFound(f"{folder} holds no backups; `threads-agent backup` makes one")
    return found


def verify(history: History) -> Verified:
    """Read every byte of it. Raises PermanentFailure naming the first thing that is torn, missing or altered."""
    found = bases(history)
    for base in found:
        verify_base(base)
    return Verified(
        history=str(history.folder),
        bases=[base.folder.name for base in found],
        marks=[one.name for one in marks(history)],
        segments=_verify_log(history, found[0]) if found and history.segments() else 0,
    )


def verify_base(base: Base) -> None:
    """Every file against the manifest that the server made. Raises PermanentFailure for a damaged one."""
    try:
        _tool("pg_verifybackup", "--quiet", str(base.data))
    except Unavailable as error:
        raise PermanentFailure(f"the backup {base.folder} is damaged ({error}); use another one") from None


def position(lsn: str) -> int:
    """A place in the write-ahead log as a number."""
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def log_since(history: History, base: Base) -> list[Path]:
    """The archived log from `base` on. Raises PermanentFailure when there is a gap in it."""
    found = [path for path in history.segments() if path.name[:24] >= base.first_segment]
    numbers = [_number(path) for path in found]
    for path, before, number in zip(found[1:], numbers, numbers[1:], strict=False):
        if number != before + 1:
            raise PermanentFailure(f"the archive {history.wal} has a gap before {path.name}; use a backup after it")
    if found and found[0].name[:24] != base.first_segment:
        raise PermanentFailure(f"the archive {history.wal} lacks {base.first_segment}, with which {base.folder} begins")
    return found


def _number(segment: Path) -> int:
    return int(segment.name[8:16], 16) * (2**32 // SEGMENT_BYTES) + int(segment.name[16:24], 16)


def _verify_log(history: History, base: Base) -> int:
    complete = [path for path in log_since(history, base) if not path.name.endswith(".partial")]
    if complete:
        try:
            _tool("pg_waldump", "--quiet", f"--path={history.wal}", complete[0].name, complete[-1].name)
        except Unavailable as error:
            raise PermanentFailure(f"the archive {history.wal} is damaged ({error})") from None
    return len(complete)


def _await_archived(connection: psycopg.Connection[tuple[object, ...]], lsn: str) -> None:
    until = time.monotonic() + ARCHIVED_SECONDS
    while time.monotonic() < until:
        # A record alone is written within wal_writer_delay; a transaction id makes this one a commit, which is now.
        connection.execute("SELECT pg_current_xact_id()")
        found = connection.execute(archive.FLUSHED, [archive.SLOT]).fetchone()
        if found is not None and position(str(found[0])) >= position(lsn):
            return
        time.sleep(0.05)
    raise Unavailable(f"the archive did not receive the mark within {ARCHIVED_SECONDS:.0f} s; see logs/archive.log")


def _keep_secrets(home: Home, database_url: str, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    for file in (home.api_key, home.webhook_secret):
        if file.exists():
            shutil.copy2(file, folder)
    write_json(folder / "database.json", {"password": libpq(database_url)["PGPASSWORD"]})


def _range(data: Path) -> tuple[str, str, int]:
    manifest = json.loads((data / "backup_manifest").read_text())
    [written] = manifest["WAL-Ranges"]
    return written["Start-LSN"], written["End-LSN"], written["Timeline"]


def _tool(name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
    command: Sequence[str | Path] = [wheel_binaries() / name, *arguments]
    done = subprocess.run(
        command,
        env={**os.environ, "LC_ALL": "C", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise Unavailable(lines[0] + (f" and {len(lines) - 1} more" if len(lines) > 1 else ""))
