"""How deep the queue is."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Depth:
    """Rows of one asset: `waiting` for anybody, `claimed` under a valid lease, `dead` until they are redriven."""

    asset: str
    waiting: int
    claimed: int
    dead: int


_DEPTHS = text("""
    SELECT asset, count(*) FILTER (WHERE dead_at IS NULL AND NOT leased) AS waiting,
        count(*) FILTER (WHERE dead_at IS NULL AND leased) AS claimed,
        count(*) FILTER (WHERE dead_at IS NOT NULL) AS dead
    FROM (SELECT asset, dead_at, coalesce(lease_until > clock_timestamp(), false) AS leased FROM pending) AS rows
    GROUP BY asset ORDER BY asset
""")


def depths(connection: Connection) -> list[Depth]:
    return [Depth(**row._mapping) for row in connection.execute(_DEPTHS)]
