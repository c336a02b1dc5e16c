"""What recomputing would change: counted row by row, summarised field by field."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from threads_agent_dagster.domain.backfills import Compared, Comparison, Plan, Rate, Spent


def compared(*pairs: tuple[str | float | None, str | float | None]) -> Comparison:
    rows = [Compared(f"row:{index}", {"field": old}, {"field": new}) for index, (old, new) in enumerate(pairs)]
    return Comparison(rows)


def test_rows_that_stay_agree() -> None:
    found = compared(("rising", "rising"), ("rising", "falling"), (None, None), (0.5, 0.5 + 1e-12))
    assert found.changed == ["row:1"]
    assert found.agreement == 0.75


def test_missing_is_not_zero() -> None:
    assert compared((None, 0.0)).changed == ["row:0"]


def test_rows_that_are_not_there_yet_are_counted_apart() -> None:
    found = Comparison([Compared("row:1", None, {"field": 1.0})])
    assert (found.pairs, found.agreement) == ([], None)
    assert "0 rows compared**: 0 would change, 1 are missing" in found.as_markdown()


def test_failures_are_counted_and_the_first_few_shown() -> None:
    found = Comparison()
    for number in range(9):
        found.fail(f"row:{number}", "no text")
    told = found.as_markdown()
    assert "9 cannot be computed" in told
    assert told.count("no text") == 5


def test_words_show_agreement_beyond_chance_and_where_rows_move() -> None:
    pairs = [("a", "a")] * 45 + [("a", "b")] * 15 + [("b", "a")] * 25 + [("b", "b")] * 15
    told = compared(*pairs).as_markdown()
    assert "**field**: 60.0% agree, Cohen's κ 0.130" in told  # the textbook's example: 0.1304
    assert "| a | 60 | 70 |" in told
    assert "| b → a | 25 |" in told


def test_agreement_beyond_chance_is_unknown_where_all_is_one_word() -> None:
    assert "κ" not in compared(("a", "a"), ("a", "a")).as_markdown()


def test_numbers_show_change_correlation_and_both_distributions() -> None:
    told = compared(*((float(n), n + 10.0) for n in range(101))).as_markdown()
    (line,) = [line for line in told.splitlines() if line.startswith("| field | 0.0%")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:6] == ["0.0%", "+10", "1.000", "5 · 50 · 95", "15 · 60 · 105"]
    assert len(cells[6]) == len(cells[7]) == 12
    assert (cells[6][-1], cells[7][0]) == ("·", "·"), "both sides share their bins"


def test_the_plot_draws_both_distributions_of_every_number_in_the_same_bins() -> None:
    rows = [Compared(f"row:{n}", {"a<b": float(n % 3), "word": "x"}, {"a<b": 11.0, "word": "y"}) for n in range(12)]
    picture = Comparison(rows).plot()
    assert picture is not None
    kind, data = picture.removesuffix(")").split("(data:")[1].split(";base64,")
    assert kind == "image/svg+xml"
    (panel,) = ET.fromstring(base64.b64decode(data)).findall("{*}g")
    assert [text.text for text in panel.findall("{*}text")] == ["a<b", "0", "11"]
    heights = [float(bar.attrib["height"]) for bar in panel.findall("{*}g/{*}rect")]
    assert [height > 0 for height in heights] == [True, True, True] + [False] * 9
    line = panel.find("{*}path")
    assert line is not None
    assert line.attrib["d"].count("V72.0") == 11, "the new values fill the last bin alone"


@pytest.mark.parametrize("found", [Comparison(), compared(("a", "b"))])
def test_without_numbers_there_is_no_plot(found: Comparison) -> None:
    assert found.plot() is None


@pytest.mark.parametrize("pairs", [[(None, 1.0)], [(1.0, None)], [(2.0, 2.0)], [(1.0, 1.0), (1.0, 3.0)]])
def test_what_cannot_be_said_of_numbers_is_left_open(pairs: list[tuple[float | None, float | None]]) -> None:
    assert "–" in compared(*pairs).as_markdown()
    assert "nan" not in compared(*pairs).as_markdown()


def test_a_field_that_nobody_knows_is_no_number() -> None:
    assert "**field**: 100.0% agree" in compared((None, None)).as_markdown()


def rate(*drains: tuple[float, float], tokens: int | None = None, usd: Decimal | None = None) -> Rate:
    rows, seconds = [float(n) for n, _ in drains], [taken for _, taken in drains]
    return Rate(
        code_version="1",
        drains=len(drains),
        rows=sum(rows),
        seconds=sum(seconds),
        rows_rows=sum(n * n for n in rows),
        rows_seconds=sum(n * taken for n, taken in drains),
        tokens=tokens,
        usd=usd,
        measured_at=datetime(2026, 1, 5, tzinfo=UTC),
    )


def test_what_every_drain_takes_is_told_from_what_each_row_takes() -> None:
    """A thousand small drains that load a model must not make a large one look a thousand times as slow."""
    measured = rate((1, 2.01), (10, 2.1), (100, 3.0))
    assert measured.seconds_for(10_000) == pytest.approx(102)


@pytest.mark.parametrize(
    "drains",
    [[(10, 5.0)], [(10, 4.0), (10, 6.0)], [(1, 9.0), (2, 3.0)], [(1, 0.0), (2, 9.0)]],
    ids=["one drain", "drains of one size", "more rows took less", "less than nothing for none"],
)
def test_where_no_line_is_told_the_mean_is_taken(drains: list[tuple[float, float]]) -> None:
    measured = rate(*drains)
    assert measured.seconds_for(30) == pytest.approx(measured.seconds / measured.rows * 30)


def test_a_plan_says_what_is_known_and_what_is_not() -> None:
    known = Plan(
        asset="posts",
        code_version="2",
        first=date(2026, 1, 5),
        last=date(2026, 1, 9),
        partitions=5,
        partitions_with_rows=2,
        stale={None: 3, "1": 1000},
        seconds=90,
        spent=Spent(1500, Decimal("0.25")),
        rate=rate((10, 1.0)),
    )
    assert known.as_text().splitlines() == [
        "asset       posts, version 2",
        "partitions  5 (2026-01-05 to 2026-01-09), 2 with such rows",
        "rows        1,003",
        "            3 missing",
        "            1,000 of version 1",
        "tokens      1,500",
        "money       0.25 USD",
        "minutes     1.5, measured on 10 rows of version 1, last on 2026-01-05",
    ]
    assert "| minutes | 1.5, measured" in known.as_markdown()
    unknown = replace(known, seconds=None, spent=None, rate=None)
    assert unknown.as_text().splitlines()[-3:] == [
        "tokens      unknown",
        "money       unknown",
        "minutes     unknown: no rows of it were made here yet",
    ]
    figures = unknown.as_json()
    assert (figures["tokens"], figures["usd"], figures["minutes"], figures["rows"]) == (None, None, None, 1003)


def test_money_goes_with_the_rows() -> None:
    assert rate((10, 1.0), tokens=100, usd=Decimal("0.5")).spent_for(20) == Spent(200, Decimal(1))
    assert rate((10, 1.0)).spent_for(20) is None
