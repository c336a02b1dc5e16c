"""A portfolio: achievements in the order in which they are shown, each with its evidence.

`portfolio_manifest` makes it checkable, `portfolio_<format>` write it down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any, Final, TypedDict

from threads_agent_dagster.domain.claims import Claim
from threads_agent_dagster.domain.portfolio_text import line, link, summary

MONTHS: Final = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                 "November", "December")  # fmt: skip
MOST_PERIODS: Final = 24  # of a timeline: beyond, its columns stand for longer periods
PERIOD_MONTHS: Final = (1, 3, 12, 120, 1_200, 12_000)
ASSURANCE: Final = "Every score is the sum of its rules, every claim a quotation."
CHECK_COMMAND: Final = "threads-agent portfolio verify FILE --checkout PATH"
CLAIM_FIELDS: Final = frozenset(field.name for field in fields(Claim))


class Rule(TypedDict):
    """`achievements.RulePoints` as it is stored: sixteen objects an item took half the time of an export."""

    name: str
    input: str | float | None
    weight: float
    points: float


@dataclass(frozen=True, slots=True)
class Item:
    """One achievement as it is shown. Scores are 0 to 100; None where nothing was measured, claimed or told."""

    id: int
    source_key: str
    source_type: str
    repository: str | None
    merge_sha: str | None
    url: str | None
    title: str
    summary: str | None
    category: str
    section: str
    author: str | None
    started_at: datetime | None
    completed_at: datetime | None
    impact_score: float | None
    complexity_score: float | None
    time_saved_hours: float | None
    performance_improvement_pct: float | None
    claims: tuple[Claim, ...]
    skills: tuple[str, ...]
    scorer_version: str | None
    impact_rules: tuple[Rule, ...]
    complexity_rules: tuple[Rule, ...]

    def to_document(self) -> dict[str, Any]:
        """The item as JSON holds it; times in UTC."""
        return {
            **_fields(self),
            "started_at": _stated(self.started_at),
            "completed_at": _stated(self.completed_at),
            "claims": [_fields(one) for one in self.claims],
            "skills": list(self.skills),
            "impact_rules": list(self.impact_rules),
            "complexity_rules": list(self.complexity_rules),
        }


def _fields(one: Item | Claim) -> dict[str, Any]:
    """One level of `dataclasses.asdict`, which copies all below and took most of the time of an export."""
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def _stated(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


def item_from_row(row: Mapping[str, Any]) -> Item:
    """The item of a row of `achievements`: the words cleaned, code and addresses left out."""
    return Item(
        id=row["id"],
        source_key=row["source_key"],
        source_type=row["source_type"],
        repository=line(row["repository"]),
        merge_sha=row["merge_sha"],
        url=link(row["source_url"]),
        title=line(row["title"]) or "Untitled",
        summary=summary(row["description"]),
        category=row["category"],
        section=line(row["portfolio_section"]) or row["category"].capitalize(),
        author=line(row["author_name"]) or line(row["author_login"]),
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        impact_score=row["impact_score"],
        complexity_score=row["complexity_score"],
        time_saved_hours=row["time_saved_hours"],
        performance_improvement_pct=row["performance_improvement_pct"],
        claims=_claims(row["business_value"]),
        skills=tuple(name for skill in row["skills"] if (name := line(skill["name"]))),
        scorer_version=row["scorer_version"],
        impact_rules=tuple(row["impact_rules"] or ()),
        complexity_rules=tuple(row["complexity_rules"] or ()),
    )


def _claims(value: object) -> tuple[Claim, ...]:
    """The claims of a stored business value; what was stored by other hands (`0`, a bare number) claims nothing."""
    found = value.get("claims") if isinstance(value, dict) else None
    if not isinstance(found, list):
        return ()
    whole = (claim for claim in found if isinstance(claim, dict) and claim.keys() == CLAIM_FIELDS)
    return tuple(Claim(**{**claim, "quote": line(claim["quote"]) or ""}) for claim in whole)


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over the items. None where no item has the measure; the dates are UTC."""

    achievements: int
    repositories: int
    avg_impact: float | None
    time_saved_hours: float | None
    first: date | None
    last: date | None


@dataclass(frozen=True, slots=True)
class Period:
    """How many achievements were completed in it."""

    label: str
    achievements: int


@dataclass(frozen=True, slots=True)
class Portfolio:
    """The items section by section, as they are shown."""

    sections: tuple[Section, ...]
    made_at: datetime

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(item for section in self.sections for item in section.items)

    @property
    def owner(self) -> str | None:
        """Who all of it is by; None where several people are."""
        authors = {item.author for item in self.items}
        return authors.pop() if len(authors) == 1 else None

    @property
    def title(self) -> str:
        return "Portfolio" if self.owner is None else f"Portfolio of {self.owner}"


def assemble(rows: Iterable[Mapping[str, Any]], made_at: datetime) -> Portfolio:
    """The portfolio of rows in the order of their priority; a section stands where its first item does."""
    items = [item_from_row(row) for row in rows]
    names = {item.section: position for position, item in reversed(list(enumerate(items)))}
    ordered = sorted(items, key=lambda item: names[item.section])
    grouped = groupby(ordered, key=lambda item: item.section)
    return Portfolio(tuple(Section(name, tuple(group)) for name, group in grouped), made_at)


def figures(portfolio: Portfolio) -> Figures:
    items = portfolio.items
    impacts = [item.impact_score for item in items if item.impact_score is not None]
    hours = [item.time_saved_hours for item in items if item.time_saved_hours is not None]
    days = [item.completed_at.astimezone(UTC).date() for item in items if item.completed_at is not None]
    return Figures(
        achievements=len(items),
        repositories=len({item.repository for item in items} - {None}),
        avg_impact=sum(impacts) / len(impacts) if impacts else None,
        time_saved_hours=sum(hours) if hours else None,
        first=min(days, default=None),
        last=max(days, default=None),
    )


def timeline(portfolio: Portfolio) -> tuple[Period, ...]:
    """Every month from the first completion to the last; longer periods where the months would be too many."""
    days = [item.completed_at.astimezone(UTC) for item in portfolio.items if item.completed_at is not None]
    months = [day.year * 12 + day.month - 1 for day in days]
    if not months:
        return ()
    span = max(months) - min(months) + 1
    size = next(size for size in PERIOD_MONTHS if span <= size * MOST_PERIODS)
    counts = dict.fromkeys(range(min(months) // size, max(months) // size + 1), 0)
    for month in months:
        counts[month // size] += 1
    return tuple(Period(_period_label(period * size, size), count) for period, count in counts.items())


def _period_label(month: int, size: int) -> str:
    year, index = divmod(month, 12)
    years = str(year) if size == 12 else f"{year}–{year + size // 12 - 1}"
    return {1: f"{MONTHS[index][:3]} {year}", 3: f"Q{index // 3 + 1} {year}"}.get(size, years)


def strongest(portfolio: Portfolio, count: int) -> tuple[Item, ...]:
    """The scored items with the highest impact, the highest first."""
    scored = [item for item in portfolio.items if item.impact_score is not None]
    return tuple(sorted(scored, key=lambda item: (-(item.impact_score or 0.0), item.id))[:count])


# How figures are put in words; every format says them alike.


def day_in_words(moment: datetime | date) -> str:
    """A UTC date, as `3 March 2026`."""
    day = moment.astimezone(UTC) if isinstance(moment, datetime) else moment
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def month_in_words(day: date) -> str:
    return f"{MONTHS[day.month - 1]} {day.year}"


def number(value: float) -> str:
    """At most one decimal, thousands apart."""
    return f"{value:,.1f}".removesuffix(".0")


def headline(portfolio: Portfolio) -> str:
    """How many changes, in how many repositories, and when."""
    sums = figures(portfolio)
    parts = [_counted(sums.achievements, "change", "changes")]
    if sums.repositories:
        parts.append(f" in {_counted(sums.repositories, 'repository', 'repositories')}")
    if sums.first is not None and sums.last is not None:
        first, last = month_in_words(sums.first), month_in_words(sums.last)
        parts.append(f", {first}" if first == last else f", {first} – {last}")
    return "".join(parts)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def outcomes(item: Item) -> tuple[str, ...]:
    """What the item's own text claims, in figures."""
    said = []
    if item.time_saved_hours is not None:
        said.append(f"{number(item.time_saved_hours)} hours saved in a year, as claimed")
    if item.performance_improvement_pct is not None:
        said.append(f"{number(item.performance_improvement_pct)} % better performance, as claimed")
    return tuple(said)


def reasons(rules: Iterable[Rule]) -> tuple[str, ...]:
    """The rules that earned points, the most first, as `size 12.3`."""
    earned = sorted((rule for rule in rules if rule["points"] > 0), key=lambda rule: -rule["points"])
    return tuple(f"{rule['name'].partition(':')[0]} {number(rule['points'])}" for rule in earned)
