"""A user's table as a scorer."""

from __future__ import annotations

import numpy as np
import pytest

from threads_agent_dagster.domain.emotions import EMOTIONS, trajectories
from threads_agent_dagster.domain.lexicon import read_lexicon
from threads_agent_dagster.errors import ConfigurationError

NRC_SHAPED = "lang,word,sentiment,value\nenglish,happy,joy,1\nenglish,happy,positive,1\nenglish,afraid,fear,1\n"
VALENCES = "word\tvalue\ngood\t0.5\nawful\t-1\n"


MINE = read_lexicon((NRC_SHAPED + "english,afraid,negative,1\n").encode(), "mine")


def test_words_give_their_emotions_and_negated_ones_do_not() -> None:
    scores = MINE.score(["I am happy", "I am happy, so happy", "I am not happy", "The table"])
    assert scores.emotions[:, EMOTIONS.index("joy")].tolist() == [0.5, pytest.approx(2 / 3), 0, 0]
    compound = scores.sentiment[:, -1]
    assert compound[1] > compound[0] > 0 > compound[2]
    assert compound[3] == 0
    np.testing.assert_allclose(scores.sentiment[:, :3].sum(axis=1), 1)


def test_a_table_of_valences_measures_no_emotions() -> None:
    scores = read_lexicon(VALENCES.encode(), "afinn").score(["good", "awful"])
    assert np.isnan(scores.emotions).all()
    assert scores.sentiment[0, -1] > 0 > scores.sentiment[1, -1]


def test_the_version_is_that_of_the_content() -> None:
    assert MINE.version.startswith("mine@")
    assert read_lexicon(NRC_SHAPED.encode(), "mine").version != MINE.version


def test_a_lexicon_shapes_arcs_and_leaves_other_languages() -> None:
    arc, foreign = trajectories(
        ["I am afraid.\n\nIt goes on.\n\nI am happy!", "Hoy es un día muy feliz para mí."], MINE
    )
    assert arc.trajectory_type == "rising"
    assert (arc.segments[0].dominant, arc.segments[2].dominant) == ("fear", "joy")
    assert foreign.reason == "unsupported language"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "header"),
        ("word\nhappy\n", "header"),
        ("word,value\n", "no rows"),
        ("word,value\ngood,much\n", "line 2"),
        ("word,value\ngood,nan\n", "line 2"),
        ("word,sentiment\ngood,joy\nbad,gloom\n", "line 3: no sentiment is called 'gloom'"),
        ("word,sentiment,value\ngood,joy,-1\n", "line 2"),
        ("word,value\n,1\n", "the word is missing"),
    ],
)
def test_what_is_no_lexicon_is_said_with_its_line(table: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_lexicon(table.encode(), "table")


def test_what_is_no_text_is_no_lexicon() -> None:
    with pytest.raises(ConfigurationError, match="UTF-8"):
        read_lexicon(b"\xff\xfe", "table")
