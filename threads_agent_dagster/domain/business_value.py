"""What a text claims that a change is worth, word by word; nothing claimed is None, never a guess.

A claim is an amount, its unit and period, and the sentence that says so. Hours stay hours: money and yearly figures
come only from `Assumptions`, which the reader can see and change. The grammar is described in docs/achievements.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Kind = Literal["money", "time", "percent", "points"]
Period = Literal["once", "day", "week", "month", "quarter", "year", "occasion"]


@dataclass(frozen=True, slots=True)
class Claim:
    """`amount` in `unit` ("USD", "hours", "working days", "percent", "percentage points") per `period`.

    "once" is said without a period, "occasion" with one whose number per year is not said ("per deploy").
    `metric` is what a percentage is of. `confidence` is by wording alone: 0.9 stated, 0.6 hedged ("about", "up to",
    "will"), 0.3 hoped for ("could", "expected to").
    """

    kind: Kind
    amount: float
    unit: str
    period: Period
    metric: str | None
    quote: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What turns claims into a year's figure: conventions, none of them measured, all of them the reader's to change.

    `currency` is that of `hourly_rate`; claims in another one are left out, not converted.
    """

    hourly_rate: float = 100.0
    currency: str = "USD"
    working_days_per_year: float = 250.0
    working_weeks_per_year: float = 50.0
    months_per_year: float = 12.0
    hours_per_working_day: float = 8.0
    minimum_confidence: float = 0.6

    def times_per_year(self, period: Period) -> float | None:
        """What is said once counts once; None where nobody says how often."""
        times: dict[Period, float] = {
            "once": 1.0,
            "year": 1.0,
            "quarter": self.months_per_year / 3,
            "month": self.months_per_year,
            "week": self.working_weeks_per_year,
            "day": self.working_days_per_year,
        }
        return times.get(period)

    def hours_per_year(self, claim: Claim) -> float | None:
        times = self.times_per_year(claim.period)
        if claim.kind != "time" or times is None:
            return None
        return claim.amount * times * (self.hours_per_working_day if claim.unit == "working days" else 1.0)

    def money_per_year(self, claim: Claim) -> float | None:
        """In `currency`: money as claimed, time at the hourly rate."""
        hours, times = self.hours_per_year(claim), self.times_per_year(claim.period)
        if hours is not None:
            return hours * self.hourly_rate
        return claim.amount * times if claim.unit == self.currency and times is not None else None


DEFAULT_ASSUMPTIONS: Final = Assumptions()


@dataclass(frozen=True, slots=True)
class BusinessValue:
    claims: tuple[Claim, ...]

    @property
    def confidence(self) -> float:
        return max(claim.confidence for claim in self.claims)

    @property
    def performance_improvement_pct(self) -> float | None:
        """The most confident claim about speed, size or throughput; the first of equals."""
        found = [claim for claim in self.claims if claim.kind == "percent" and claim.metric in PERFORMANCE_METRICS]
        return max(found, key=lambda claim: claim.confidence).amount if found else None

    def hours_per_year(self, assumptions: Assumptions = DEFAULT_ASSUMPTIONS) -> float | None:
        """The claimed hours of one year; None when no claim can be told in hours."""
        hours = [hours for claim in self.claims if (hours := assumptions.hours_per_year(claim)) is not None]
        return sum(hours) if hours else None

    def to_document(self) -> dict[str, Any]:
        return {"claims": [asdict(claim) for claim in self.claims]}


PERFORMANCE_METRICS: Final[frozenset[str]] = frozenset()


def read_business_value(text: str) -> BusinessValue | None:
    """The claims of a text, or None when it claims nothing."""
    claims = tuple(claim for sentence in _sentences(text) for claim in _claims(sentence))
    return BusinessValue(claims) if claims else None


def _sentences(text: str) -> Iterator[str]:
    yield from re.split(r"\n", text)


def _claims(sentence: str) -> Iterator[Claim]:
    return iter(())
