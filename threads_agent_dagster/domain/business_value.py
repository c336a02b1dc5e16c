"""What a text claims that a change is worth, word by word; nothing claimed is None, never a guess.

A claim is an amount, its unit and period, and the sentence that says so. Hours stay hours: money and yearly figures
come only from `Assumptions`, which the reader can see and change.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Period = Literal["day", "week", "month", "year"]
Kind = Literal["money", "time", "percent", "points"]


@dataclass(frozen=True, slots=True)
class Claim:
    """`amount` in `unit` ("USD", "hours", "percent", "percentage points") per `period`; no period: once, or not said.

    `metric` is what a percentage is of, in the text's own words. `confidence` is by wording alone: 0.9 stated, 0.6
    hedged ("about", "up to"), 0.3 hoped for ("could", "expected to").
    """

    kind: Kind
    amount: float
    unit: str
    period: Period | None
    metric: str | None
    quote: str
    confidence: float


@dataclass(frozen=True, slots=True)
class BusinessValue:
    claims: tuple[Claim, ...]

    def to_document(self) -> dict[str, Any]:
        return {"claims": [asdict(claim) for claim in self.claims]}


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What turns a claim into a year's figure; every default is a convention, none of them is measured."""

    hourly_rate: float = 100.0
    working_days_per_year: float = 250.0
    working_weeks_per_year: float = 50.0
    months_per_year: float = 12.0
    hours_per_working_day: float = 8.0

    def times_per_year(self, period: Period | None) -> float:
        """A claim without a period counts once."""
        return {
            None: 1.0,
            "year": 1.0,
            "month": self.months_per_year,
            "week": self.working_weeks_per_year,
            "day": self.working_days_per_year,
        }[period]


def read_business_value(text: str) -> BusinessValue | None:
    """The claims of a text, or None when it claims nothing."""
    raise NotImplementedError
