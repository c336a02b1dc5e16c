from __future__ import annotations

import pytest

from dash_app import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.42, "+0.42"), (-0.1, "−0.10"), (0.001, "0.00"), (-0.001, "0.00"), (10.0, "+10.00"), (None, "—")],
)
def test_a_sign_is_written_where_the_rounded_value_has_one(value: float | None, text: str) -> None:
    assert wording.signed(value) == text
