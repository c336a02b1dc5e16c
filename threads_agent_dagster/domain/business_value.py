"""What a change is claimed to be worth; nothing claimed is None, never a guess.

Hours stay hours: money and yearly figures come only from `Assumptions`, which the reader can see and change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from threads_agent_dagster.domain.claims import PERFORMANCE_METRICS, Claim, Period, read_claims


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What turns claims into a year's figure: conventions, none of them measured, all of them the reader's to change.

    Claims below `minimum_confidence` count for nothing. `currency` is that of `hourly_rate`; claims in another one are
    left out, not converted.
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
        if claim.kind != "time" or times is None or claim.confidence < self.minimum_confidence:
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
        """The most confident claim about speed, size or throughput, the first of equals; a hope is none."""
        found = [claim for claim in self.claims if claim.kind == "percent" and claim.metric in PERFORMANCE_METRICS]
        best = max(found, key=lambda claim: claim.confidence, default=None)
        return best.amount if best and best.confidence >= DEFAULT_ASSUMPTIONS.minimum_confidence else None

    def hours_per_year(self, assumptions: Assumptions = DEFAULT_ASSUMPTIONS) -> float | None:
        """The claimed hours of one year; None when no claim can be told in hours."""
        hours = [hours for claim in self.claims if (hours := assumptions.hours_per_year(claim)) is not None]
        return sum(hours) if hours else None

    def to_document(self) -> dict[str, Any]:
        return {"claims": [asdict(claim) for claim in self.claims]}


def read_business_value(text: str) -> BusinessValue | None:
    """The claims of a text, or None when it claims nothing."""
    claims = read_claims(text)
    return BusinessValue(claims) if claims else None


@dataclass(frozen=True, slots=True)
class RoiLine:
    """What one claim is worth in a year and how that was reckoned; None: left out, and the reckoning says why."""

    quote: str
    reckoning: str
    per_year: float | None


@dataclass(frozen=True, slots=True)
class Roi:
    """`per_year` in `currency`. The last two are None where no cost was given or nothing was claimed."""

    currency: str
    per_year: float | None
    cost: float | None
    lines: tuple[RoiLine, ...]
    assumptions: Assumptions
    roi_pct: float | None
    payback_years: float | None


def roi(values: Iterable[BusinessValue], cost: float | None, assumptions: Assumptions = DEFAULT_ASSUMPTIONS) -> Roi:
    """The first year's return on `cost` (in the assumptions' currency), claim by claim."""
    lines = tuple(line for value in values for line in _roi_lines(value, assumptions))
    counted = [line.per_year for line in lines if line.per_year is not None]
    per_year = round(sum(counted), 2) if counted else None
    percent, years = (None, None) if not per_year or not cost else _return(per_year, cost)
    return Roi(assumptions.currency, per_year, cost, lines, assumptions, percent, years)


def _return(per_year: float, cost: float) -> tuple[float, float]:
    return round((per_year - cost) / cost * 100, 2), round(cost / per_year, 2)


def _roi_lines(value: BusinessValue, assumptions: Assumptions) -> list[RoiLine]:
    priced = {claim.quote for claim in value.claims if claim.kind == "money"}
    return [_roi_line(claim, assumptions, priced=claim.quote in priced) for claim in value.claims]


def _roi_line(claim: Claim, assumptions: Assumptions, *, priced: bool) -> RoiLine:
    if claim.kind == "time" and priced:
        return RoiLine(claim.quote, "left out: the same sentence says it in money", None)
    if claim.kind in ("percent", "points"):
        return RoiLine(claim.quote, "a percentage has no price", None)
    if claim.confidence < assumptions.minimum_confidence:
        return RoiLine(claim.quote, f"left out: confidence {claim.confidence:g} is below the minimum", None)
    if assumptions.times_per_year(claim.period) is None:
        return RoiLine(claim.quote, "left out: the text does not say how often in a year", None)
    if claim.kind == "money" and claim.unit != assumptions.currency:
        return RoiLine(claim.quote, f"left out: {claim.unit} is not converted to {assumptions.currency}", None)
    return RoiLine(claim.quote, _reckoning(claim, assumptions), assumptions.money_per_year(claim))


def _reckoning(claim: Claim, assumptions: Assumptions) -> str:
    factors = [f"{claim.amount:g} {claim.unit}"]
    if claim.period not in ("once", "year"):
        factors.append(f"{assumptions.times_per_year(claim.period):g} {claim.period}s a year")
    if claim.unit == "working days":
        factors.append(f"{assumptions.hours_per_working_day:g} hours a day")
    if claim.kind == "time":
        factors.append(f"{assumptions.hourly_rate:g} {assumptions.currency} an hour")
    return " × ".join(factors)
