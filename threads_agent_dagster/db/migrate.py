"""Brings a database to the schema of this version of the code."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from threads_agent_dagster.db import revisions
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.errors import ConfigurationError

OLDEST_SERVER = 15  # the major version of PostgreSQL that the migrations are written for
MIGRATION_LOCK = 0x7468_7265  # one migrator at a time; any constant that nobody else locks


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def current(database_url: str) -> str | None:
    """The revision of the database; None for an empty one."""
    engine = make_engine(database_url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def refuse_newer(database_url: str) -> None:
    """Raises ConfigurationError when the data was written by a newer version of the platform."""
    revision = current(database_url)
    if revision is not None and revision not in revisions.known():
        raise ConfigurationError(
            f"the database is at revision {revision}, which this version (head {revisions.head()}) does not know: "
            "it was written by a newer version; install that version, or restore a backup from before the upgrade"
        )


def refuse_old_server(database_url: str) -> None:
    """Raises ConfigurationError when PostgreSQL itself is too old."""
    engine = make_engine(database_url)
    try:
        with engine.connect() as connection:
            version = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
    finally:
        engine.dispose()
    if version < OLDEST_SERVER:
        raise ConfigurationError(f"PostgreSQL {version} answers at DATABASE_URL; {OLDEST_SERVER} or newer is needed")


def upgrade(database_url: str, revision: str = "head") -> None:
    """Migrates up to `revision`; waits for a migration already under way."""
    refuse_old_server(database_url)
    refuse_newer(database_url)
    _run(database_url, lambda config: command.upgrade(config, revision))


def downgrade(database_url: str, revision: str) -> None:
    """Migrates down to `revision`; `base` empties the schema."""
    _run(database_url, lambda config: command.downgrade(config, revision))


def _run(database_url: str, migrate: object) -> None:
    engine = make_engine(database_url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})
            connection.commit()
            migrate(_config(connection))  # type: ignore[operator]
            connection.commit()
    finally:
        engine.dispose()
