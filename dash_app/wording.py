"""How values are written; what is missing is a dash, never a zero."""

from __future__ import annotations

from datetime import UTC, date, datetime

MISSING = "—"


def count(value: int | None) -> str:
    return MISSING if value is None else f"{value:,}"


def decimal(value: float | None, digits: int = 1) -> str:
    return MISSING if value is None else f"{value:,.{digits}f}"


def amount(value: float | None) -> str:
    """With one decimal where it has any: 1,800 or 12.5."""
    return decimal(value).removesuffix(".0")


def percent(rate: float | None, digits: int = 2) -> str:
    """A rate in 0..1 as a percentage."""
    return MISSING if rate is None else f"{rate * 100:.{digits}f} %"


def signed(value: float | None) -> str:
    """E.g. +0.42, −0.10; what rounds to zero has no sign."""
    return MISSING if value is None else f"{value:+z.2f}".replace("+0.00", "0.00").replace("-", "−")


def day(moment: date | datetime | None) -> str:
    """E.g. 7 Nov 2026, in UTC."""
    if moment is None:
        return MISSING
    moment = moment.astimezone(UTC) if isinstance(moment, datetime) else moment
    return f"{moment.day} {moment:%b %Y}"


def time(moment: datetime | None) -> str:
    """E.g. 7 Nov 2026, 09:05 UTC."""
    return MISSING if moment is None else f"{day(moment)}, {moment.astimezone(UTC):%H:%M} UTC"


def plural(n: int, one: str) -> str:
    """E.g. 1 variant, 2 variants."""
    return f"{n:,} {one if n == 1 else one + 's'}"


def sentence_case(word: str) -> str:
    """A stored name as people write it: github_pr → Github pr."""
    return word.replace("_", " ").capitalize()
