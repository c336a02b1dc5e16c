"""The quantities of a sentence: a number with what it counts, "$50k", "200 developer hours", "2-3 minutes", "60 %"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
THREE_DECIMALS: Final = re.compile(r"^\d{1,3}\.\d{3}$")  # 50.000 is fifty in one country and fifty thousand in another


@dataclass(frozen=True, slots=True)
class Quantity:
    """`value` as written, `factor` to the dimension's base unit (seconds, bytes), `start` and `end` in the sentence."""

    value: float
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
    value = float(match["number"].replace(",", "")) * SCALES.get((match["scale"] or "").lower(), 1.0)
    if value > LARGEST_AMOUNT:
        return None
    dimension, factor = UNITS.get(symbol or unit, ("number", 1.0))
    return Quantity(value, dimension, CURRENCIES.get(symbol or unit, unit), factor, match.start(), match.end())


def _joined_ranges(sentence: str, found: Sequence[Quantity]) -> list[Quantity]:
    """ "2-3 hours" is the lower of the two: what is surely claimed."""
    joined: list[Quantity] = []
    for one in found:
        before = joined[-1] if joined else None
        if (
            before
            and re.fullmatch(r"\s?(-|–|to)\s?", sentence[before.end : one.start])
            and not follows_from(sentence, before)
        ):
            joined[-1] = _range(before, one)
        else:
            joined.append(one)
    return joined


def _range(low: Quantity, high: Quantity) -> Quantity:
    scale = high.value / low.value if low.value else 0.0
    shared = 1e3 if low.dimension == "money" and high.value >= 1e3 > low.value and scale > 100 else 1.0  # "$40-60k"
    known = high if low.dimension == "number" else low
    return Quantity(low.value * shared, known.dimension, known.unit, known.factor, low.start, high.end, is_range=True)


def follows_from(sentence: str, quantity: Quantity) -> bool:
    return re.search(r"\bfrom\s+(?:about |around |~)?$", sentence[: quantity.start], re.IGNORECASE) is not None
