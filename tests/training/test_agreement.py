"""Arcs of known shape are what they claim, and agreement is measured as it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from threads_agent_dagster.domain.emotions import EMOTIONS, POLARITIES, SHAPES, Scores
from threads_agent_dagster.training.agreement import (
    LONGEST,
    SHORTEST,
    Rated,
    Remembering,
    arc_agreement,
    assemble,
    read_rated,
    valence_agreement,
)

RATINGS = np.linspace(-4, 4, 801)
RATED = Rated([f"Text {rating:.2f}" for rating in RATINGS], RATINGS)


class Knowing:
    """Reads the rating that the text holds; `sign` turns it."""

    version = "knowing@1"

    def __init__(self, sign: float = 1) -> None:
        self.sign, self.asked = sign, 0

    def score(self, texts: Sequence[str]) -> Scores:
        self.asked += len(texts)
        sentiment = np.zeros((len(texts), len(POLARITIES)))
        sentiment[:, -1] = [self.sign * float(text.split()[1]) / 2.5 for text in texts]
        return Scores(np.zeros((len(texts), len(EMOTIONS))), sentiment, np.ones(len(texts), dtype=bool))


def test_the_same_seed_gives_the_same_arcs() -> None:
    first, again, other = (assemble(RATINGS, np.random.default_rng(seed), 40) for seed in (1, 1, 2))
    assert [rows.tolist() for _, rows in first] == [rows.tolist() for _, rows in again]
    assert [rows.tolist() for _, rows in first] != [rows.tolist() for _, rows in other]
    assert {name for name, _ in first} == set(SHAPES)
    assert all(SHORTEST <= len(rows) <= LONGEST for _, rows in first)


def test_who_knows_the_ratings_is_right_and_who_turns_them_takes_rising_for_falling() -> None:
    found = arc_agreement(RATED, Knowing(), 0, 200)
    assert found["all"] >= 0.97
    assert found["by the ratings themselves"] >= 0.97
    turned = arc_agreement(RATED, Knowing(-1), 0, 200)
    assert (turned["rising"], turned["falling"]) == (0, 0)
    assert turned["stable"] == found["stable"]


def test_agreement_on_valence_is_a_correlation() -> None:
    assert valence_agreement(RATED, Knowing()) == pytest.approx(1)
    assert valence_agreement(RATED, Knowing(-1)) == pytest.approx(-1)


def test_each_text_is_scored_once() -> None:
    scorer = Knowing()
    remembering = Remembering(scorer)
    for _ in range(2):
        assert remembering.score(["Text 1", "Text 2", "Text 1"]).sentiment[:, -1].tolist() == [0.4, 0.8, 0.4]
    assert scorer.asked == 2


def test_ratings_are_read_as_published(tmp_path: Path) -> None:
    path = tmp_path / "rated.txt"
    path.write_text("1\t2.5\tFine\tand dandy \n2\t-1\tBad\n\n", encoding="utf-8")
    rated = read_rated(path)
    assert rated.texts == ["Fine\tand dandy", "Bad"]
    assert rated.ratings.tolist() == [2.5, -1]
