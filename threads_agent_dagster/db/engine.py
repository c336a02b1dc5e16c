"""Connections to PostgreSQL."""

from __future__ import annotations

from pydantic_core import from_json
from sqlalchemy import URL, Engine, create_engine, make_url


def sqlalchemy_url(database_url: str) -> URL:
    """`database_url` with the psycopg 3 driver, whatever scheme people write (postgres://, postgresql://)."""
    url = make_url(database_url.replace("postgres://", "postgresql://", 1))
    return url.set(drivername="postgresql+psycopg")


def libpq_url(database_url: str) -> str:
    """`database_url` as libpq and psycopg read it."""
    return sqlalchemy_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)


POOL_SECONDS = 10.0  # how long a caller waits for a free connection
_OPTIONS = {
    "timezone": "UTC",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10",  # s; with the next two: the session of a machine that vanished ends after 25 s
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


def make_engine(database_url: str, *, pool_size: int = 5, application: str = "threads-agent") -> Engine:
    """An engine whose sessions speak UTC and give up on locks after 10 s; nothing connects until it is used."""
    return create_engine(
        sqlalchemy_url(database_url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_SECONDS,
        pool_pre_ping=True,
        json_deserializer=from_json,  # in a third of the time of Python's own
        connect_args={
            "application_name": application,
            "connect_timeout": 5,
            "options": " ".join(f"-c {name}={value}" for name, value in _OPTIONS.items()),
        },
    )
