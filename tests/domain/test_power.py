from __future__ import annotations

import math

import numpy as np
import pytest

from threads_agent_dagster.domain.power import (
    fixed_suffices,
    minimum_detectable_uplift,
    sample_size,
    sample_sizes,
    sequential_suffices,
)
from threads_agent_dagster.domain.sequential import always_valid_p_value
from threads_agent_dagster.domain.significance import equal_rates_p_value
from threads_agent_dagster.errors import InvalidInput


def test_fixed_size_equals_the_textbook() -> None:
    assert sample_size(0.10, 0.2) == 3841  # R: power.prop.test(p1 = 0.10, p2 = 0.12, power = 0.8): n = 3840.85
    assert sample_size(0.50, 0.5, power=0.9) == 77  # R: power.prop.test(p1 = 0.50, p2 = 0.75, power = 0.9): n = 76.7


@pytest.mark.parametrize(("baseline", "uplift"), [(0.015, 0.3), (0.1, 0.15), (0.5, 0.1), (0.3, -0.2)])
def test_planned_sizes_have_the_planned_power(baseline: float, uplift: float) -> None:
    rng = np.random.default_rng(7)
    tests = ((fixed_suffices, equal_rates_p_value), (sequential_suffices, always_valid_p_value))
    for suffices, test in tests:
        n = sample_size(baseline, uplift, suffices=suffices)
        counts = rng.binomial(n, [baseline, baseline * (1 + uplift)], (8000, 2))
        assert (test(counts, np.full(counts.shape, n)) <= 0.05).mean() == pytest.approx(0.8, abs=0.025)


def test_detectable_uplift_inverts_the_size() -> None:
    for suffices in (fixed_suffices, sequential_suffices):
        uplift = minimum_detectable_uplift(0.05, 20_000, suffices=suffices)
        assert uplift is not None
        assert sample_size(0.05, uplift, suffices=suffices) == pytest.approx(20_000, abs=2)


def test_too_few_impressions_detect_nothing() -> None:
    assert minimum_detectable_uplift(0.5, 3) is None


def test_sizes_are_vectorised() -> None:
    sizes = sample_sizes([0.1, 0.0, 0.01], 0.2, 0.05, 0.8)
    assert sizes[0] == 3841
    assert math.isinf(sizes[1])
    assert sizes[2] > sizes[0]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((0.0, 0.1), "baseline"),
        ((0.6, 1.0), "mde"),
        ((0.1, 0.0), "mde"),
        ((0.1, 0.1, 0.0), "alpha"),
        ((0.1, 0.1, 0.05, 1.0), "power"),
    ],
)
def test_impossible_plans_are_refused(arguments: tuple[float, ...], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        sample_size(*arguments)
    assert refused.value.field == field
