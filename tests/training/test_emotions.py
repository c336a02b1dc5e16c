"""The models can be made again: the same bytes on one machine, and labels that mean what the documents say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from threads_agent_dagster.domain.scorers import OUTPUTS, any_of, load_arrays
from threads_agent_dagster.training.emotions import MEANING, PARTLY, VALENCE, listed_words, meanings

GOEMOTIONS = Path(__file__).parents[3] / "shared" / "data" / "goemotions"
WORDS = ["happy", "furious", "gloomy"]
MAKES_LINEAR = """
import sys
from pathlib import Path
from threadpoolctl import threadpool_info
from threads_agent_dagster.domain.scorers import load_encoder
from threads_agent_dagster.training.emotions import Split, fit_linear, members, one_thread, read_split, save_linear
folder, path, words = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
whole = read_split(folder, "train")
with one_thread():
    assert {pool["num_threads"] for pool in threadpool_info()} == {1}
    first = Split(whole.texts[:300], whole.labels[:300])
    save_linear(fit_linear(first, members(folder), load_encoder(), words), path)
"""


@pytest.fixture
def goemotions() -> Path:
    if not GOEMOTIONS.exists():
        pytest.skip(f"GoEmotions is not at {GOEMOTIONS.parent.name}/{GOEMOTIONS.name}")
    return GOEMOTIONS


def _linear(folder: Path, path: Path, seed: str) -> bytes:
    command = [sys.executable, "-c", MAKES_LINEAR, str(folder), str(path), *WORDS]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
    return path.read_bytes()


@pytest.mark.shared_data
def test_two_processes_make_the_same_bytes(goemotions: Path, tmp_path: Path) -> None:
    first = _linear(goemotions, tmp_path / "first.npz", seed="1")
    assert _linear(goemotions, tmp_path / "again.npz", seed="2") == first


@pytest.mark.shared_data
def test_the_encoder_holds_what_its_labels_mean(goemotions: Path) -> None:
    shipped = load_arrays("emotions-encoder.npz")
    for name, expected in meanings(goemotions).items():
        np.testing.assert_array_equal(shipped[name], expected, name)


def test_the_words_that_are_asked_about_are_whole_and_those_of_feelings_among_them() -> None:
    words = listed_words()
    assert {"loathe", "fuming", "gloomy", "table"} <= set(words)
    assert words == sorted(set(words))
    assert all(re.fullmatch("[a-z]{3,}", word) for word in words)


def test_labels_that_are_named_exist() -> None:
    named = {label for labels in MEANING.values() for label in labels.split()} | {label for label, _ in PARTLY}
    assert named <= set(VALENCE)
    assert set(MEANING) == set(OUTPUTS) >= {output for _, output in PARTLY}


def test_a_member_in_part_is_a_weaker_witness() -> None:
    logits = np.array([[2.0, -3.0]])
    whole, half, none = any_of(logits, np.array([[1, 0.5, 0], [1, 1, 1]]))[0]
    assert none < half < whole
    assert none == pytest.approx(-3)
