from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from threads_agent_dagster.domain.hook_features import FEATURES, measure, patterns
from threads_agent_dagster.domain.hooks import (
    Offer,
    explain,
    freshness,
    load_hook_model,
    predicted_logit,
    predicted_logits,
    rank,
    win_probability,
)

HOOKS = [
    "Report on wages published",
    "He Gave Away His Last Dollar. Here's What Happened Next.",
    "Why Does Nobody Talk About This?",
]
BODY = "A man with nothing shared what he had, and his town answered."


def feature(name: str, hook: str, body: str = "") -> float:
    return float(measure([hook], [body])[0, FEATURES.index(name)])


@pytest.mark.parametrize(
    ("name", "hook", "expected"),
    [
        ("numeral", "7 things", 1),
        ("numeral", "Seven things", 0),
        ("starts with a numeral", "The 7 things", 0),
        ("year", "Since 1999 nothing changed", 1),
        ("year", "It costs 199900 dollars", 0),
        ("question mark", "Why? Because.", 1),
        ("ends with a question", "Why? Because.", 0),
        ("quotation", "She said “no”", 1),
        ("quotation", "It's hers", 0),
        ("second person", "You won't believe your eyes", 2),
        ("sentences", "One. Two! Three", 3),
        ("length of the last sentence", "One. Two more words", 3),
        ("shouting", "This is NOT a drill, I say", 1),
        ("names", "The day when Rosa met Obama", 2),
        ("names", "The Day Rosa Met Obama", -1),
        ("repeated words", "no no no no", 0.75),
    ],
)
def test_a_feature_counts_what_its_name_says(name: str, hook: str, expected: float) -> None:
    assert feature(name, hook) == pytest.approx(expected)


def test_what_needs_a_body_is_unknown_without_one() -> None:
    assert np.isnan(feature("shared with the body", "A dollar"))
    assert feature("shared with the body", "His last dollar", "a dollar and his hat") == pytest.approx(2 / 3)
    assert feature("new beside the body", "His last dollar", "a dollar and his hat") == 1


@pytest.mark.parametrize("hook", ["", "  ", "\U0001f64f", "?", "日本語"])
def test_any_text_can_be_ranked(hook: str) -> None:
    scores = rank([hook, "A plain line"], "")
    assert np.isfinite(scores).all()
    assert scores[0] != scores[1]


def test_scores_are_against_the_mean_of_the_offer() -> None:
    scores = rank(HOOKS, BODY)
    assert len(scores) == 3
    assert sum(scores) == pytest.approx(0, abs=1e-9)
    assert rank(HOOKS[:1], BODY) == [0.0]
    assert rank([], BODY) == []


def test_order_and_company_do_not_change_differences() -> None:
    all_three, reversed_two = rank(HOOKS, BODY), rank([HOOKS[1], HOOKS[0]], BODY)
    assert reversed_two[0] - reversed_two[1] == pytest.approx(all_three[1] - all_three[0], abs=1e-9)


def test_the_body_matters() -> None:
    assert rank(HOOKS, BODY) != rank(HOOKS, "The central bank raised rates by half a percent.")


def test_a_story_beats_a_report_title() -> None:
    scores = rank(HOOKS, BODY)
    assert scores[1] > scores[0]


def test_many_offers_score_as_each_alone() -> None:
    offers = [Offer(HOOKS, BODY), Offer([], BODY), Offer(HOOKS[:2], "")]
    for offer, predicted in zip(offers, predicted_logits(offers), strict=True):
        np.testing.assert_allclose(predicted.mean, rank(offer.hooks, offer.body), atol=1e-12)


def test_uncertainty_is_at_least_what_no_model_can_see() -> None:
    predicted = predicted_logit(HOOKS, BODY)
    assert (predicted.sd > load_hook_model().residual_sd * np.sqrt(2 / 3)).all()
    assert (predicted.sd < 1).all()


def test_equal_hooks_are_a_coin_toss_and_chances_are_complementary() -> None:
    chance = win_probability(predicted_logit([*HOOKS, HOOKS[0]], BODY))
    assert chance[0, 3] == pytest.approx(0.5, abs=1e-6)
    np.testing.assert_allclose(chance + chance.T, 1.0)


def test_effects_add_up_to_the_score_largest_first() -> None:
    explanations = explain(HOOKS, BODY)
    assert [one.score for one in explanations] == pytest.approx(rank(HOOKS, BODY))
    for one in explanations:
        assert sum(one.effects.values()) == pytest.approx(one.score)
        sizes = [abs(effect) for effect in one.effects.values()]
        assert sizes == sorted(sizes, reverse=True)
        assert set(FEATURES) < set(one.effects)
    assert explain([], BODY) == []


def test_patterns_are_the_tricks_in_use() -> None:
    assert patterns("7 reasons you should never do this!") == (
        "numeral", "exclamation mark", "second person", "pointing words", "negation", "curiosity gap", "absolutes",
    )  # fmt: skip
    assert patterns("Report on wages published") == ()


def test_a_pattern_loses_strength_with_each_repetition_and_recovers_with_time() -> None:
    fresh, once, twice, long_ago = (
        freshness("Is it so?", recent, half_life_days=7)["question mark"]
        for recent in ([], [("Really?", 0)], [("Really?", 0), ("Who?", 0)], [("Really?", 70)])
    )
    assert (fresh, once, twice) == (1, 1 / 2, 1 / 3)
    assert long_ago == pytest.approx(1 / (1 + 2**-10))


def test_other_patterns_do_not_wear_a_pattern() -> None:
    assert freshness("Is it so?", [("7 facts!", 0)], half_life_days=7) == {"question mark": 1}


def test_another_process_gives_the_same_scores() -> None:
    program = (
        "import hashlib, sys, numpy; from threads_agent_dagster.domain.hooks import rank;"
        "print(hashlib.sha256(numpy.array(rank(sys.argv[2:], sys.argv[1])).tobytes()).hexdigest())"
    )
    answer = subprocess.run([sys.executable, "-c", program, BODY, *HOOKS], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == hashlib.sha256(np.array(rank(HOOKS, BODY)).tobytes()).hexdigest()


def test_the_packaged_model_is_small() -> None:
    import threads_agent_dagster.models as models

    assert (Path(str(models.__file__)).parent / "hooks.npz").stat().st_size < 10_000_000
