"""Emotions of texts and the arcs they form: eight Plutchik emotions, polarity, trajectory.

Every number carries the version of the scorer that made it; what was not measured is None, never 0.
The rules and the figures behind them are in docs/emotions.md.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from threads_agent_dagster.domain.segments import MIN_SEGMENTS, segments
from threads_agent_dagster.errors import InvalidInput

Emotion = Literal["joy", "anger", "fear", "sadness", "surprise", "disgust", "anticipation", "trust"]
TrajectoryType = Literal["rising", "falling", "stable", "volatile", "insufficient"]
TransitionType = Literal["shift", "intensifying", "easing", "steady"]
Floats = NDArray[np.float64]

EMOTIONS: Final[tuple[Emotion, ...]] = get_args(Emotion)
POLARITIES: Final = ("positive", "negative", "neutral", "compound")
EMPTY_TEXT: Final = "empty text"
UNSUPPORTED_LANGUAGE: Final = "unsupported language"
HIGH_AROUSAL: Final = [EMOTIONS.index(name) for name in ("joy", "anger", "fear", "surprise")]

DOMINANT_AT_LEAST = 0.2  # below it no emotion is named
INTENSITY_STEP = 0.1  # a smaller change of the dominant emotion is "steady"
PROMINENCE = 0.1  # of the compound above both neighbours, to be a peak

# The trajectory rule; how each number was found is told in docs/emotions.md.
SHAPES: Final[tuple[TrajectoryType, ...]] = ("rising", "falling", "stable", "volatile")
VALENCE_TREND = 0.5  # change of the fitted line over the whole text, in units of compound
AROUSAL_TREND = 0.9  # the same in units of probability
TREND_FIT = 0.6  # correlation of the values with their position, from which on they follow a line
UNREST = 0.4  # standard deviation of the compound around its line, above which the line is not what one notices
SWING = 0.3  # standard deviation of the compound that makes a text without trend volatile

VALENCE_ERROR = 0.2  # standard error of one segment's compound against people's ratings
AROUSAL_ERROR = 0.1
RESAMPLES = 64


@dataclass(frozen=True, slots=True)
class Scores:
    """One row per text; NaN where the scorer does not measure, and in every column of an unsupported text.

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
    """One post's arc. `emotions` and `sentiment` are the means of its segments, `reason` says why it has no shape.

    Units: variance is that of the segments' compound; peaks and valleys are segment indices; confidence is the share
    of resampled arcs that have the same shape.
    """

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


@cache
def load_scorer(name: str = "accurate") -> Scorer:
    """The packaged scorer of that name, ready to score.

    Raises: InvalidInput for a name that is not packaged.
    """
    from threads_agent_dagster.domain import scorers

    if name not in scorers.PACKAGED:
        raise InvalidInput(f"no scorer named {name!r}; there are {', '.join(scorers.PACKAGED)}", field="scorer")
    return scorers.PACKAGED[name]()


def trajectories(texts: Sequence[str], scorer: Scorer) -> list[Trajectory]:
    """One arc per text, in order; all segments of all texts are scored in one batch."""
    parts = [segments(text) for text in texts]
    scores = scorer.score([part for post in parts for part in post])
    ends = itertools.accumulate(map(len, parts))
    rows = [np.arange(end - len(post), end) for post, end in zip(parts, ends, strict=True)]
    measured = [post[scores.supported[post]] for post in rows]
    shapes = _shapes(scores, measured)
    return [_trajectory(post, scores, rows[i], measured[i], shapes.get(i)) for i, post in enumerate(parts)]


def _shapes(scores: Scores, measured: Sequence[NDArray[np.intp]]) -> dict[int, tuple[TrajectoryType, float]]:
    """Shape and confidence of every post that has enough measured segments, by the post's position."""
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for post, rows in enumerate(measured):
        if len(rows) >= MIN_SEGMENTS:
            by_length[len(rows)].append(post)
    found = {}
    for posts in by_length.values():
        rows = np.stack([measured[post] for post in posts])
        valence, arousal = scores.sentiment[rows, -1], _arousal(scores.emotions[rows])
        codes, confidence = shape_with_confidence(valence, arousal)
        for post, code, share in zip(posts, codes.tolist(), confidence.tolist(), strict=True):
            found[post] = (SHAPES[code], share)
    return found


def _arousal(emotions: Floats) -> Floats:
    """The probability that at least one emotion of high arousal is there; 0 everywhere if none was measured."""
    calm: Floats = np.prod(1 - emotions[..., HIGH_AROUSAL], axis=-1)
    return np.nan_to_num(1 - calm)


def shape(valence: Floats, arousal: Floats) -> NDArray[np.intp]:
    """Which of SHAPES the arcs in the last axis have.

    A trend of valence decides first, unless the values swing around it; then swings of valence, then a trend of
    arousal; what has none is stable.
    """
    change, fit = _trend(valence)
    swing = valence.std(axis=-1)
    unrest = swing * np.sqrt(np.maximum(0, 1 - fit**2))
    arousal_change, arousal_fit = _trend(arousal)
    direction = np.where(change > 0, 0, 1)
    arousal_direction = np.where(arousal_change > 0, 0, 1)
    return np.select(
        [
            (np.abs(change) >= VALENCE_TREND) & (np.abs(fit) >= TREND_FIT) & (unrest <= UNREST),
            swing >= SWING,
            (np.abs(arousal_change) >= AROUSAL_TREND) & (np.abs(arousal_fit) >= TREND_FIT),
        ],
        [direction, SHAPES.index("volatile"), arousal_direction],
        SHAPES.index("stable"),
    )


def shape_with_confidence(valence: Floats, arousal: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Shapes of the arcs (rows) and the share of arcs with the scorer's error added that keep the shape."""
    codes = shape(valence, arousal)
    noise = _noise(valence.shape[-1])
    again = shape(valence[:, None] + VALENCE_ERROR * noise[0], arousal[:, None] + AROUSAL_ERROR * noise[1])
    return codes, (again == codes[:, None]).mean(axis=1)


@cache
def _noise(length: int) -> Floats:
    """The same for all texts and processes: the same text always gets the same confidence."""
    return np.random.default_rng(length).standard_normal((2, RESAMPLES, length))


def _trend(values: Floats) -> tuple[Floats, Floats]:
    """Change of the fitted line from first to last value, and the values' correlation with their position."""
    length = values.shape[-1]
    position = np.arange(length) - (length - 1) / 2
    spread = float(position @ position)
    covariance = values @ position
    deviation = values.std(axis=-1) * np.sqrt(spread * length)
    fit = np.divide(covariance, deviation, out=np.zeros_like(covariance), where=deviation > 1e-9)
    return covariance / spread * (length - 1), fit


def _trajectory(
    parts: Sequence[str],
    scores: Scores,
    rows: NDArray[np.intp],
    measured: NDArray[np.intp],
    shaped: tuple[TrajectoryType, float] | None,
) -> Trajectory:
    found = _segments(parts, scores, rows)
    valence = scores.sentiment[rows, -1]
    emotions = _mean(EMOTIONS, scores.emotions[measured])
    return Trajectory(
        trajectory_type=shaped[0] if shaped else "insufficient",
        reason=None if shaped else _reason(parts, measured),
        segments=found,
        transitions=_transitions(found),
        emotions=emotions,
        sentiment=_mean(POLARITIES, scores.sentiment[measured]),
        dominant=_dominant(emotions),
        variance=_variance(scores.sentiment[measured, -1].tolist()),
        peaks=_peaks(valence),
        valleys=_peaks(-valence),
        confidence=shaped[1] if shaped else None,
    )


def _reason(parts: Sequence[str], measured: NDArray[np.intp]) -> str:
    if not parts:
        return EMPTY_TEXT
    return f"fewer than {MIN_SEGMENTS} segments" if len(measured) == len(parts) else UNSUPPORTED_LANGUAGE


def _segments(parts: Sequence[str], scores: Scores, rows: NDArray[np.intp]) -> tuple[Segment, ...]:
    emotions = [_named(EMOTIONS, row) for row in scores.emotions[rows].tolist()]
    sentiment = [_named(POLARITIES, row) for row in scores.sentiment[rows].tolist()]
    return tuple(Segment(i, text, emotions[i], sentiment[i], _dominant(emotions[i])) for i, text in enumerate(parts))


def named(names: Sequence[str], values: Floats) -> dict[str, float] | None:
    """The values under their names; None for a row that was not measured."""
    return _named(names, values.tolist())


def _named(names: Sequence[str], values: list[float]) -> dict[str, float] | None:
    return None if values[0] != values[0] else dict(zip(names, values, strict=True))


def _mean(names: Sequence[str], rows: Floats) -> dict[str, float] | None:
    return named(names, rows.sum(axis=0) / len(rows)) if len(rows) else None


def _variance(values: list[float]) -> float | None:
    """Of a handful of values, for which calling NumPy costs more than the sums."""
    if not values:
        return None
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values)


def _dominant(emotions: dict[str, float] | None) -> Emotion | None:
    if emotions is None:
        return None
    strongest = max(EMOTIONS, key=emotions.__getitem__)
    return strongest if emotions[strongest] >= DOMINANT_AT_LEAST else None


def _transitions(found: Sequence[Segment]) -> tuple[Transition, ...]:
    scored = [segment for segment in found if segment.emotions is not None]
    return tuple(itertools.starmap(_transition, itertools.pairwise(scored)))


def _transition(a: Segment, b: Segment) -> Transition:
    change = _intensity(b) - _intensity(a)
    return Transition(a.index, b.index, a.dominant, b.dominant, change, _transition_type(a, b, change))


def _intensity(segment: Segment) -> float:
    return max(segment.emotions.values()) if segment.emotions else 0.0


def _transition_type(a: Segment, b: Segment, change: float) -> TransitionType:
    if a.dominant != b.dominant:
        return "shift"
    if abs(change) < INTENSITY_STEP:
        return "steady"
    return "intensifying" if change > 0 else "easing"


def _peaks(values: Floats) -> tuple[int, ...]:
    """Indices of the inner values that stand out above both neighbours."""
    v = values.tolist()  # a handful, as above
    inner = range(1, len(v) - 1)
    return tuple(i for i in inner if v[i] - v[i - 1] >= PROMINENCE and v[i] - v[i + 1] >= PROMINENCE)
