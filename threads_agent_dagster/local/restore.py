"""From a backup to a database that can be started: at its end, at a named mark, or at a time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from threads_agent_dagster.errors import Conflict, NotFound, PermanentFailure, Unavailable
from threads_agent_dagster.local import backup
from threads_agent_dagster.local.archive import History
from threads_agent_dagster.local.backup import Base
from threads_agent_dagster.local.home import Home, read_json, write_private
from threads_agent_dagster.local.platform import hold_home
from threads_agent_dagster.local.postgres import EmbeddedPostgres

RECOVERY_SECONDS = 24 * 3600.0
TABLES = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""


@dataclass(frozen=True)
class Goal:
    """Where to stop: at a mark, at a time, or (neither) at the last change that the archive has."""

    mark: str | None = None
    time: datetime | None = None

    @property
    def settings(self) -> dict[str, str]:
        """PostgreSQL's words for it."""
        action = {"recovery_target_action": "promote"}
        if self.mark is not None:
            return action | {"recovery_target_name": self.mark}
        if self.time is not None:
            return action | {"recovery_target_time": self.time.astimezone(UTC).isoformat(sep=" ")}
        return {}

    def __str__(self) -> str:
        if self.mark is not None:
            return f"mark {self.mark}"
        return "the last change" if self.time is None else self.time.isoformat()


@dataclass(frozen=True)
class Restored:
    """What was brought back, and what it took."""

    home: str
    base: str
    goal: str
    size: int  # bytes of the backup
    log: int  # bytes of the write-ahead log that were read beyond it
    seconds: float
    rows: dict[str, int]  # by table, read once each


def restore(folder: Path, home: Home, goal: Goal) -> Restored:
    """Bring the database of a backup folder back into an empty home; `threads-agent up` then starts it.

    Raises Conflict (home in use or not empty), NotFound (no such mark, nothing old enough), PermanentFailure (damaged).
    Nothing of a failed attempt is left.
    """
    began, (history, base) = time.monotonic(), choose(folder, goal)
    home.create()
    lock = hold_home(home)
    try:
        if _holds_database(home):
            raise Conflict(f"{home.root} already holds a database; choose an empty folder with --home")
        backup.verify_base(base)
        log = backup.log_since(history, base)
        rows = _recover(home, base, log, goal)
        _place_secrets(home, base)
    finally:
        lock.close()
    seconds, read = round(time.monotonic() - began, 2), sum(path.stat().st_size for path in log)
    return Restored(str(home.root), base.folder.name, str(goal), base.size, read, seconds, rows)


def drill(folder: Path) -> Restored:
    """Restore the last change of the newest backup into a scratch folder, read every table, leave nothing."""
    with TemporaryDirectory(prefix="ta-drill-") as scratch:
        Path(scratch).chmod(0o711)
        home = Home(Path(scratch) / "home")
        try:
            return restore(folder, home, Goal())
        finally:
            EmbeddedPostgres(home.postgres).remove()


def choose(folder: Path, goal: Goal) -> tuple[History, Base]:
    """The newest backup from which the goal can be reached. Raises NotFound naming what there is."""
    for history in reversed(backup.histories(folder)):
        found = [base for base in backup.bases(history) if _leads_to(history, base, goal)]
        if found:
            return history, found[-1]
    known = [one.name for history in backup.histories(folder) for one in backup.marks(history)]
    raise NotFound(f"no backup in {folder} leads to {goal}; marks: {', '.join(known) or 'none'}")


def _leads_to(history: History, base: Base, goal: Goal) -> bool:
    if goal.time is not None:
        return bool(history.segments()) and datetime.fromisoformat(base.finished) <= goal.time
    if goal.mark is None:
        return True
    found = next((one for one in backup.marks(history) if one.name == goal.mark), None)
    return found is not None and backup.position(base.end_lsn) <= backup.position(found.lsn)


def _holds_database(home: Home) -> bool:
    return home.postgres.exists() and any(home.postgres.iterdir())


def _recover(home: Home, base: Base, log: list[Path], goal: Goal) -> dict[str, int]:
    password = (read_json(base.secrets / "database.json") or {})["password"]
    placing = EmbeddedPostgres(home.postgres)
    staged = placing.adopt(base.data, password, log)
    try:
        placing.stop()
        settings = {"synchronous_standby_names": ""}
        if log:
            settings |= {"restore_command": f'cp "{staged}/%f" "%p"'} | goal.settings
        server = EmbeddedPostgres(home.postgres, settings=settings, start_seconds=RECOVERY_SECONDS)
        try:
            rows = _open(server, goal)
        finally:
            server.stop()
        shutil.rmtree(staged)
    except BaseException:
        placing.remove()
        raise
    return rows


def _open(server: EmbeddedPostgres, goal: Goal) -> dict[str, int]:
    """Start it, wait until it takes writes, and read every table once."""
    try:
        url = server.start()
        while True:
            with psycopg.connect(url) as connection:
                if connection.execute("SELECT NOT pg_is_in_recovery()").fetchone() == (True,):
                    return _count(connection)
            time.sleep(0.1)
    except (Unavailable, psycopg.OperationalError) as error:
        if "before configured recovery target was reached" in server.log.read_text(errors="replace"):
            raise NotFound(f"the archive ends before {goal}; restore an earlier moment") from None
        raise PermanentFailure(f"the backup does not start: {error}") from error


def _count(connection: psycopg.Connection[tuple[object, ...]]) -> dict[str, int]:
    names = [str(name) for (name,) in connection.execute(TABLES)]
    found: Mapping[str, object] = {
        name: (connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchone() or (0,))[0]  # noqa: S608
        for name in names
    }
    return {name: int(str(count)) for name, count in found.items()}


def _place_secrets(home: Home, base: Base) -> None:
    for file in (home.api_key, home.webhook_secret):
        saved = base.secrets / file.name
        if saved.exists():
            write_private(file, saved.read_text())
