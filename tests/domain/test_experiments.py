from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from threads_agent_dagster.domain.experiments import validate_counts, variant_statistics
from threads_agent_dagster.errors import InvalidInput


def test_statistics_of_measured_variants() -> None:
    found = variant_statistics(np.array([1000, 20]), np.array([120, 0]))
    assert found.mean.tolist() == [0.12, 0.0]
    assert found.variance == pytest.approx([0.12 * 0.88, 0.0])
    assert found.ci_low == pytest.approx([0.101299, 0.0], abs=1e-6)
    assert found.ci_high == pytest.approx([0.141609, 0.161125], abs=1e-6)
    assert found.confidence_level.tolist() == [0.95, 0.95]


def test_a_variant_without_impressions_is_missing_not_zero() -> None:
    found = variant_statistics([0, 10], [0, 1])
    fields = (found.mean, found.variance, found.ci_low, found.ci_high, found.confidence_level)
    assert all(np.isnan(field[0]) and np.isfinite(field[1]) for field in fields)


@pytest.mark.parametrize(
    ("impressions", "successes", "field"),
    [
        ([-5000], [0], "impressions"),  # the predecessor's failure obs-19 accepted this
        ([100], [-1], "successes"),
        ([1000], [1220], "successes"),
        ([10.5], [1], "impressions"),
        ([10], [float("nan")], "successes"),
        (["ten"], [1], "impressions"),
        ([10, 10], [1], "successes"),
    ],
)
def test_impossible_counts_are_refused(impressions: list[Any], successes: list[Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        validate_counts(impressions, successes)
    assert refused.value.field == field


def test_no_variants_have_no_statistics() -> None:
    assert variant_statistics([], []).mean.size == 0
