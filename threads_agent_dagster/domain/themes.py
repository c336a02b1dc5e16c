"""Themes: which achievements are about the same thing, and what that thing is called.

k-means over unit vectors of sentences, started from a fixed seed, so that the same achievements give the same themes.
A theme is named after the words that its own members use and the others do not; nothing is invented.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

THEMES_VERSION: Final = "2"  # raise it when the same achievements give other themes
FEWEST: Final = 8  # achievements; among fewer everybody sees the themes without help
MOST_THEMES: Final = 12
SMALLEST: Final = 3  # members; two alike are near-duplicates, not a theme
LOOSEST: Final = 0.3  # cosine to the theme's centre; what is farther away belongs to none
FITTED: Final = 10_000  # vectors that the centres are found on; the rest is only assigned
ROUNDS: Final = 50
CHUNK: Final = 4096  # rows compared at a time, so that memory does not grow with their number
LABEL_WORDS: Final = 3

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

_WORD: Final = re.compile(r"[^\W\d_][\w'’+#-]{2,}")
_OWNED: Final = re.compile(r"(?:['’]s?|-)$")
_PREFIX: Final = re.compile(r"^[A-Za-z]+(?:\([^)]*\))?!?:\s")  # of a Conventional Commit: tells the kind, not the topic


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_COMMON: Final = _listed("""
    a about after again all also an and any are as at be because been before both but by can could did do does each
    else even every few for from had has have her here his how if in instead into is it it's its itself just last less
    let like made make makes many may more most much must never new next no not now of off old on once one only or
    other our out over own per same say says set she should show since so some still such take than that the their
    them then there these they this those through to too two under until up upon use used uses using very via was we
    well were what when where whether which while who whole whose why will with within without would yet you your
    add adds added allow allows change changed changes fix fixed fixes get gets give gives keep keeps put puts remove
    removed support supports update updated updates improve improved bump merge branch pull request
""")


@dataclass(frozen=True, slots=True)
class Theme:
    """`members` are positions in what was given, the most typical first, with their cosine to the centre."""

    label: str
    words: tuple[str, ...]
    members: tuple[tuple[int, float], ...]


def find_themes(vectors: Floats, titles: Sequence[str]) -> list[Theme]:
    """The themes, largest first; what is like no other achievement belongs to none.

    `vectors` has rows of length 1, one for each title. Fewer than FEWEST achievements have no themes.
    """
    if len(titles) < FEWEST:
        return []
    nearest, closeness = _assign(vectors, _centres(vectors))
    groups = [_members(nearest, closeness, theme) for theme in range(int(nearest.max()) + 1)]
    groups = sorted((group for group in groups if len(group) >= SMALLEST), key=lambda group: (-len(group), group[0][0]))
    used = [set(words_of(title)) for title in titles]
    labels = _labels(used, groups)
    return [Theme(" · ".join(words), words, group) for words, group in zip(labels, groups, strict=True) if words]


def words_of(title: str) -> list[str]:
    """The words that may name a theme, lower-case: neither common ones nor the prefix of a Conventional Commit."""
    found = (_OWNED.sub("", word.lower()) for word in _WORD.findall(_PREFIX.sub("", title)))
    return [word for word in found if word not in _COMMON]


def _centres(vectors: Floats) -> Floats:
    """Unit vectors, shape (themes, dimensions): found on at most FITTED vectors, evenly taken."""
    from scipy.cluster.vq import kmeans2

    fitted = vectors[np.linspace(0, len(vectors) - 1, min(len(vectors), FITTED)).astype(int)]
    distinct = len(np.unique(fitted, axis=0))
    count = min(distinct, MOST_THEMES, max(2, round(math.sqrt(len(fitted) / 2))))
    with warnings.catch_warnings(action="ignore"):  # a centre may lose its members: it stays, and is no theme
        found, _nearest = kmeans2(fitted, count, iter=ROUNDS, minit="++", rng=np.random.default_rng(0))
    centres: Floats = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)
    return centres


def _assign(vectors: Floats, centres: Floats) -> tuple[Indices, Floats]:
    """For each vector the position of its centre, and the cosine to it."""
    nearest = np.empty(len(vectors), dtype=np.intp)
    closeness = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), CHUNK):
        cosines = vectors[start : start + CHUNK] @ centres.T
        nearest[start : start + CHUNK] = cosines.argmax(axis=1)
        closeness[start : start + CHUNK] = cosines.max(axis=1)
    return nearest, closeness


def _members(nearest: Indices, closeness: Floats, theme: int) -> tuple[tuple[int, float], ...]:
    found = np.flatnonzero((nearest == theme) & (closeness >= LOOSEST))
    order = found[np.argsort(-closeness[found], kind="stable")]
    return tuple((int(one), round(min(1.0, float(closeness[one])), 4)) for one in order)


def _labels(used: Sequence[set[str]], groups: Sequence[Sequence[tuple[int, float]]]) -> Iterable[tuple[str, ...]]:
    """For each group the words that tell it best from all: share of its titles × log of how much more often."""
    everywhere = Counter(word for words in used for word in words)
    taken: set[tuple[str, ...]] = set()
    for group in groups:
        here = Counter(word for member, _ in group for word in used[member])
        told = {
            word: count / len(group) * math.log(count / len(group) * len(used) / everywhere[word])
            for word, count in here.items()
            if count > 1
        }
        telling = [word for word in told if told[word] > 0] or list(told)  # where all are alike no word tells more
        ranked = sorted(telling, key=lambda word: (-told[word], word))
        words = tuple(ranked[:LABEL_WORDS])
        while words in taken:
            words = tuple(ranked[: len(words) + 1]) if len(words) < len(ranked) else ()
        if words:
            taken.add(words)
        yield words
