"""Everything the dashboard reads, one short transaction per page; nothing here writes.

Raises everywhere: Unavailable when the database does not answer, ConfigurationError when its schema is another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, Row, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from threads_agent_dagster.errors import ConfigurationError, Unavailable

PER_PAGE = 25
EXPORT_ROWS = 1_000  # fetched at a time, so that an export of any size needs the same memory

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a number comes from; None is what its row does not record."""

    asset: str
    run_id: str | None
    made_at: datetime | None
    code_version: str | None
    scorer_version: str | None = None


@dataclass(frozen=True, slots=True)
class Listing(Generic[Item]):
    """One page of what matches, and how many match in all."""

    items: Sequence[Item]
    total: int
    page: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PER_PAGE))


@contextmanager
def _reading(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise Unavailable("the database does not answer") from error
    except ProgrammingError as error:
        raise ConfigurationError(
            f"the database is not at this version's schema ({_reason(error)}); run `threads-agent db upgrade`"
        ) from error


def _reason(error: DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]


# What moves: polled every few seconds by every open page.

_PULSE = text("""
    SELECT (SELECT max(id) FROM dashboard_refreshes) AS refresh,
           (SELECT last_value FROM pending_change) AS change,
           (SELECT count(*) FROM (SELECT FROM pending LIMIT 10000) AS counted) AS waiting
""")


def pulse(engine: Engine) -> str:
    """A token that differs whenever the overview may have changed; its cost does not grow with the data."""
    with _reading(engine) as connection:
        return "/".join(str(value) for value in connection.execute(_PULSE).one())


# Overview.


@dataclass(frozen=True, slots=True)
class Figures:
    """The view dashboard_metrics: 30-day totals, None where nothing was measured."""

    today: date
    achievements: int
    average_impact: float | None
    hours_saved: float | None
    categories: int
    posts: int
    arcs: int
    engagement_rate: float | None
    impressions: int
    successes: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class DayTotal:
    """One day of one metric: how many, and the sum of what they measured."""

    day: date
    n: int
    total: float


@dataclass(frozen=True, slots=True)
class QueueLine:
    """How much of one asset is not done yet."""

    asset: str
    waiting: int
    working: int
    dead: int
    oldest_day: date


@dataclass(frozen=True, slots=True)
class DeadItem:
    """Something that was given up, with the reason."""

    asset: str
    key: str
    error: str | None
    dead_at: datetime


@dataclass(frozen=True, slots=True)
class Overview:
    """`figures` is None while dashboard_metrics was never refreshed."""

    figures: Figures | None
    daily: Mapping[str, Sequence[DayTotal]]
    categories: Sequence[tuple[str, int]]
    queue: Sequence[QueueLine]
    dead: Sequence[DeadItem]


_FIGURES = text("SELECT utc_day(now()) AS today, * FROM dashboard_metrics")
_DAILY = text("""
    SELECT metric, day, label, sum(n)::bigint AS n, sum(total)::double precision AS total
    FROM dashboard_metrics_daily
    WHERE day > utc_day(now()) - 30 AND day <= utc_day(now())
    GROUP BY GROUPING SETS ((metric, day), (metric, label))
    HAVING GROUPING(label) = 1 OR metric = 'achievements'
    ORDER BY day, n DESC, label
""")
_QUEUE = text("""
    SELECT asset,
           count(*) FILTER (WHERE dead_at IS NULL AND coalesce(lease_until <= now(), true)) AS waiting,
           count(*) FILTER (WHERE dead_at IS NULL AND lease_until > now()) AS working,
           count(*) FILTER (WHERE dead_at IS NOT NULL) AS dead,
           min(day) AS oldest_day
    FROM pending GROUP BY asset ORDER BY asset
""")
_DEAD = text("SELECT asset, key, error, dead_at FROM pending WHERE dead_at IS NOT NULL ORDER BY dead_at DESC LIMIT 5")


def overview(engine: Engine) -> Overview:
    """The figures of the last 30 days, their days, and the queue as it is now."""
    with _reading(engine) as connection:
        figures = _figures(connection.execute(_FIGURES).one())
        daily, categories = _by_day(connection.execute(_DAILY).all())
        queue = [QueueLine(**row) for row in connection.execute(_QUEUE).mappings()]
        dead = [DeadItem(**row) for row in connection.execute(_DEAD).mappings()]
    return Overview(figures, daily, categories, queue, dead)


def _figures(row: Row[Any]) -> Figures | None:
    if row.refreshed_at is None:
        return None
    return Figures(
        today=row.today,
        achievements=row.total_achievements,
        average_impact=row.avg_impact,
        hours_saved=row.total_time_saved,
        categories=row.categories_covered,
        posts=row.total_posts,
        arcs=row.total_arcs,
        engagement_rate=row.engagement_rate,
        impressions=row.observed_impressions,
        successes=row.observed_successes,
        origin=Origin("dashboard_metrics", row.run_id, row.refreshed_at, row.code_version),
    )


def _by_day(rows: Sequence[Row[Any]]) -> tuple[dict[str, list[DayTotal]], list[tuple[str, int]]]:
    daily: dict[str, list[DayTotal]] = {}
    for row in rows:
        if row.day is not None:
            daily.setdefault(row.metric, []).append(DayTotal(row.day, row.n, row.total))
    return daily, [(row.label, row.n) for row in rows if row.day is None and row.n]
