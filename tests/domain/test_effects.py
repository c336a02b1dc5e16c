"""Effects of feelings on engagement: found where they are, and not where they are not."""

from __future__ import annotations

import numpy as np

from threads_agent_dagster.domain.effects import FEWEST_COMPARISONS, Effect, Posts, effects

NAMES = [f"feature {number}" for number in range(10)]


def simulated(seed: int, slope: float, comparisons: int = 300) -> Posts:
    """Four posts a comparison; the first of ten features moves the log odds by `slope`, the topic by much more."""
    rng = np.random.default_rng(seed)
    comparison = np.repeat(np.arange(comparisons), 4)
    features = rng.normal(size=(len(comparison), len(NAMES))) + rng.normal(size=comparisons)[comparison, None]
    odds = (
        -4 + rng.normal(size=comparisons)[comparison] + slope * features[:, 0] + 0.1 * rng.normal(size=len(comparison))
    )
    shown = rng.integers(1000, 6000, len(comparison))
    clicked = rng.binomial(shown, 1 / (1 + np.exp(-odds)))
    return Posts(comparison, shown.astype(float), clicked.astype(float), features)


def test_a_planted_effect_is_found_with_its_size_and_nothing_else() -> None:
    first, *others = effects(simulated(1, 0.1), NAMES)
    assert first.verdict == "raises"
    assert first.low is not None
    assert first.high is not None
    assert first.low < np.exp(0.1) < first.high
    assert {one.verdict for one in others} == {"no evidence"}
    assert effects(simulated(1, -0.1), NAMES)[0].verdict == "lowers"


def test_where_there_is_nothing_there_is_no_evidence() -> None:
    """Of 100 families without any effect, about five may find one; ten or more would be a broken promise (p < 0.03)."""
    found = [effects(simulated(seed, 0.0, 60), NAMES) for seed in range(100)]
    assert sum(any(one.verdict != "no evidence" for one in family) for family in found) < 10


def test_the_interval_covers_as_it_says() -> None:
    covered = [_covers(effects(simulated(seed, 0.05, 60), NAMES)[0], np.exp(0.05)) for seed in range(200)]
    assert 0.9 <= np.mean(covered) <= 0.99


def _covers(one: Effect, truth: float) -> bool:
    assert one.low is not None
    assert one.high is not None
    return one.low <= truth <= one.high


def test_differences_between_comparisons_say_nothing() -> None:
    posts = simulated(3, 0.0)
    topic = posts.comparison % 7
    clicked = posts.impressions * (topic + 1) / 100
    features = np.repeat(topic[:, None], len(NAMES), axis=1) + np.random.default_rng(0).normal(
        size=posts.features.shape
    )
    found = effects(Posts(posts.comparison, posts.impressions, clicked, features), NAMES)
    assert {one.verdict for one in found} == {"no evidence"}


def test_little_data_is_said_and_not_estimated() -> None:
    posts = simulated(1, 0.5, FEWEST_COMPARISONS - 1)
    assert effects(posts, NAMES)[0] == Effect(
        NAMES[0], FEWEST_COMPARISONS - 1, 4 * (FEWEST_COMPARISONS - 1), None, None, None, None, None, "too little data"
    )
    empty = np.empty(0)
    nothing = effects(Posts(empty.astype(int), empty, empty, np.empty((0, len(NAMES)))), NAMES)
    assert {one.verdict for one in nothing} == {"too little data"}


def test_what_was_not_measured_does_not_count() -> None:
    posts = simulated(1, 0.1)
    posts.features[:, 1] = np.nan
    posts.features[:, 2] = 3.0
    posts.impressions[:4] = 0
    found = effects(posts, NAMES)
    assert (found[1].posts, found[1].verdict) == (0, "too little data")
    assert found[2].verdict == "too little data", "a feature that never differs"
    assert found[0].comparisons == 299
