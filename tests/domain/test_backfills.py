"""What recomputing would change: counted row by row, summarised field by field."""

from __future__ import annotations

import pytest

from threads_agent_dagster.domain.backfills import Compared, Comparison


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


@pytest.mark.parametrize("pairs", [[(None, 1.0)], [(1.0, None)], [(2.0, 2.0)], [(1.0, 1.0), (1.0, 3.0)]])
def test_what_cannot_be_said_of_numbers_is_left_open(pairs: list[tuple[float | None, float | None]]) -> None:
    assert "–" in compared(*pairs).as_markdown()
    assert "nan" not in compared(*pairs).as_markdown()


def test_a_field_that_nobody_knows_is_no_number() -> None:
    assert "**field**: 100.0% agree" in compared((None, None)).as_markdown()
