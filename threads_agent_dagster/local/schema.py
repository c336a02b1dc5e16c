"""Brings a database to what this version needs: our tables and Dagster's, with a backup before an older one changes."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from threads_agent_dagster.db import migrate, revisions
from threads_agent_dagster.db.engine import make_engine, sqlalchemy_url
from threads_agent_dagster.errors import Unavailable
from threads_agent_dagster.local.dagster_home import SCHEMA
from threads_agent_dagster.local.pgfiles import wheel_binaries

LIBPQ_VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "username": "PGUSER",
    "password": "PGPASSWORD",
    "database": "PGDATABASE",
}


def needs_backup(database_url: str) -> bool:
    """Whether the database holds data of an older version. Raises ConfigurationError for data of a newer one."""
    migrate.refuse_newer(database_url)
    revision = migrate.current(database_url)
    if revision is None:
        return False
    return revision != revisions.head() or dagster_version(database_url) != _installed_dagster()


def backup(database_url: str, folder: Path, now: datetime) -> Path:
    """Dump the whole database (restore with `pg_restore`) into a file named by time and revision; returns the file."""
    target = folder / f"{now:%Y%m%dT%H%M%SZ}-{migrate.current(database_url)}.dump"
    draft = target.with_suffix(".part")
    done = subprocess.run(
        [wheel_binaries() / "pg_dump", "--format=custom", f"--file={draft}"],
        env={**os.environ, **libpq(database_url)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Unavailable(f"pg_dump failed, so nothing was migrated: {done.stderr.strip()}")
    draft.chmod(0o600)
    draft.rename(target)
    return target


def upgrade(database_url: str, backups: Path | None) -> Path | None:
    """Migrate our tables; returns the backup that was made before, if there is a folder for it and older data."""
    require_answer(database_url)
    saved = backup(database_url, backups, datetime.now(UTC)) if backups and needs_backup(database_url) else None
    migrate.upgrade(database_url)
    return saved


def migrate_dagster(database_url: str, environment: Mapping[str, str], log: Path) -> None:
    """Create or upgrade Dagster's tables, once per version of Dagster: the schema's comment remembers which.

    Raises Unavailable with the last line that Dagster wrote to `log`.
    """
    if dagster_version(database_url) == _installed_dagster():
        return
    _execute(database_url, f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    with log.open("ab") as output:
        command = [sys.executable, "-m", "dagster", "instance", "migrate"]
        done = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise Unavailable(f"Dagster could not prepare its tables: {_last_line(log)} (the whole story: {log})")
    _execute(database_url, f"COMMENT ON SCHEMA {SCHEMA} IS '{_installed_dagster()}'")


def dagster_version(database_url: str) -> str | None:
    """The version of Dagster that last prepared its tables here; None before the first time."""
    query = text("SELECT obj_description(to_regnamespace(:name), 'pg_namespace')")
    engine = make_engine(database_url)
    try:
        with engine.connect() as connection:
            comment: str | None = connection.execute(query, {"name": SCHEMA}).scalar()
            return comment
    finally:
        engine.dispose()


def require_answer(database_url: str) -> None:
    """Raises Unavailable, without the password, when the database cannot be reached."""
    try:
        dagster_version(database_url)
    except OperationalError as error:
        shown = sqlalchemy_url(database_url).render_as_string(hide_password=True)
        raise Unavailable(f"the database {shown} does not answer: {str(error.orig).splitlines()[0]}") from error


def _execute(database_url: str, statement: str) -> None:
    engine = make_engine(database_url)
    try:
        with engine.begin() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")


def _installed_dagster() -> str:
    return importlib.metadata.version("dagster")


def libpq(database_url: str) -> dict[str, str]:
    """The URL as environment variables, so that no password shows in the list of processes."""
    url = sqlalchemy_url(database_url)
    parts = {variable: getattr(url, field) for field, variable in LIBPQ_VARIABLES.items()}
    parts["PGSSLMODE"] = url.query.get("sslmode")
    return {variable: str(value) for variable, value in parts.items() if value is not None}
