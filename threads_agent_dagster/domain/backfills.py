"""Backfills: what recomputing history would change, and what it costs by what earlier runs took."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

Value = str | float | None
Fields = Mapping[str, Value]

BARS = "▁▂▃▄▅▆▇█"
BINS = 12
SAMPLES = 5
MOST_CHANGES = 20
PLOT_COLUMNS = 4
PANEL_WIDTH, PANEL_HEIGHT, BARS_HEIGHT = 210, 100, 56  # of the plot, in pixels
EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Spent:
    """What was paid to others: tokens of language models and money."""

    tokens: int
    usd: Decimal


FREE = Spent(0, Decimal(0))


@dataclass(frozen=True, slots=True)
class Rate:
    """Sums over the drains of one code version: enough for the line through their (rows, seconds)."""

    code_version: str
    drains: int
    rows: float
    seconds: float
    rows_rows: float
    rows_seconds: float
    tokens: int | None
    usd: Decimal | None
    measured_at: datetime

    def seconds_for(self, rows: int) -> float:
        """By least squares, a fixed part (imports, models) and a part per row; by the mean where no line is told."""
        spread = self.drains * self.rows_rows - self.rows**2
        if spread > 0:
            per_row = (self.drains * self.rows_seconds - self.rows * self.seconds) / spread
            fixed = (self.seconds - per_row * self.rows) / self.drains
            if per_row > 0 and fixed >= 0:
                return fixed + per_row * rows
        return self.seconds / self.rows * rows

    def spent_for(self, rows: int) -> Spent | None:
        """In proportion to the rows; None when nothing was paid yet that could be measured."""
        if self.tokens is None or self.usd is None:
            return None
        return Spent(round(self.tokens / self.rows * rows), self.usd / Decimal(self.rows) * rows)


@dataclass(frozen=True, slots=True)
class Plan:
    """The price tag of a backfill; what was never measured is None.

    `stale` counts rows by the code version that made them (None: missing); `partitions` is None for a table without.
    """

    asset: str
    code_version: str
    first: date | None
    last: date | None
    partitions: int | None
    partitions_with_rows: int
    stale: Mapping[str | None, int]
    seconds: float | None
    spent: Spent | None
    rate: Rate | None

    @property
    def rows(self) -> int:
        """Rows to make anew."""
        return sum(self.stale.values())

    @property
    def table(self) -> list[tuple[str, str]]:
        """What to tell people: (what, how much), with unknown said as such."""
        told = [("asset", f"{self.asset}, version {self.code_version}")]
        if self.partitions is not None and self.first is not None:
            days = f"{self.first} to {self.last}"
            told.append(("partitions", f"{self.partitions:,} ({days}), {self.partitions_with_rows:,} with such rows"))
        told.append(("rows", f"{self.rows:,}"))
        for version, rows in self.stale.items():
            told.append(("", f"{rows:,} {'missing' if version is None else f'of version {version}'}"))
        told.append(("tokens", "unknown" if self.spent is None else f"{self.spent.tokens:,}"))
        told.append(("money", "unknown" if self.spent is None else f"{self.spent.usd:,.2f} USD"))
        return [*told, ("minutes", self._minutes)]

    @property
    def _minutes(self) -> str:
        if self.seconds is None or self.rate is None:
            return "unknown: no rows of it were made here yet"
        source = f"{self.rate.rows:,.0f} rows of version {self.rate.code_version}, last on {self.rate.measured_at:%F}"
        return f"{self.seconds / 60:,.1f}, measured on {source}"

    def as_text(self) -> str:
        """For a terminal."""
        return "\n".join(f"{what:<11} {how_much}" for what, how_much in self.table)

    def as_markdown(self) -> str:
        """For Dagster's pages."""
        rows = [f"| {what} | {how_much} |" for what, how_much in self.table]
        return "\n".join(["| | |", "|---|---|", *rows])

    def as_json(self) -> dict[str, Any]:
        """For programs; unknown is null."""
        return {
            "asset": self.asset,
            "code_version": self.code_version,
            "first": self.first and self.first.isoformat(),
            "last": self.last and self.last.isoformat(),
            "partitions": self.partitions,
            "partitions_with_rows": self.partitions_with_rows,
            "rows": self.rows,
            "rows_by_version": [{"code_version": version, "rows": rows} for version, rows in self.stale.items()],
            "tokens": None if self.spent is None else self.spent.tokens,
            "usd": None if self.spent is None else float(self.spent.usd),
            "minutes": None if self.seconds is None else self.seconds / 60,
        }


@dataclass(frozen=True, slots=True)
class Compared:
    """One row as it is (None: there is none yet) and as it would be."""

    key: str
    old: Fields | None
    new: Fields


@dataclass
class Comparison:
    """Old against new of many rows, field by field; numbers are summarised, words are counted."""

    rows: list[Compared] = field(default_factory=list)
    failed: int = 0
    errors: list[str] = field(default_factory=list)

    def fail(self, key: str, error: str) -> None:
        """Counts a row that cannot be computed and keeps the first few errors as samples."""
        self.failed += 1
        if len(self.errors) < SAMPLES:
            self.errors.append(f"{key}: {error}")

    @property
    def pairs(self) -> list[Compared]:
        """The rows that exist on both sides."""
        return [row for row in self.rows if row.old is not None]

    @property
    def agreement(self) -> float | None:
        """Share of the existing rows whose fields all stay as they are; None without any."""
        return 1 - len(self.changed) / len(self.pairs) if self.pairs else None

    @property
    def changed(self) -> list[str]:
        """Keys of the existing rows of which a field would change."""
        return [
            row.key
            for row in self.pairs
            if row.old is not None and any(not _same(row.old.get(name), new) for name, new in row.new.items())
        ]

    def as_markdown(self) -> str:
        """What was compared, a table of the numbers, and for each field of words its agreement and its changes."""
        missing = len(self.rows) - len(self.pairs)
        told = [
            f"**{len(self.pairs):,} rows compared**: {len(self.changed):,} would change, {missing:,} are missing and "
            f"would be made, {self.failed:,} cannot be computed."
        ]
        told += [f"- {error}" for error in self.errors]
        numbers = self._numbers()
        told += _numbers(numbers)
        for name in self._fields():
            if name not in numbers:
                told += _words(name, self._column(name))
        if self.changed:
            told.append(f"\nChanged, for example: {', '.join(f'`{key}`' for key in self.changed[:SAMPLES])}")
        return "\n".join(told)

    def plot(self) -> str | None:
        """The distributions of every number, old (filled) and new (line), as a Markdown image; None without numbers."""
        numbers = self._numbers()
        if not numbers:
            return None
        svg = _plot(numbers)
        return f"![Distributions, old and new](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"

    def _fields(self) -> list[str]:
        return list(self.pairs[0].new) if self.pairs else []

    def _numbers(self) -> dict[str, list[tuple[Value, Value]]]:
        columns = {name: self._column(name) for name in self._fields()}
        return {name: column for name, column in columns.items() if _is_number(column)}

    def _column(self, name: str) -> list[tuple[Value, Value]]:
        return [(row.old.get(name), row.new.get(name)) for row in self.pairs if row.old is not None]


def _same(old: Value, new: Value) -> bool:
    if isinstance(old, int | float) and isinstance(new, int | float):
        return abs(old - new) <= EQUAL
    return old == new


def _is_number(column: Sequence[tuple[Value, Value]]) -> bool:
    known = [value for pair in column for value in pair if value is not None]
    return bool(known) and all(isinstance(value, int | float) for value in known)


def _numbers(columns: Mapping[str, Sequence[tuple[Value, Value]]]) -> Iterator[str]:
    if not columns:
        return
    yield "\n| field | same | mean change | correlation | old 5 · 50 · 95 % | new 5 · 50 · 95 % | old | new |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, column in columns.items():
        old, new = _sides(column)
        same = np.mean([_same(*pair) for pair in column])
        low, high = np.nanmin([old, new]), np.nanmax([old, new])
        cells = [f"{same:.1%}", _mean_change(old, new), _correlation(old, new), _quantiles(old), _quantiles(new)]
        yield f"| {name} | {' | '.join([*cells, _histogram(old, low, high), _histogram(new, low, high)])} |"


def _sides(column: Sequence[tuple[Value, Value]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    old, new = (np.array([np.nan if pair[side] is None else pair[side] for pair in column]) for side in (0, 1))
    return old, new


def _mean_change(old: NDArray[np.float64], new: NDArray[np.float64]) -> str:
    known = np.isfinite(old) & np.isfinite(new)
    return f"{np.mean(new[known] - old[known]):+.4g}" if known.any() else "–"


def _correlation(old: NDArray[np.float64], new: NDArray[np.float64]) -> str:
    known = np.isfinite(old) & np.isfinite(new)
    if known.sum() < 2 or np.ptp(old[known]) == 0 or np.ptp(new[known]) == 0:
        return "–"
    return f"{np.corrcoef(old[known], new[known])[0, 1]:.3f}"


def _quantiles(values: NDArray[np.float64]) -> str:
    known = values[np.isfinite(values)]
    return " · ".join(f"{at:.3g}" for at in np.quantile(known, [0.05, 0.5, 0.95])) if known.size else "–"


def _histogram(values: NDArray[np.float64], low: float, high: float) -> str:
    """Bars over bins that both sides share; empty bins are blank."""
    counts = _counts(values, low, high)
    tallest = max(1, counts.max())
    return "".join(BARS[(count * (len(BARS) - 1)) // tallest] if count else "·" for count in counts)


def _counts(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.intp]:
    counts, _ = np.histogram(values[np.isfinite(values)], bins=BINS, range=(low, high if high > low else low + 1))
    return counts


def _plot(columns: Mapping[str, Sequence[tuple[Value, Value]]]) -> str:
    """An SVG of one panel per number; its greys and blue can be seen on light and on dark pages."""
    rows = -(-len(columns) // PLOT_COLUMNS)
    width, height = PLOT_COLUMNS * PANEL_WIDTH, rows * PANEL_HEIGHT + 18
    panels = [
        f'<g transform="translate({number % PLOT_COLUMNS * PANEL_WIDTH},{number // PLOT_COLUMNS * PANEL_HEIGHT + 18})">'
        f"{_panel(name, *_sides(column))}</g>"
        for number, (name, column) in enumerate(columns.items())
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="11" fill="#8a8f98">'
        '<rect y="2" width="10" height="10" opacity=".55"/><text x="14" y="11">old</text>'
        '<path d="M44 7h14" stroke="#3b82f6" stroke-width="2"/><text x="62" y="11">new</text>'
        f"{''.join(panels)}</svg>"
    )


def _panel(name: str, old: NDArray[np.float64], new: NDArray[np.float64]) -> str:
    low, high = float(np.nanmin([old, new])), float(np.nanmax([old, new]))
    before, after = _counts(old, low, high), _counts(new, low, high)
    step, scale = (PANEL_WIDTH - 20) / BINS, BARS_HEIGHT / max(1, before.max(), after.max())
    base = BARS_HEIGHT + 16
    bars = "".join(
        f'<rect x="{at * step:.1f}" y="{base - tall:.1f}" width="{step - 1:.1f}" height="{tall:.1f}"/>'
        for at, tall in enumerate((before * scale).tolist())
    )
    line = f"M0 {base}" + "".join(f"V{base - tall:.1f}h{step:.1f}" for tall in (after * scale).tolist()) + f"V{base}"
    return (
        f'<text y="11">{escape(name)}</text><g opacity=".55">{bars}</g>'
        f'<path d="{line}" fill="none" stroke="#3b82f6" stroke-width="1.5"/>'
        f'<text y="{base + 11}">{low:.3g}</text>'
        f'<text x="{PANEL_WIDTH - 20}" y="{base + 11}" text-anchor="end">{high:.3g}</text>'
    )


def _words(name: str, column: Sequence[tuple[Value, Value]]) -> Iterator[str]:
    pairs = [("none" if old is None else str(old), "none" if new is None else str(new)) for old, new in column]
    same = sum(old == new for old, new in pairs) / len(pairs)
    before, after = Counter(old for old, _ in pairs), Counter(new for _, new in pairs)
    kappa = _kappa(same, before, after, len(pairs))
    yield f"\n**{name}**: {same:.1%} agree" + ("" if kappa is None else f", Cohen's κ {kappa:.3f}")
    yield f"\n| {name} | old | new |\n|---|---|---|"
    for value in sorted(before | after, key=lambda value: -before[value]):
        yield f"| {value} | {before[value]:,} | {after[value]:,} |"
    moved = Counter(pair for pair in pairs if pair[0] != pair[1])
    if moved:
        yield "\n| old → new | rows |\n|---|---|"
        yield from (f"| {old} → {new} | {rows:,} |" for (old, new), rows in moved.most_common(MOST_CHANGES))


def _kappa(same: float, before: Counter[str], after: Counter[str], rows: int) -> float | None:
    """Agreement beyond chance; None where chance alone agrees entirely."""
    chance = sum(before[value] * after[value] for value in before) / rows**2
    return None if chance == 1 else (same - chance) / (1 - chance)
