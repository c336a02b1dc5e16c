"""What a scrape reads: how deep the queue is, and the business figures that have a metric's name."""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class Generated:
    """How many posts a persona has; days that were not folded yet are missing."""

    persona: str
    posts: int


_GENERATED = text(
    "SELECT label AS persona, sum(n)::bigint AS posts FROM dashboard_metrics_daily WHERE metric = 'posts' "
    "GROUP BY label ORDER BY label"
)


def generated(connection: Connection) -> list[Generated]:
    return [Generated(**row._mapping) for row in connection.execute(_GENERATED)]


_ACTIVE = text("SELECT count(*) FROM api_keys WHERE last_used_at > now() - interval '15 minutes'")


def active_keys(connection: Connection) -> int:
    """API keys that were used within the last 15 minutes."""
    return int(connection.execute(_ACTIVE).scalar_one())


_IMPACT = text("""
    SELECT bound, sum(count(impact_score)) OVER (ORDER BY bound) AS at_most, sum(sum(impact_score)) OVER () AS total
    FROM unnest(cast(:bounds AS float8[])) WITH ORDINALITY AS bounds (bound, position)
    LEFT JOIN achievements ON deleted_at IS NULL AND impact_score <= bound
        AND impact_score > coalesce((cast(:bounds AS float8[]))[position - 1], '-infinity')
    GROUP BY bound ORDER BY bound
""")


def impact_histogram(connection: Connection, bounds: Sequence[float]) -> tuple[list[int], float]:
    """How many achievements score at most each of the ascending bounds, and the sum of all scores up to the last."""
    rows = connection.execute(_IMPACT, {"bounds": list(bounds)}).all()
    return [int(row.at_most) for row in rows], float(rows[-1].total or 0)
