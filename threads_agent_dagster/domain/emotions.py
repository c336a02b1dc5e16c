"""Emotions of texts and the arcs they form: eight Plutchik emotions, polarity, trajectory.

Every number carries the version of the scorer that made it; what was not measured is None, never 0.
The rules and the figures behind them are in docs/emotions.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from threads_agent_dagster.domain.segments import MIN_SEGMENTS, segments
from threads_agent_dagster.errors import InvalidInput

Emotion = Literal["joy", "anger", "fear", "sadness", "surprise", "disgust", "anticipation", "trust"]
TrajectoryType = Literal["rising", "falling", "stable", "volatile", "insufficient"]
TransitionType = Literal["shift", "intensifying", "easing", "steady"]
EMOTIONS: Final[tuple[Emotion, ...]] = get_args(Emotion)
POLARITIES: Final = ("positive", "negative", "neutral", "compound")
Floats = NDArray[np.float64]

HIGH_AROUSAL: Final = ("joy", "anger", "fear", "surprise")
DOMINANT_AT_LEAST = 0.2  # below it no emotion is named
INTENSITY_STEP = 0.1  # a smaller change of the dominant emotion is "steady"
PROMINENCE = 0.1  # of the compound against both neighbours, to be a peak or a valley


@dataclass(frozen=True, slots=True)
class Scores:
    """One row per text; NaN where the scorer does not measure.

    Units: emotions, positive, negative, neutral in 0..1, compound in -1..1.
    """

    emotions: Floats
    sentiment: Floats
    supported: NDArray[np.bool_]


class Scorer(Protocol):
    """What scores texts; `version` is `name@version` and is stored beside every number it made."""

    @property
    def version(self) -> str: ...

    def score(self, texts: Sequence[str]) -> Scores: ...


@dataclass(frozen=True, slots=True)
class Segment:
    index: int
    text: str
    emotions: dict[str, float] | None
    sentiment: dict[str, float] | None
    dominant: Emotion | None


@dataclass(frozen=True, slots=True)
class Transition:
    from_index: int
    to_index: int
    from_emotion: Emotion | None
    to_emotion: Emotion | None
    intensity_change: float
    type: TransitionType


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One post's arc. `emotions` and `sentiment` are the means of its segments, `reason` says why it has no shape."""

    trajectory_type: TrajectoryType
    reason: str | None
    segments: tuple[Segment, ...]
    transitions: tuple[Transition, ...]
    emotions: dict[str, float] | None
    sentiment: dict[str, float] | None
    dominant: Emotion | None
    variance: float | None
    peaks: tuple[int, ...]
    valleys: tuple[int, ...]
    confidence: float | None


class VaderScorer:
    """Polarity by VADER's rules; measures no emotions."""

    version = "vader@3.3.2"

    def __init__(self) -> None:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        self._analyzer: Any = SentimentIntensityAnalyzer()

    def score(self, texts: Sequence[str]) -> Scores:
        sentiment = np.array([self._polarity(text) for text in texts]).reshape(-1, len(POLARITIES))
        return Scores(np.full((len(texts), len(EMOTIONS)), np.nan), sentiment, np.ones(len(texts), dtype=bool))

    def _polarity(self, text: str) -> list[float]:
        found = self._analyzer.polarity_scores(text)
        return [found["pos"], found["neg"], found["neu"], found["compound"]]


@cache
def load_scorer(name: str = "accurate") -> Scorer:
    if name in ("accurate", "fast", "vader"):
        return VaderScorer()
    raise InvalidInput(f"no scorer named {name!r}; there are accurate, fast and vader", field="scorer")


def trajectories(texts: Sequence[str], scorer: Scorer) -> list[Trajectory]:
    """One arc per text, in order; all segments of all texts are scored in one batch."""
    parts = [segments(text) for text in texts]
    scores = scorer.score([part for post in parts for part in post])
    ends = np.cumsum([len(post) for post in parts])
    return [_trajectory(post, scores, int(end) - len(post)) for post, end in zip(parts, ends, strict=True)]


def _trajectory(parts: Sequence[str], scores: Scores, start: int) -> Trajectory:
    rows = slice(start, start + len(parts))
    emotions, sentiment = scores.emotions[rows], scores.sentiment[rows]
    found = tuple(_segment(i, text, emotions[i], sentiment[i]) for i, text in enumerate(parts))
    measured = scores.supported[rows]
    reason = _insufficient(parts, measured)
    valence = sentiment[measured, -1]
    mean_emotions = _named(EMOTIONS, emotions[measured].mean(axis=0)) if measured.any() else None
    return Trajectory(
        trajectory_type="insufficient" if reason else _shape(valence),
        reason=reason,
        segments=found,
        transitions=_transitions(found),
        emotions=mean_emotions,
        sentiment=_named(POLARITIES, sentiment[measured].mean(axis=0)) if measured.any() else None,
        dominant=_dominant(mean_emotions),
        variance=float(valence.var()) if len(valence) else None,
        peaks=_extremes(valence),
        valleys=_extremes(-valence),
        confidence=None,
    )


def _insufficient(parts: Sequence[str], measured: NDArray[np.bool_]) -> str | None:
    if not parts:
        return "empty text"
    if measured.sum() >= MIN_SEGMENTS:
        return None
    return "unsupported language" if not measured.all() else f"fewer than {MIN_SEGMENTS} segments"


def _shape(valence: Floats) -> TrajectoryType:
    change = float(valence[-1] - valence[0])
    if abs(change) >= 0.4:
        return "rising" if change > 0 else "falling"
    return "volatile" if valence.std() > 0.35 else "stable"


def _segment(index: int, text: str, emotions: Floats, sentiment: Floats) -> Segment:
    named = _named(EMOTIONS, emotions)
    return Segment(index, text, named, _named(POLARITIES, sentiment), _dominant(named))


def _named(names: Sequence[str], values: Floats) -> dict[str, float] | None:
    return None if np.isnan(values[0]) else dict(zip(names, values.tolist(), strict=True))


def _dominant(emotions: dict[str, float] | None) -> Emotion | None:
    if emotions is None:
        return None
    strongest = max(EMOTIONS, key=emotions.__getitem__)
    return strongest if emotions[strongest] >= DOMINANT_AT_LEAST else None


def _transitions(found: Sequence[Segment]) -> tuple[Transition, ...]:
    scored = [segment for segment in found if segment.emotions is not None]
    return tuple(_transition(a, b) for a, b in itertools.pairwise(scored))


def _transition(a: Segment, b: Segment) -> Transition:
    change = _intensity(b) - _intensity(a)
    return Transition(a.index, b.index, a.dominant, b.dominant, change, _transition_type(a, b, change))


def _intensity(segment: Segment) -> float:
    return max((segment.emotions or {}).values())


def _transition_type(a: Segment, b: Segment, change: float) -> TransitionType:
    if a.dominant != b.dominant:
        return "shift"
    if abs(change) < INTENSITY_STEP:
        return "steady"
    return "intensifying" if change > 0 else "easing"


def _extremes(values: Floats) -> tuple[int, ...]:
    """Indices of the inner values that stand out above both neighbours."""
    inner, before, after = values[1:-1], values[:-2], values[2:]
    return tuple((np.flatnonzero((inner - before >= PROMINENCE) & (inner - after >= PROMINENCE)) + 1).tolist())
