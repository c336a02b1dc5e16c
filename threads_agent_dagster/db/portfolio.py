"""What is ready to be shown, and the figures over achievements: sums of the tables, computed when asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Select, bindparam, select, text
from sqlalchemy.dialects.postgresql import DATE

from threads_agent_dagster.db.achievements import LISTED
from threads_agent_dagster.db.bulk import insert_rows, parameter
from threads_agent_dagster.db.identities import WHOSE, Whose
from threads_agent_dagster.db.pages import Order, Window, read
from threads_agent_dagster.db.tables import achievements

READ_ROWS: Final = 1_000
BY_PRIORITY = Order(achievements.c.display_priority, achievements.c.id, descending=False)
_READY: Select[tuple[object, ...]] = select(*LISTED).where(
    achievements.c.portfolio_ready, achievements.c.deleted_at.is_(None)
)


def ready(
    connection: Connection, whose: Whose, category: str | None, section: str | None, window: Window
) -> Sequence[RowMapping]:
    """A page of the achievements that are ready, the smallest display priority first."""
    rows = _READY.where(text(WHOSE).bindparams(**asdict(whose)))
    if category is not None:
        rows = rows.where(achievements.c.category == category)
    if section is not None:
        rows = rows.where(achievements.c.portfolio_section == section)
    return read(connection, rows, BY_PRIORITY, window)


@dataclass(frozen=True, slots=True)
class Selection(Whose):
    """What an export holds, and whose; None asks for nothing. `since` is a UTC date.

    What has no section stands in one named after its category. With `everything`, also what is not marked ready.
    """

    section: str | None = None
    since: date | None = None
    everything: bool = False


_EXPORTED = text(f"""
    SELECT id, source_key, source_type::text AS source_type, source_url, repository, merge_sha, title, description,
        category::text AS category, portfolio_section, author_name, author_login, started_at, completed_at,
        impact_score, complexity_score, time_saved_hours, performance_improvement_pct, business_value, skills,
        scorer_version, impact_rules, complexity_rules
    FROM achievements
    WHERE deleted_at IS NULL AND (:everything OR portfolio_ready)
        AND (cast(:section AS text) IS NULL OR lower(coalesce(portfolio_section, category::text)) = lower(:section))
        AND (:since IS NULL OR utc_day(completed_at) >= :since)
        AND {WHOSE}
    ORDER BY display_priority, impact_score DESC NULLS LAST, id
""").bindparams(bindparam("since", type_=DATE))


def exported(connection: Connection, wanted: Selection) -> Iterator[dict[str, Any]]:
    """The rows of a portfolio, the smallest display priority first, then the highest impact; READ_ROWS at a time."""
    options = {"yield_per": READ_ROWS}
    for row in connection.execute(_EXPORTED, asdict(wanted), execution_options=options):
        yield row._asdict()


_SEALED = insert_rows(
    "portfolio", ("achievement_id", "position", "section", "content_sha256", "run_id", "code_version")
)
_LOCK = text("LOCK TABLE portfolio IN SHARE ROW EXCLUSIVE MODE")
_CLEAR = text("DELETE FROM portfolio")


def replace_sealed(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Stores the sealed items in place of the former ones."""
    connection.execute(_LOCK)
    connection.execute(_CLEAR)
    connection.execute(_SEALED, parameter(rows))


_PUBLISHED = text("""
    UPDATE achievements SET linkedin_post_id = told.post_id, linkedin_published_at = told.published_at,
        edited_by = :by, edited_at = now()
    FROM unnest(cast(:ids AS int[]), cast(:posts AS text[]), cast(:times AS timestamptz[]))
        AS told (id, post_id, published_at)
    WHERE achievements.id = told.id AND achievements.deleted_at IS NULL RETURNING achievements.id
""")


def record_publications(connection: Connection, publications: Mapping[int, tuple[str, datetime]], by: str) -> set[int]:
    """Stores the LinkedIn post (id, time) of achievements by their ids; returns those that are there."""
    posts = [post for post, _ in publications.values()]
    times = [moment for _, moment in publications.values()]
    told = {"ids": list(publications), "posts": posts, "times": times, "by": by}
    return set(connection.execute(_PUBLISHED, told).scalars())


_FIGURES = """count(*) AS achievements, avg(impact_score) AS avg_impact, max(impact_score) AS max_impact,
    sum(time_saved_hours) AS time_saved_hours, count(*) FILTER (WHERE portfolio_ready) AS portfolio_ready"""

_STATS = text(f"""
    SELECT {_FIGURES}, min(completed_at) AS first_completed_at, max(completed_at) AS last_completed_at
    FROM achievements WHERE deleted_at IS NULL AND {WHOSE}
""")
_SECTIONS = text(f"""
    SELECT portfolio_section AS name, {_FIGURES} FROM achievements
    WHERE deleted_at IS NULL AND portfolio_ready AND {WHOSE} GROUP BY 1 ORDER BY 1 NULLS LAST
""")
_RANGE = f"""deleted_at IS NULL AND {WHOSE} AND utc_day(completed_at) >= coalesce(:since, '-infinity')
    AND utc_day(completed_at) <= coalesce(:until, 'infinity')"""
_DATES = (bindparam("since", type_=DATE), bindparam("until", type_=DATE))
_CATEGORIES = text(f"""
    SELECT category::text AS name, {_FIGURES} FROM achievements WHERE {_RANGE} GROUP BY 1 ORDER BY 2 DESC, 1
""").bindparams(*_DATES)
_DISTRIBUTION = text(f"""
    SELECT 10 * least(floor(impact_score / 10), 9)::int AS at_least, count(*) AS achievements FROM achievements
    WHERE {_RANGE} AND impact_score IS NOT NULL GROUP BY 1 ORDER BY 1
""").bindparams(*_DATES)
_TIMELINE = text(f"""
    SELECT date_trunc(:unit, completed_at AT TIME ZONE 'UTC')::date AS start, {_FIGURES} FROM achievements
    WHERE {_RANGE} GROUP BY 1 ORDER BY 1
""").bindparams(*_DATES)


@dataclass(frozen=True, slots=True)
class Scope:
    """What figures are over: whose achievements, completed within these closed UTC dates (None: open)."""

    whose: Whose
    since: date | None = None
    until: date | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        return {**asdict(self.whose), "since": self.since, "until": self.until}


def stats(connection: Connection, whose: Whose) -> RowMapping:
    """One row over all achievements; NULL where nothing was measured."""
    return connection.execute(_STATS, asdict(whose)).mappings().one()


def sections(connection: Connection, whose: Whose) -> Sequence[RowMapping]:
    """One row per portfolio section of what is ready."""
    return connection.execute(_SECTIONS, asdict(whose)).mappings().all()


def categories(connection: Connection, scope: Scope) -> Sequence[RowMapping]:
    """One row per category."""
    return connection.execute(_CATEGORIES, scope.parameters).mappings().all()


def distribution(connection: Connection, scope: Scope) -> Sequence[RowMapping]:
    """One row per ten points of impact score that an achievement has; 100 belongs to the last."""
    return connection.execute(_DISTRIBUTION, scope.parameters).mappings().all()


def timeline(connection: Connection, unit: str, scope: Scope) -> Sequence[RowMapping]:
    """One row per `unit` (day, week, month, year; UTC) in which something was completed."""
    return connection.execute(_TIMELINE, {"unit": unit, **scope.parameters}).mappings().all()


_VALUES = text(f"""
    SELECT business_value FROM achievements WHERE deleted_at IS NULL AND business_value IS NOT NULL AND {WHOSE}
    AND (cast(:ids AS int[]) IS NULL OR id = ANY(:ids)) ORDER BY completed_at, id
""")


def business_values(connection: Connection, whose: Whose, ids: Sequence[int] | None) -> Sequence[Mapping[str, Any]]:
    """What the given achievements (None: all) claim to be worth; those that claim nothing are missing."""
    given = {"ids": None if ids is None else list(ids)}
    return connection.execute(_VALUES, asdict(whose) | given).scalars().all()
