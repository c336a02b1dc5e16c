"""Which of several hooks wins: a linear model of log-odds, trained on real headline experiments (docs/hooks.md).

A hook is described by four blocks: measures that have names (hook_features), what it is about and how it is worded
(two layers of MiniLM), and how it fits the body (the products of both meanings). Only differences between hooks of
one offer mean anything: the model has never seen what makes one story's audience larger than another's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from threads_agent_dagster.domain.embeddings import DIMENSIONS, embed_layers
from threads_agent_dagster.domain.hook_features import FEATURES, QUICK, measure, measure_quickly, patterns
from threads_agent_dagster.errors import InvalidInput

Floats = NDArray[np.float64]

MEANING, WORDING, FIT = "meaning", "wording", "fit with the body"
HALF_LIFE_DAYS: Final = 14.0  # after which the use of a pattern counts half; a definition, not an estimate
BLOCKS: Final = {"features": len(FEATURES), MEANING: DIMENSIONS, WORDING: DIMENSIONS, FIT: DIMENSIONS}
_CLIP = 4.0  # standard deviations; a hook of 60 words is not 20 times as wordy to its readers


@dataclass(frozen=True)
class Offer:
    """Hooks that compete for one body; an empty body is an unknown one.

    `recent`: hooks shown before and their ages in days, which wear patterns out.
    """

    hooks: Sequence[str]
    body: str
    recent: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Description:
    """What the model sees. Shapes: features (n, features), the others (n, 384)."""

    features: Floats
    meaning: NDArray[np.float32]
    wording: NDArray[np.float32]
    body: NDArray[np.float32]
    has_body: NDArray[np.bool_]


@dataclass(frozen=True)
class PredictedLogits:
    """Log-odds of each hook against the mean of its offer, with standard deviations.

    `sd` counts both what the model is unsure of and what no such model can see.
    """

    mean: Floats
    sd: Floats


class Sample(StrEnum):
    """What the model knew of an experiment before it judged it."""

    UNSEEN = "unseen"  # none of its texts was trained on
    OUT_OF_FOLD = "out of fold"  # it was trained on, so weights judge it that were fitted without its fold
    IN_SAMPLE = "in sample"  # trained on in several folds, so no such weights are left: these figures flatter


@dataclass(frozen=True)
class Foreseen:
    """What the model says of the hooks of one experiment without having seen their outcome, if that can be."""

    predicted: PredictedLogits
    sample: Sample


@dataclass(frozen=True)
class Explanation:
    """Why a hook scores as it does: `effects` are log-odds against the mean of the offer and add up to `score`."""

    score: float
    sd: float
    effects: Mapping[str, float]
    patterns: tuple[str, ...]


@dataclass(frozen=True)
class HookModel:
    """Posterior of a Bayesian linear model.

    Shapes: center, scale (features); body (384), the mean body, stands in for an unknown one; weights (d);
    spread (d, d), whose product with its transpose is the weights' covariance; texts, text_folds (texts), the keys of
    what it was trained on, ascending, and their folds; fold_weights (folds, d), each fitted without its own fold.
    """

    version: str
    center: Floats
    scale: Floats
    body: Floats
    weights: Floats
    spread: NDArray[np.float32]
    residual_sd: float
    texts: NDArray[np.uint64]
    text_folds: NDArray[np.uint8]
    fold_weights: Floats

    def design(self, seen: Description) -> Floats:
        """Shape: (n, d), one row a hook."""
        standard = np.clip((seen.features - self.center) / self.scale, -_CLIP, _CLIP)
        body = np.where(seen.has_body[:, None], seen.body, self.body)
        return np.hstack([np.nan_to_num(standard, nan=0.0), seen.meaning, seen.wording, seen.meaning * body])

    def predict(self, rows: Floats, fold: int | None = None) -> PredictedLogits:
        """For the rows of one offer; with `fold`, by the weights that were fitted without it."""
        relative = rows - rows.mean(axis=0)
        weights = self.weights if fold is None else self.fold_weights[fold]
        unsure = np.square(relative @ self.spread).sum(axis=1)
        unseen = self.residual_sd**2 * (1 - 1 / len(rows))
        return PredictedLogits(relative @ weights, np.sqrt(unsure + unseen))

    def folds_of(self, keys: Sequence[int]) -> set[int]:
        """The folds of those texts that it was trained on."""
        wanted = np.array(keys, dtype=np.uint64)
        at = np.minimum(np.searchsorted(self.texts, wanted), len(self.texts) - 1)
        return set(map(int, self.text_folds[at[self.texts[at] == wanted]]))


def text_key(column: str, text: str) -> int:
    """64 bits that stand for a text of the training data: of its `headline` or its `lede`, however written."""
    digest = hashlib.sha256(f"{column}:{text.strip().lower()}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big")


@lru_cache(maxsize=1)
def load_hook_model() -> HookModel:
    """The packaged model."""
    path = files("threads_agent_dagster.models").joinpath("hooks.npz")
    with path.open("rb") as file, np.load(file) as stored:
        if tuple(stored["features"]) != FEATURES:
            raise InvalidInput("the packaged hook model was trained on other features; run training.hooks again")
        return HookModel(
            version=str(stored["version"]),
            center=stored["center"],
            scale=stored["scale"],
            body=stored["body"],
            weights=stored["weights"],
            spread=stored["spread"],
            residual_sd=float(stored["residual_sd"]),
            texts=stored["texts"],
            text_folds=stored["text_folds"],
            fold_weights=stored["fold_weights"],
        )


def describe(hooks: Sequence[str], bodies: Sequence[str]) -> Description:
    """One row a hook, `bodies` beside `hooks`; each different text is embedded once."""
    texts = list(dict.fromkeys([*hooks, *bodies]))
    row_of = {text: row for row, text in enumerate(texts)}
    layers = embed_layers(texts)
    own, of_body = [row_of[hook] for hook in hooks], [row_of[body] for body in bodies]
    return Description(
        features=measure(hooks, bodies),
        meaning=layers.meaning[own],
        wording=layers.wording[own],
        body=layers.meaning[of_body],
        has_body=np.array([bool(body.strip()) for body in bodies], dtype=np.bool_),
    )


def _designs(offers: Sequence[Offer], model: HookModel) -> list[Floats]:
    return _design_each([[(hook, offer.body) for hook in offer.hooks] for offer in offers], model)


def _design_each(offers: Sequence[Sequence[tuple[str, str]]], model: HookModel) -> list[Floats]:
    """For each offer of (hook, body) its rows."""
    hooks = [hook for offer in offers for hook, _ in offer]
    bodies = [body for offer in offers for _, body in offer]
    if not hooks:
        return [np.empty((0, sum(BLOCKS.values()))) for _ in offers]
    ends = np.cumsum([len(offer) for offer in offers])
    return np.split(model.design(describe(hooks, bodies)), ends[:-1])


def foresee(experiments: Sequence[Sequence[tuple[str, str]]]) -> list[Foreseen]:
    """For each experiment, given as its (hook, body) pairs, what is to be held against its outcome."""
    model = load_hook_model()
    designs = _design_each(experiments, model)
    return [_foresee(shown, rows, model) for shown, rows in zip(experiments, designs, strict=True)]


def _foresee(shown: Sequence[tuple[str, str]], rows: Floats, model: HookModel) -> Foreseen:
    texts = [text_key(column, text) for pair in shown for column, text in zip(("headline", "lede"), pair, strict=True)]
    known = model.folds_of(texts)
    if len(known) == 1:
        return Foreseen(model.predict(rows, known.pop()), Sample.OUT_OF_FOLD)
    return Foreseen(model.predict(rows), Sample.IN_SAMPLE if known else Sample.UNSEEN)


def predicted_logits(offers: Sequence[Offer]) -> list[PredictedLogits]:
    """For each offer the log-odds of its hooks; what several offers share is computed once."""
    model = load_hook_model()
    nothing = PredictedLogits(np.empty(0), np.empty(0))
    return [model.predict(rows) if len(rows) else nothing for rows in _designs(offers, model)]


def predicted_logit(hooks: Sequence[str], body: str) -> PredictedLogits:
    """The prior of a bandit over these hooks: log-odds against their mean, with standard deviations."""
    (predicted,) = predicted_logits([Offer(hooks, body)])
    return predicted


def rank(hooks: Sequence[str], body: str) -> list[float]:
    """A score for each hook, higher = expected to win: log-odds of a click against the mean of the offer."""
    return [float(score) for score in predicted_logit(hooks, body).mean]


@lru_cache(maxsize=1)
def _load_quick_model() -> tuple[str, Floats, Floats, Floats]:
    path = files("threads_agent_dagster.models").joinpath("hooks.npz")
    with path.open("rb") as file, np.load(file) as stored:  # reads these members and leaves the others
        n = len(QUICK)
        return f"{stored['version']} quick", stored["center"][:n], stored["scale"][:n], stored["quick_weights"]


def rank_quickly(hooks: Sequence[str], body: str) -> list[float]:
    """As `rank`, by the features that need no embedding: below a millisecond a hook, and right less often."""
    _, center, scale, weights = _load_quick_model()
    standard = np.clip((measure_quickly(hooks, [body] * len(hooks)) - center) / scale, -_CLIP, _CLIP)
    scores = np.nan_to_num(standard, nan=0.0) @ weights
    return [float(score) for score in scores - scores.mean()]


def quick_version() -> str:
    """The name of the model behind `rank_quickly`."""
    return _load_quick_model()[0]


def win_probability(predicted: PredictedLogits) -> Floats:
    """Chance that hook i truly beats hook j. Shape: (n, n), 0.5 on the diagonal; errors taken as independent."""
    from scipy.special import ndtr

    gap = predicted.mean[:, None] - predicted.mean[None, :]
    sd = np.sqrt(np.square(predicted.sd)[:, None] + np.square(predicted.sd)[None, :])
    chance: Floats = ndtr(np.divide(gap, sd, out=np.zeros_like(gap), where=sd > 0))
    return chance


def explain(hooks: Sequence[str], body: str) -> list[Explanation]:
    """One explanation a hook; the effects come largest first."""
    if not hooks:
        return []
    model = load_hook_model()
    (rows,) = _designs([Offer(hooks, body)], model)
    predicted = model.predict(rows)
    parts = (rows - rows.mean(axis=0)) * model.weights
    return [
        Explanation(float(mean), float(sd), _effects(row), patterns(hook))
        for hook, mean, sd, row in zip(hooks, predicted.mean, predicted.sd, parts, strict=True)
    ]


def _effects(parts: Floats) -> dict[str, float]:
    ends = np.cumsum(list(BLOCKS.values()))
    features, *blocks = np.split(parts, ends[:-1])
    effects = dict(zip(FEATURES, map(float, features), strict=True))
    effects |= {name: float(block.sum()) for name, block in zip((MEANING, WORDING, FIT), blocks, strict=True)}
    return dict(sorted(effects.items(), key=lambda item: -abs(item[1])))


def freshness(
    hook: str, recent: Sequence[tuple[str, float]], half_life_days: float = HALF_LIFE_DAYS
) -> dict[str, float]:
    """How much strength each pattern of the hook has left, in (0, 1]: 1 / (1 + recent uses).

    `recent` holds earlier hooks and their ages in days; a use counts half after each half-life.
    """
    uses = dict.fromkeys(patterns(hook), 0.0)
    for earlier, age in recent:
        for pattern in uses.keys() & patterns(earlier):
            uses[pattern] += 0.5 ** (age / half_life_days)
    return {pattern: 1 / (1 + count) for pattern, count in uses.items()}
