"""The quantities of a sentence: a number with what it counts, "$50k", "200 developer hours", "2-3 minutes", "60 %"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

Dimension = Literal["money", "duration", "size", "rate", "percent", "times", "number"]

LARGEST_AMOUNT: Final = 1e12  # above this it is a typing error or a joke

SCALES: Final[Mapping[str, float]] = {
    **dict.fromkeys(("k", "thousand"), 1e3),
    **dict.fromkeys(("m", "mm", "mn", "million"), 1e6),
    **dict.fromkeys(("b", "bn", "billion"), 1e9),
}
CURRENCIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("$", "us$", "usd", "dollar", "dollars"), "USD"),
    **dict.fromkeys(("€", "eur", "euro", "euros"), "EUR"),
    **dict.fromkeys(("£", "gbp", "pound", "pounds"), "GBP"),
}
SECONDS: Final[Mapping[str, float]] = {
    "ns": 1e-9,
    **dict.fromkeys(("us", "µs", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("day", "days", "workday", "workdays"), 86400.0),
    **dict.fromkeys(("week", "weeks"), 604800.0),
    **dict.fromkeys(("month", "months"), 2_629_800.0),
    **dict.fromkeys(("year", "years"), 31_557_600.0),
}
BYTES: Final[Mapping[str, float]] = {
    **dict.fromkeys(("kb", "kib"), 1e3),
    **dict.fromkeys(("mb", "mib"), 1e6),
    **dict.fromkeys(("gb", "gib"), 1e9),
    **dict.fromkeys(("tb", "tib"), 1e12),
}
RATES: Final = ("rps", "qps", "tps", "req/s", "requests/s", "ops/s", "requests per second", "rows/s", "events/s")
PERCENT: Final = ("%", "percent", "per cent")
TIMES: Final = ("x", "×", "times")

UNITS: Final[Mapping[str, tuple[Dimension, float]]] = {
    **dict.fromkeys(CURRENCIES, ("money", 1.0)),
    **{name: ("duration", seconds) for name, seconds in SECONDS.items()},
    **{name: ("size", size) for name, size in BYTES.items()},
    **dict.fromkeys(RATES, ("rate", 1.0)),
    **dict.fromkeys(PERCENT, ("percent", 1.0)),
    **dict.fromkeys(TIMES, ("times", 1.0)),
}
WHO: Final = (
    r"(?:(?:developer|dev|engineer|engineering|person|man|work|working|staff|team|manual|support|analyst|qa)s?[ -])?"
)


def _alternatives(names: Iterable[str]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


QUANTITY: Final = re.compile(
    rf"(?<![\w.,/])(?P<symbol>us\$|[$€£])?\s?(?P<number>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    rf"(?:\s?(?P<scale>{_alternatives(SCALES)})(?!\w))?"
    rf"(?:[\s-]?{WHO}(?P<unit>{_alternatives(UNITS)})(?![\w$€£]))?(?![\w]|[.,]\d)",
    re.IGNORECASE,
)
RANGE: Final = re.compile(r"\s?(?:-|–|to)\s?", re.IGNORECASE)
FROM: Final = re.compile(r"\bfrom\s+(?:about |around |~)?$", re.IGNORECASE)
THREE_DECIMALS: Final = re.compile(r"^\d{1,3}\.\d{3}$")  # 50.000 is fifty in one country and fifty thousand in another


@dataclass(frozen=True, slots=True)
class Quantity:
    """`value` with its `scale` (of "50k": 1000) applied, `factor` to the dimension's base unit (seconds, bytes)."""

    value: float
    scale: float
    dimension: Dimension
    unit: str
    factor: float
    start: int
    end: int
    is_range: bool = False


def read_quantities(sentence: str) -> list[Quantity]:
    found = [one for match in QUANTITY.finditer(sentence) if (one := _quantity(match)) is not None]
    return _joined_ranges(sentence, found)


def _quantity(match: re.Match[str]) -> Quantity | None:
    symbol, unit = (match["symbol"] or "").lower(), (match["unit"] or "").lower()
    if symbol and THREE_DECIMALS.match(match["number"]) and not match["scale"]:
        return None
    scale = SCALES.get((match["scale"] or "").lower(), 1.0)
    value = float(match["number"].replace(",", "")) * scale
    if value > LARGEST_AMOUNT:
        return None
    dimension, factor = UNITS.get(symbol or unit, ("number", 1.0))
    return Quantity(value, scale, dimension, CURRENCIES.get(symbol or unit, unit), factor, match.start(), match.end())


def _joined_ranges(sentence: str, found: Sequence[Quantity]) -> list[Quantity]:
    """ "2-3 hours" is the lower of the two: what is surely claimed."""
    joined: list[Quantity] = []
    for one in found:
        if joined and _is_range(sentence, joined[-1], one):
            joined[-1] = _range(joined[-1], one)
        else:
            joined.append(one)
    return joined


def _is_range(sentence: str, low: Quantity, high: Quantity) -> bool:
    return RANGE.fullmatch(sentence, low.end, high.start) is not None and not follows_from(sentence, low)


def _range(low: Quantity, high: Quantity) -> Quantity:
    """Of "$40-60k" the lower is 40,000, of "$500-2k" it is 500."""
    shared = low.value * high.scale
    value = shared if low.scale == 1 and shared <= high.value else low.value
    known = high if low.dimension == "number" else low
    return replace(known, value=value, start=low.start, end=high.end, is_range=True)


def follows_from(sentence: str, quantity: Quantity) -> bool:
    """Whether the quantity is what something was before: "from 20 to 5 minutes"."""
    return FROM.search(sentence[: quantity.start]) is not None
