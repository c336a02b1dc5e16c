"""The backup drill: destroy a database that is being written to and bring it back, to the end, to a mark, to a time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from threads_agent_dagster.errors import (
    ConfigurationError,
    Conflict,
    InvalidInput,
    NotFound,
    PermanentFailure,
    Unavailable,
)
from threads_agent_dagster.local import archive, backup, dagster_home, schema
from threads_agent_dagster.local.home import Home
from threads_agent_dagster.local.postgres import EmbeddedPostgres
from threads_agent_dagster.local.processes import end_marked, end_server
from threads_agent_dagster.local.restore import TABLES, Goal, drill, restore
from threads_agent_dagster.local.services import Program
from threads_agent_dagster.settings import Settings

pytestmark = pytest.mark.timeout(600)
EVENT = "INSERT INTO events (name) VALUES (%s)"
PATIENCE = 60.0


@dataclass
class Site:
    """A database in a home of its own with its archive on `disk`, as `up` runs them."""

    home: Home
    disk: Path
    server: EmbeddedPostgres
    receiver: Program | None = None

    @property
    def history(self) -> archive.History:
        return archive.current(self.disk, self.home)

    def start_archive(self) -> None:
        self.receiver, gap = archive.receiver(self.home, self.server, self.disk)
        assert not gap
        self.receiver.start()
        _until(self.receiver.is_ready)

    def execute(self, statement: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            found = connection.execute(statement.encode(), values)
            return found.fetchall() if found.description else []

    def destroy(self) -> None:
        """What a lost disk leaves: nothing of the home, and processes killed in the middle of it."""
        postmaster = psutil.Process(self.server.pid)
        for process in (*postmaster.children(), postmaster):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(self.server.cluster, ignore_errors=True)
        self.stop()
        shutil.rmtree(self.home.root)

    def stop(self) -> None:
        end_marked(f"{self.home.key}/", 5)
        self.server.stop()


def _until(condition: Any) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def place() -> Iterator[Path]:
    """Two disks: `home` and `disk`; reachable by the server's account, unlike pytest's own folder when root runs it."""
    folder = Path(tempfile.mkdtemp(prefix="ta-backup-"))
    folder.chmod(0o711)
    yield folder
    for cluster in folder.glob("*/postgres/cluster"):
        end_server(cluster)
    shutil.rmtree(folder)


@contextmanager
def _site(place: Path, *, synchronous: bool = False, fsync: bool = True) -> Iterator[Site]:
    home, disk = Home(place / "home"), place / "disk"
    home.create()
    home.api_key.write_text("ta_1_key\n")
    home.webhook_secret.write_text("a webhook secret\n")
    settings = archive.settings(synchronous=synchronous)
    site = Site(home, disk, EmbeddedPostgres(home.postgres, fsync=fsync, settings=settings))
    site.server.start()
    try:
        yield site
    finally:
        site.stop()


@pytest.fixture
def site(place: Path) -> Iterator[Site]:
    with _site(place, fsync=False) as site:
        site.start_archive()
        site.execute("CREATE TABLE events (id bigserial PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now())")
        yield site


def _hashes(url: str) -> dict[str, str]:
    """One hash for every row of each table, ours and Dagster's."""
    with psycopg.connect(url) as connection:
        names = [name for (name,) in connection.execute(TABLES)]
        query = "SELECT md5(coalesce(string_agg(t::text, chr(10) ORDER BY t::text), '')) FROM {} AS t"
        return {name: connection.execute(query.format(name).encode()).fetchone()[0] for name in names}  # type: ignore[index]


@contextmanager
def _started(home: Home) -> Iterator[str]:
    with EmbeddedPostgres(home.postgres) as url:
        yield url


def _names(home: Home) -> list[str]:
    with _started(home) as url, psycopg.connect(url) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM events ORDER BY id")]


def test_a_mark_brings_back_every_table_as_it_was(site: Site, place: Path) -> None:
    """Ours as the migrations make them and Dagster's own, which lie in the same cluster."""
    schema.upgrade(site.server.url, None)
    settings = Settings(home=site.home.root)
    dagster_home.write(site.home, settings, code_port=0)
    variables = {**os.environ, **dagster_home.environment(site.home, settings, site.server.url)}
    schema.migrate_dagster(site.server.url, variables, site.home.log("dagster-migrate"))
    site.execute(
        "INSERT INTO posts (persona_id, hook, body, ts) SELECT 'default', n, n, now() FROM generate_series(1, 500) n"
    )
    backup.make(site.home, site.server.url, site.disk)
    site.execute("INSERT INTO dagster.kvs (key, value) VALUES ('cursor of', 'before the mark')")
    site.execute(EVENT, "before")
    before = _hashes(site.server.url)
    backup.mark(site.home, site.server.url, site.disk, "evening")
    site.execute("DELETE FROM posts")
    site.execute("DROP TABLE dagster.runs CASCADE")
    site.destroy()
    home = Home(place / "restored")
    done = restore(site.disk, home, Goal(mark="evening"))
    with _started(home) as url:
        after = _hashes(url)
    assert after == before
    assert done.rows["public.posts"] == 500
    assert "dagster.runs" in after
    assert home.api_key.read_text() == "ta_1_key\n"
    assert home.webhook_secret.read_text() == "a webhook secret\n"


def test_a_time_and_the_last_change(site: Site, place: Path) -> None:
    backup.make(site.home, site.server.url, site.disk)
    site.execute(EVENT, "wanted")
    [(moment,)] = site.execute("SELECT clock_timestamp()")
    site.execute(EVENT, "a mistake")
    site.execute(EVENT, "the last")
    # Not the flushed position: this server answers a commit before it is on disk.
    [(lsn,)] = site.execute("SELECT pg_current_wal_insert_lsn()::text")
    _until(lambda: backup.position(archive.flushed(site.server.url) or "0/0") >= backup.position(lsn))
    site.destroy()
    restore(site.disk, Home(place / "then"), Goal(time=moment))
    restore(site.disk, Home(place / "end"), Goal())
    assert _names(Home(place / "then")) == ["wanted"]
    assert _names(Home(place / "end")) == ["wanted", "a mistake", "the last"]


@pytest.mark.parametrize("synchronous", [True, False])
def test_a_lost_disk_loses_nothing_that_the_archive_acknowledged(place: Path, synchronous: bool) -> None:
    """Synchronous: every commit that was answered. Otherwise: at most what was committed in the last five seconds."""
    acknowledged: list[tuple[int, float]] = []
    with _site(place, synchronous=synchronous) as site:
        site.start_archive()
        site.execute("CREATE TABLE events (id bigserial PRIMARY KEY, name text NOT NULL)")
        backup.make(site.home, site.server.url, site.disk)
        writer = threading.Thread(target=_write, args=[site.server.url, acknowledged])
        writer.start()
        _until(lambda: len(acknowledged) > 200)
        site.destroy()
        destroyed = time.monotonic()
        writer.join()
    restore(site.disk, Home(place / "restored"), Goal())
    restored = {int(name) for name in _names(Home(place / "restored"))}
    lost = [at for number, at in acknowledged if number not in restored]
    assert len(restored) >= 200
    assert not lost if synchronous else all(destroyed - at <= 5 for at in lost)


def _write(url: str, acknowledged: list[tuple[int, float]]) -> None:
    """Until the server is gone."""
    with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
        while True:
            number = len(acknowledged)
            connection.execute(EVENT, [str(number)])
            acknowledged.append((number, time.monotonic()))


def test_damage_is_refused_and_named(site: Site, place: Path) -> None:
    base = backup.make(site.home, site.server.url, site.disk)
    for number in range(3):
        site.execute(EVENT, str(number))
        site.execute("SELECT pg_switch_wal()")
    backup.mark(site.home, site.server.url, site.disk, "late")
    assert backup.verify(site.history).segments >= 3
    home, segment = Home(place / "restored"), site.history.segments()[-2]

    with _altered(segment), pytest.raises(PermanentFailure, match="is damaged"):
        backup.verify(site.history)
    with _moved(segment), pytest.raises(PermanentFailure, match="has a gap before"):
        backup.verify(site.history)
    table = max((base.data / "base").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    for harm in (_altered, _torn, _moved):
        with harm(table), pytest.raises(PermanentFailure, match=r"is damaged .*; use another"):
            backup.verify(site.history)
        with harm(table), pytest.raises(PermanentFailure, match="is damaged"):
            restore(site.disk, home, Goal())
    with _moved(base.folder / "about.json"), pytest.raises(NotFound, match=r"no backup in .* leads to"):
        restore(site.disk, home, Goal())
    assert not home.postgres.exists() or not any(home.postgres.iterdir())
    restore(site.disk, home, Goal(mark="late"))
    assert _names(home) == ["0", "1", "2"]


@contextmanager
def _altered(file: Path) -> Iterator[None]:
    """One bit, in the first record of a segment of the log."""
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    yield
    file.write_bytes(whole)


@contextmanager
def _torn(file: Path) -> Iterator[None]:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    yield
    file.write_bytes(whole)


@contextmanager
def _moved(file: Path) -> Iterator[None]:
    aside = file.with_name(f"aside-{file.name}")
    file.rename(aside)
    yield
    aside.rename(file)


def test_what_cannot_be_reached_is_said_and_nothing_is_left(site: Site, place: Path) -> None:
    base, home = backup.make(site.home, site.server.url, site.disk), Home(place / "restored")
    backup.mark(site.home, site.server.url, site.disk, "noon")
    with pytest.raises(NotFound, match=r"leads to mark midnight; marks: noon"):
        restore(site.disk, home, Goal(mark="midnight"))
    with pytest.raises(NotFound, match="leads to 2001"):
        restore(site.disk, home, Goal(time=datetime(2001, 1, 1, tzinfo=UTC)))
    with pytest.raises(NotFound, match="the archive ends before 2"):
        restore(site.disk, home, Goal(time=datetime.now(UTC) + timedelta(days=1)))
    with pytest.raises(NotFound, match="holds no backups"):
        restore(place / "elsewhere", home, Goal())
    assert not home.postgres.exists() or not any(home.postgres.iterdir())
    with pytest.raises(Conflict, match="a mark noon already"):
        backup.mark(site.home, site.server.url, site.disk, "noon")
    with pytest.raises(InvalidInput, match="mark: letters"):
        backup.mark(site.home, site.server.url, site.disk, "../noon")
    (base.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(PermanentFailure, match="damaged"):
        restore(site.disk, home, Goal())


def test_a_folder_that_cannot_be_made_is_named_with_its_setting(place: Path) -> None:
    (place / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"file .*set THREADS_AGENT_BACKUP_DIR"):
        archive.History(place / "file" / "history").create()


def test_nothing_is_restored_over_a_home_that_is_in_use_or_holds_data(site: Site, place: Path) -> None:
    backup.make(site.home, site.server.url, site.disk)
    site.execute(EVENT, "kept")
    with pytest.raises(Conflict, match="already holds a database"):
        restore(site.disk, site.home, Goal())
    assert site.execute("SELECT name FROM events") == [("kept",)]
    lock = (site.home.lock).open("a+")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("threads_agent_dagster.local.platform.SWEEP_SECONDS", 0.5)
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="is already run by"):
            restore(site.disk, site.home, Goal())
    lock.close()


def test_a_restored_database_begins_an_archive_of_its_own(site: Site, place: Path) -> None:
    backup.make(site.home, site.server.url, site.disk)
    site.execute(EVENT, "first life")
    backup.mark(site.home, site.server.url, site.disk, "end-of-first")
    first = site.history
    site.destroy()
    home = Home(place / "home")
    restore(site.disk, home, Goal())
    again = Site(home, site.disk, EmbeddedPostgres(home.postgres))
    again.server.start()
    try:
        again.start_archive()
        assert again.history != first
        again.execute(EVENT, "second life")
        backup.make(home, again.server.url, site.disk)
    finally:
        again.stop()
    restore(site.disk, Home(place / "second"), Goal())
    restore(site.disk, Home(place / "first"), Goal(mark="end-of-first"))
    assert _names(Home(place / "second")) == ["first life", "second life"]
    assert _names(Home(place / "first")) == ["first life"]


def test_old_backups_go_with_the_log_that_only_they_needed(site: Site, place: Path) -> None:
    backup.make(site.home, site.server.url, site.disk)
    backup.mark(site.home, site.server.url, site.disk, "old")
    for number in range(3):
        site.execute(EVENT, str(number))
        site.execute("SELECT pg_switch_wal()")
    time.sleep(1.1)  # backups are named by the second
    newest, segments = backup.make(site.home, site.server.url, site.disk), len(site.history.segments())
    assert backup.prune(site.history, keep=1) == 1
    assert [base.folder for base in backup.bases(site.history)] == [newest.folder]
    assert backup.marks(site.history) == []
    assert len(site.history.segments()) < segments
    assert drill(site.disk).rows["public.events"] == 3


def test_the_archive_goes_on_without_a_gap_after_it_was_killed(site: Site, place: Path) -> None:
    backup.make(site.home, site.server.url, site.disk)
    assert site.receiver is not None
    psutil.Process(site.receiver.pid).kill()
    _until(lambda: not site.receiver.is_alive())  # type: ignore[union-attr]
    site.execute("INSERT INTO events (name) SELECT repeat(n::text, 100) FROM generate_series(1, 60000) AS n")
    site.start_archive()
    backup.mark(site.home, site.server.url, site.disk, "after")
    assert backup.verify(site.history).segments >= 1
    assert restore(site.disk, Home(place / "restored"), Goal(mark="after")).rows["public.events"] == 60000


def test_without_an_archive_a_backup_stands_alone_and_a_mark_is_refused(place: Path) -> None:
    with _site(place, fsync=False) as site:
        site.execute("CREATE TABLE events (id bigserial PRIMARY KEY, name text NOT NULL)")
        site.execute(EVENT, "in it")
        backup.make(site.home, site.server.url, site.disk)
        site.execute(EVENT, "after it")
        with pytest.raises(Conflict, match="set THREADS_AGENT_BACKUP_DIR"):
            backup.mark(site.home, site.server.url, site.disk, "now")
        site.server.stop()
        with pytest.raises(Unavailable, match="connection"):
            backup.make(site.home, site.server.url, site.disk)
        assert [path.name for path in site.history.base.glob("*.part")] == []
    restore(site.disk, Home(place / "restored"), Goal())
    assert _names(Home(place / "restored")) == ["in it"]


def test_the_commands_speak_to_people_and_to_programs(place: Path) -> None:
    with _site(place, fsync=False) as site:
        site.execute("CREATE TABLE events (id bigserial PRIMARY KEY, name text NOT NULL)")
        backup.make(site.home, site.server.url, site.home.backups)
    verified = _command("verify", "--drill", "--json", home=site.home.root)
    assert verified.returncode == 0, verified.stderr
    said = json.loads(verified.stdout)
    assert [len(history["bases"]) for history in said["histories"]] == [1]
    assert said["drill"]["tables"] == 1
    refused = _command("restore", str(site.home.backups), home=site.home.root)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.splitlines()[-1].startswith("threads-agent: ")
    assert "already holds a database" in refused.stderr
    stopped = _command("backup", "--mark", "now", home=site.home.root)
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert "no platform is ready" in stopped.stderr
    external = _command("backup", home=site.home.root, DATABASE_URL="postgresql://h/d")
    assert "back it up with its own server's tools" in external.stderr
    restored = _command("restore", str(site.home.backups), "--json", home=place / "restored")
    assert json.loads(restored.stdout)["tables"] == 1


def _command(*words: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "THREADS_AGENT_BACKUP_DIR")
    }
    command = [sys.executable, "-P", "-m", "threads_agent_dagster.cli", *words]
    return subprocess.run(
        command,
        env=kept | {"THREADS_AGENT_HOME": str(home)} | variables,
        cwd=home.parent,
        capture_output=True,
        text=True,
        check=False,
    )
