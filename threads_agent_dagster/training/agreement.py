"""How far a scorer agrees with people who rated texts: its compound, and the shapes of arcs made of such texts.

python -m threads_agent_dagster.training.agreement RATED_FILE SCORER [SEED]

RATED_FILE has lines of id, mean rating (-4 to 4) and text, tab-separated. The source distribution of vaderSentiment
holds four (MIT): `pip download --no-deps --no-binary :all: vaderSentiment`, then unpack
additional_resources/hutto_ICWSM_2014.tar.gz and name e.g. tweets_GroundTruth.txt. Nothing is trained on them.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from threads_agent_dagster.domain.emotions import SHAPES, Floats, Scorer, Scores, load_scorer, shape, trajectories

ARCS: Final = 2000
NEARNESS: Final = 0.5  # a text stands for the rating that its place asks for when its own is as near as this
SHORTEST, LONGEST = 3, 7  # segments of an arc

Wanted = Callable[[np.random.Generator, int], Floats]


@dataclass(frozen=True)
class Rated:
    """Texts and people's mean rating of each, from -4 to 4."""

    texts: list[str]
    ratings: Floats


def read_rated(path: Path) -> Rated:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    rows = [line.split("\t", 2) for line in lines if line.strip()]
    return Rated([text.strip() for _, _, text in rows], np.array([float(rating) for _, rating, _ in rows]))


def _climb(rng: np.random.Generator, length: int) -> Floats:
    return np.linspace(-rng.uniform(0.75, 2.25), rng.uniform(0.75, 2.25), length)


def _level(rng: np.random.Generator, length: int) -> Floats:
    return np.full(length, rng.uniform(-2, 2))


def _swings(rng: np.random.Generator, length: int) -> Floats:
    signs = rng.choice([-1, 1]) * (-1.0) ** np.arange(length)
    swings: Floats = rng.uniform(-0.3, 0.3) + signs * rng.uniform(1, 2)
    return swings


# The course of ratings that each of SHAPES asks for; two swings need four segments.
COURSES: Final[dict[str, tuple[Wanted, int]]] = {
    "rising": (_climb, SHORTEST),
    "falling": (lambda rng, length: _climb(rng, length)[::-1], SHORTEST),
    "stable": (_level, SHORTEST),
    "volatile": (_swings, SHORTEST + 1),
}


def assemble(ratings: Floats, rng: np.random.Generator, count: int) -> list[tuple[str, NDArray[np.intp]]]:
    """Shape and positions of the texts of each arc, the four shapes in turn."""
    order = np.argsort(ratings, kind="stable")
    ascending = ratings[order]
    arcs: list[tuple[str, NDArray[np.intp]]] = []
    for number in range(count):
        name = SHAPES[number % len(SHAPES)]
        wanted, shortest = COURSES[name]
        course = wanted(rng, int(rng.integers(shortest, LONGEST + 1)))
        arcs.append((name, np.array([order[_near(ascending, rating, rng)] for rating in course])))
    return arcs


def _near(ascending: Floats, rating: float, rng: np.random.Generator) -> int:
    low, high = np.searchsorted(ascending, [rating - NEARNESS, rating + NEARNESS])
    return min(int(rng.integers(low, max(high, low + 1))), len(ascending) - 1)


class Remembering:
    """Scores each text once, however many arcs it stands in."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._known: dict[str, tuple[Floats, Floats, bool]] = {}

    @property
    def version(self) -> str:
        return self._scorer.version

    def score(self, texts: Sequence[str]) -> Scores:
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        found = self._scorer.score(new)
        rows = zip(found.emotions, found.sentiment, found.supported.tolist(), strict=True)
        self._known.update(zip(new, rows, strict=True))
        emotions, sentiment, supported = zip(*(self._known[text] for text in texts), strict=True)
        return Scores(np.array(emotions), np.array(sentiment), np.array(supported))


def arc_agreement(rated: Rated, scorer: Scorer, seed: int, count: int = ARCS) -> dict[str, float]:
    """Share of the assembled arcs that get their shape: by shape, over `all`, and `by the ratings themselves`."""
    arcs = assemble(rated.ratings, np.random.default_rng(seed), count)
    texts = ["\n\n".join(rated.texts[row] for row in rows) for _, rows in arcs]
    found = [arc.trajectory_type for arc in trajectories(texts, Remembering(scorer))]
    right = Counter(name for (name, _), one in zip(arcs, found, strict=True) if one == name)
    truth = [SHAPES[int(shape(rated.ratings[rows] / 2.5, np.zeros(len(rows))))] == name for name, rows in arcs]
    shares = {name: right[name] / Counter(name for name, _ in arcs)[name] for name in SHAPES}
    return shares | {"all": right.total() / len(arcs), "by the ratings themselves": float(np.mean(truth))}


def valence_agreement(rated: Rated, scorer: Scorer) -> float:
    """Pearson's r of compound and rating; a text that is not scored counts as neutral."""
    compound = np.nan_to_num(scorer.score(rated.texts).sentiment[:, -1])
    return float(np.corrcoef(compound, rated.ratings)[0, 1])


def main(arguments: Sequence[str]) -> None:
    path, scorer = Path(arguments[0]), Remembering(load_scorer(arguments[1]))
    rated, seed = read_rated(path), int(arguments[2]) if len(arguments) > 2 else 0
    sys.stdout.write(f"{scorer.version}\t{path.stem}\tvalence r\t{valence_agreement(rated, scorer):.4f}\n")
    for name, share in arc_agreement(rated, scorer, seed).items():
        sys.stdout.write(f"{scorer.version}\t{path.stem}\tarcs {name}\t{share:.4f}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
