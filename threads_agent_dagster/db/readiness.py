"""What the platform needs before it can do useful work."""

from __future__ import annotations

from sqlalchemy import Connection, text

HEARTBEAT_SECONDS = 60.0  # a Dagster daemon that is silent for longer does not work

_TIMEOUT = text("SET LOCAL statement_timeout = '2s'")
_EXISTS = text("SELECT to_regclass(:name) IS NOT NULL")
_REVISION = text("SELECT version_num FROM alembic_version")
_HEARTBEAT_AGE = text(
    "SELECT extract(epoch FROM (now() AT TIME ZONE 'UTC') - max(\"timestamp\"))::float8 FROM dagster.daemon_heartbeats"
)


def limit_time(connection: Connection) -> None:
    """No statement of this transaction takes longer than 2 s."""
    connection.execute(_TIMEOUT)


def revision(connection: Connection) -> str | None:
    """The schema's revision; None before the first migration."""
    if not connection.execute(_EXISTS, {"name": "public.alembic_version"}).scalar_one():
        return None
    found: str | None = connection.execute(_REVISION).scalar_one_or_none()
    return found


def heartbeat_age(connection: Connection) -> float | None:
    """Seconds since a Dagster daemon last said that it lives; None when none ever did."""
    if not connection.execute(_EXISTS, {"name": "dagster.daemon_heartbeats"}).scalar_one():
        return None
    age: float | None = connection.execute(_HEARTBEAT_AGE).scalar_one()
    return age
