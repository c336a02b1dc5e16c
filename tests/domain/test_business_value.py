from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threads_agent_dagster.domain.business_value import Assumptions, read_business_value, roi
from threads_agent_dagster.domain.claims import HEDGED, HOPED, STATED, Claim, read_claims
from threads_agent_dagster.domain.quantities import LARGEST_AMOUNT

AT_100 = Assumptions(hourly_rate=100)


def told(text: str) -> list[tuple[str, float, str, str]]:
    return [(claim.kind, claim.amount, claim.unit, claim.period) for claim in read_claims(text)]


def per_year(text: str) -> float | None:
    value = read_business_value(text)
    return roi([value] if value else [], cost=None, assumptions=AT_100).per_year


# --- the predecessor's failures ----------------------------------------------------------------------------------


def test_50k_annually_is_fifty_thousand() -> None:
    """The predecessor's failure obs-08."""
    assert told("saving $50k annually") == [("money", 50_000, "USD", "year")]
    assert per_year("saving $50k annually") == 50_000


@pytest.mark.parametrize("text", ["security docs typo", "", "typo fix", "Fix typo in README", "Update dependencies"])
def test_nothing_claimed_is_none(text: str) -> None:
    """The predecessor's failures obs-09 and obs-10."""
    assert read_business_value(text) is None
    assert per_year(text) is None


def test_200_developer_hours_stay_hours_and_are_20000_at_100_an_hour() -> None:
    """The predecessor's failure obs-26."""
    text = "This automation saves 200 developer hours annually"
    value = read_business_value(text)
    assert value is not None
    assert told(text) == [("time", 200, "hours", "year")]
    assert value.hours_per_year() == 200
    assert per_year(text) == 20_000


def test_2_hours_daily_are_250_working_days_of_them() -> None:
    """The predecessor's failure obs-27."""
    assert told("saves 2 hours daily") == [("time", 2, "hours", "day")]
    assert per_year("saves 2 hours daily") == 250 * 2 * 100
    assert (per_year("saves 2 hours daily") or 0) > (per_year("saves 2 hours per week") or 0) > 0


def test_coverage_from_60_to_80_percent_is_20_points_and_no_money() -> None:
    """The predecessor's failure obs-28."""
    text = "test coverage increased from 60% to 80%"
    (claim,) = read_claims(text)
    assert (claim.kind, claim.amount, claim.unit, claim.metric) == ("points", 20, "percentage points", "coverage")
    assert per_year(text) is None
    value = read_business_value(text)
    assert value is not None
    assert (value.hours_per_year(), value.performance_improvement_pct) == (None, None)


# --- the grammar -------------------------------------------------------------------------------------------------

CLAIMED = [
    ("Cuts cloud costs by $1,200 per month", "money", 1200, "USD", "month"),
    ("Annual savings of $12,000", "money", 12_000, "USD", "year"),
    ("We saved $1.5M. Wow!", "money", 1_500_000, "USD", "once"),
    ("saves 1,000,000 USD per annum", "money", 1_000_000, "USD", "year"),
    ("saves €3 thousand a quarter", "money", 3000, "EUR", "quarter"),
    ("saves 500 euros/month", "money", 500, "EUR", "month"),
    ("increase revenue by $20k per quarter", "money", 20_000, "USD", "quarter"),
    ("Reduced AWS costs from $500 to $200 per month", "money", 300, "USD", "month"),
    ("- $50k annually", "money", 50_000, "USD", "year"),
    ("saves $40-60k per year", "money", 40_000, "USD", "year"),
    ("saves $500-2k per month", "money", 500, "USD", "month"),
    ("saves $2–3 million per year", "money", 2_000_000, "USD", "year"),
    ("saves $90k over 3 years", "money", 90_000, "USD", "occasion"),
    ("saves 30 minutes a day", "time", 0.5, "hours", "day"),
    ("Frees up 3 engineer-days per month", "time", 3, "working days", "month"),
    ("200 hours saved annually", "time", 200, "hours", "year"),
    ("Saves 2 to 3 hours per week", "time", 2, "hours", "week"),
    ("Reduces manual work by 3 hours per week", "time", 3, "hours", "week"),
    ("saves 2 hours per deploy", "time", 2, "hours", "occasion"),
    ("saves 2 hours per developer per week", "time", 2, "hours", "occasion"),
    ("saves 2 hours every 2 weeks", "time", 2, "hours", "occasion"),
    ("saves 2 hours twice a week", "time", 2, "hours", "occasion"),
    ("Saves 200\ndeveloper hours annually", "time", 200, "hours", "year"),
    ("Reduced build time from 20 minutes to 5 minutes", "percent", 75, "percent", "once"),
    ("Cut p99 latency from 2s to 500ms", "percent", 75, "percent", "once"),
    ("Image size: 1.2 GB → 300 MB", "percent", 75, "percent", "once"),
    ("throughput from 100 rps to 400 rps", "percent", 300, "percent", "once"),
    ("40% faster queries", "percent", 40, "percent", "once"),
    ("4x faster startup", "percent", 75, "percent", "once"),
    ("reduces memory usage by 25%", "percent", 25, "percent", "once"),
    ("> They asked why.\n\nIt saves $50k annually", "money", 50_000, "USD", "year"),
    ("See `make bench`. It saves $50k annually", "money", 50_000, "USD", "year"),
    ("Benefit: saves 2 hours a day", "time", 2, "hours", "day"),
    ("coverage 60 % → 80 %", "points", 20, "percentage points", "once"),
    ("error rate down from 5% to 1%", "points", -4, "percentage points", "once"),
]


@pytest.mark.parametrize(("text", "kind", "amount", "unit", "period"), CLAIMED)
def test_a_claim_is_read(text: str, kind: str, amount: float, unit: str, period: str) -> None:
    assert told(text) == [(kind, amount, unit, period)]


NOT_CLAIMED = [
    "Does not save $50k",
    "It doesn't save 2 hours daily",
    "Would this save $5k annually?",
    "The AWS bill is $50k annually",
    "costs $5,000 per month",
    "saved cards with $50 limit",
    "Save drafts every 5 minutes",
    "Save the last 2 hours of logs",
    "reduce timeout from 30s to 10s",
    "latency increased by 40%",
    "build time went from 5 minutes to 20 minutes",
    "coverage from 80% to 60%",
    "saves €50.000 per year",  # fifty, or fifty thousand: not ours to guess
    "`saves $50k annually`",
    "```\nsaves $50k annually\n```",
    "<!-- saves $50k annually -->",
    "> saves $50k annually",
    "saves $0 annually",
    "version 2.5 of 3",
    "Saves " + "9" * 400 + " hours annually",
]


@pytest.mark.parametrize("text", NOT_CLAIMED)
def test_what_is_no_claim_is_not_read(text: str) -> None:
    assert read_claims(text) == ()


@pytest.mark.parametrize(
    ("text", "confidence"),
    [
        ("Saves $50k annually", STATED),
        ("In May it saves $50k annually", STATED),
        ("Saves about $50k annually", HEDGED),
        ("Saves up to $50k annually", HEDGED),
        ("This will save $50k annually", HEDGED),
        ("Saves $40k-$50k annually", HEDGED),
        ("Could save $50k annually", HOPED),
        ("It is expected to save about $50k annually", HOPED),
        ("It may save $50k annually", HOPED),
    ],
)
def test_the_wording_gives_the_confidence(text: str, confidence: float) -> None:
    (claim,) = read_claims(text)
    assert claim.confidence == confidence


def test_each_quantity_takes_its_own_period() -> None:
    assert told("saves 2 hours daily and $50k annually") == [
        ("time", 2, "hours", "day"),
        ("money", 50_000, "USD", "year"),
    ]


def test_a_claim_quotes_its_sentence() -> None:
    (claim,) = read_claims("Adds a cache. It saves $50k annually. Nothing else changes.")
    assert claim.quote == "It saves $50k annually."


def test_a_claim_said_twice_is_one() -> None:
    assert len(read_claims("Saves $50k annually\n\nThis change saves $50k annually.")) == 1


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("Reduced build time from 20 to 5 minutes", 75),
        ("improved performance by 30%", 30),
        ("Could be 90% faster. Measured: 40% faster queries", 40),
        ("Could be 90% faster", None),
        ("reduces costs by 25%", None),
        ("coverage from 60% to 80%", None),
        ("saves $50k annually", None),
    ],
)
def test_only_claims_about_speed_and_size_are_performance(text: str, percent: float | None) -> None:
    value = read_business_value(text)
    assert value is not None
    assert value.performance_improvement_pct == percent


WORDS = st.sampled_from(
    ["saves", "cut", "by", "from", "to", "$50k", "2 hours", "daily", "60%", "80 %", "not", "3x faster", "annually",
     "per", "latency", "1,000", "€5", "→", "could", ".", "\n\n", "-", "`", "cost", "20 min", "5 GB", "and", "week",
     "0", "1e9"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=30).map(" ".join) | st.text(max_size=200))
def test_every_claim_is_finite_positive_and_quoted(text: str) -> None:
    collapsed = " ".join(text.split())
    for claim in read_claims(text):
        assert abs(claim.amount) <= LARGEST_AMOUNT
        assert claim.amount > 0 or claim.kind == "points"
        assert claim.confidence in (STATED, HEDGED, HOPED)
        assert claim.quote
        assert all(part in collapsed for part in claim.quote.split())


@pytest.mark.parametrize(
    "text", ["saves " * 4000, "$1 saves " * 2500, "from 1 to " * 2000, "1,000" * 4000, "- \n" * 6000, "`" * 20_000]
)
def test_a_long_text_is_read_in_linear_time(text: str) -> None:
    started = time.process_time()
    read_claims(text)
    assert time.process_time() - started < 2  # quadratic reading took a minute


# --- a return on stated assumptions ------------------------------------------------------------------------------

VALUE = "Saves 10 hours per month. Could save $9k annually. Saves €100 monthly. Saves 1 hour per deploy. 40% faster."


def test_a_return_shows_how_each_claim_was_reckoned() -> None:
    value = read_business_value(VALUE)
    assert value is not None
    result = roi([value], cost=6000, assumptions=AT_100)
    assert [(line.reckoning, line.per_year) for line in result.lines] == [
        ("10 hours × 12 months a year × 100 USD an hour", 12_000),
        ("left out: confidence 0.3 is below the minimum", None),
        ("left out: EUR is not converted to USD", None),
        ("left out: the text does not say how often in a year", None),
        ("a percentage has no price", None),
    ]
    assert (result.per_year, result.roi_pct, result.payback_years) == (12_000, 100, 0.5)


def test_a_return_needs_a_value_and_a_cost() -> None:
    assert roi([], cost=100).roi_pct is None
    assert roi([], cost=100).per_year is None
    value = read_business_value("saves $50k annually")
    assert value is not None
    assert roi([value], cost=None).roi_pct is None
    assert roi([value], cost=0).roi_pct is None
    assert roi([value], cost=None).per_year == 50_000


def test_assumptions_are_the_readers_to_change() -> None:
    value = read_business_value("Saves 2 days per week. Saves $1k annually.")
    assert value is not None
    changed = replace(AT_100, hourly_rate=50, working_weeks_per_year=40, hours_per_working_day=7.5)
    assert value.hours_per_year(changed) == 2 * 7.5 * 40
    assert roi([value], None, changed).per_year == 2 * 7.5 * 40 * 50 + 1000


@given(st.floats(min_value=1, max_value=1e6), st.sampled_from(["day", "week", "month", "quarter", "year"]))
def test_more_often_is_never_worth_less(amount: float, period: str) -> None:
    order = ["year", "quarter", "month", "week", "day"]
    claims = [Claim("time", amount, "hours", one, None, "q", STATED) for one in order]  # type: ignore[arg-type]
    hours = [AT_100.hours_per_year(claim) or 0 for claim in claims]
    assert hours == sorted(hours)
    assert hours[order.index(period)] > 0


def test_hours_that_their_sentence_prices_count_once() -> None:
    value = read_business_value("Saves 200 hours, worth $30k, annually")
    assert value is not None
    result = roi([value], cost=None, assumptions=AT_100)
    assert result.per_year == 30_000
    assert result.lines[0].reckoning == "left out: the same sentence says it in money"


def test_a_hope_is_no_saved_time() -> None:
    value = read_business_value("Could save 200 hours annually")
    assert value is not None
    assert value.hours_per_year() is None


def test_the_document_holds_every_claim() -> None:
    value = read_business_value("saves 2 hours daily")
    assert value is not None
    (claim,) = value.to_document()["claims"]
    assert (claim["amount"], claim["unit"], claim["period"]) == (2, "hours", "day")
    assert claim["quote"] == "saves 2 hours daily"
