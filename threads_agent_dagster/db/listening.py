"""Waiting for NOTIFY."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
from psycopg import sql
from sqlalchemy import URL

CONNECT_SECONDS = 5


async def notices(url: URL, channel: str, patience: float) -> AsyncIterator[None]:
    """Yields once it listens, after notifications on `channel`, and after each `patience` seconds without any.

    Raises psycopg.OperationalError when the connection cannot be had or is lost.
    """
    connection = await psycopg.AsyncConnection.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False),
        autocommit=True,
        connect_timeout=CONNECT_SECONDS,
        application_name=f"threads-agent-{channel}",
    )
    async with connection:
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        while True:
            yield
            async for _ in connection.notifies(timeout=patience, stop_after=1):
                continue
