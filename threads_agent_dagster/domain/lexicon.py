"""A user's own word list as a scorer: a table as those of the R package syuzhet.

Its columns are `word,value` or `word,sentiment,value`. None is shipped; the known ones forbid commercial use.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from threads_agent_dagster.domain.emotions import EMOTIONS, POLARITIES, Scores
from threads_agent_dagster.domain.scorers import measurable, single_words
from threads_agent_dagster.domain.social_text import in_plain_words
from threads_agent_dagster.errors import ConfigurationError

VALENCE: Final = "valence"  # what a table without the column `sentiment` tells
_SIGNS: Final = {"positive": 1.0, "negative": -1.0}
_KINDS: Final = (*EMOTIONS, *_SIGNS, VALENCE)
_STRONGEST: Final = 4.0  # VADER's scale, to which the table's largest value is stretched
_SATURATION: Final = 15.0  # VADER's alpha: compound = x / sqrt(x² + 15)

Entries = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class LexiconScorer:
    """Word → kind → value. A table without emotions measures none: they are NaN, not 0."""

    version: str
    entries: Entries
    scale: float

    def score(self, texts: Sequence[str]) -> Scores:
        supported = measurable(texts)
        emotions = np.full((len(texts), len(EMOTIONS)), np.nan)
        sentiment = np.full((len(texts), len(POLARITIES)), np.nan)
        for row in np.flatnonzero(supported).tolist():
            emotions[row], sentiment[row] = self._measure(in_plain_words(texts[row]))
        if not any(kind in EMOTIONS for found in self.entries.values() for kind in found):
            emotions[:] = np.nan
        return Scores(emotions, sentiment, supported)

    def _measure(self, plain: str) -> tuple[list[float], list[float]]:
        totals: defaultdict[str, float] = defaultdict(float)
        values = [self._value(word, totals) for word in single_words(plain)]
        return [totals[name] / (totals[name] + 1) for name in EMOTIONS], _polarity(values, self.scale)

    def _value(self, word: str, totals: defaultdict[str, float]) -> float:
        """The word's valence, turned where it is negated; what it feels, unless negated, is added to `totals`."""
        found = self.entries.get(word.removeprefix("not_"), {})
        negated = word.startswith("not_")
        if not negated:
            for kind in found.keys() & set(EMOTIONS):
                totals[kind] += found[kind]
        value = found.get(VALENCE, sum(sign * found.get(kind, 0.0) for kind, sign in _SIGNS.items()))
        return -value if negated else value


def _polarity(values: Sequence[float], scale: float) -> list[float]:
    """Positive, negative and neutral as shares of the words, and compound as VADER sums up."""
    words = max(1, len(values))
    positive, negative = sum(value > 0 for value in values) / words, sum(value < 0 for value in values) / words
    total = sum(values) * scale
    return [positive, negative, 1 - positive - negative, total / math.sqrt(total * total + _SATURATION)]


def read_lexicon(content: bytes, name: str) -> LexiconScorer:
    """The table's scorer; its version is `name` and the first twelve digits of the content's SHA-256.

    The table has a header, commas or tabs, and the columns `word` and `value`, or `word` and `sentiment` (`value` is 1
    where it is missing); sentiments are the eight emotions, `positive` and `negative`. Other columns are not read.

    Raises: ConfigurationError naming the line.
    """
    try:
        table = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the lexicon {name} is no UTF-8 text: {error}") from error
    entries: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for word, kind, value in _rows(table, name):
        entries[word][kind] = value
    if not entries:
        raise ConfigurationError(f"the lexicon {name} has no rows")
    valences = [abs(value) for found in entries.values() for kind, value in found.items() if kind not in EMOTIONS]
    strongest = max(valences, default=0.0)
    digest = hashlib.sha256(content).hexdigest()[:12]
    return LexiconScorer(f"{name}@{digest}", dict(entries), _STRONGEST / strongest if strongest else 1.0)


def _rows(table: str, name: str) -> Iterator[tuple[str, str, float]]:
    header = table.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(table), delimiter="\t" if "\t" in header else ",")
    columns = set(reader.fieldnames or ())
    if "word" not in columns or not columns & {"value", "sentiment"}:
        raise ConfigurationError(f"the lexicon {name} needs a header with `word` and `value` or `sentiment`")
    for row in reader:
        try:
            yield _row(row, "sentiment" in columns)
        except ValueError as error:
            raise ConfigurationError(f"the lexicon {name}, line {reader.line_num}: {error}") from None


def _row(row: Mapping[str, str | None], has_sentiment: bool) -> tuple[str, str, float]:
    word = (row["word"] or "").strip().lower()
    kind = (row["sentiment"] or "").strip().lower() if has_sentiment else VALENCE
    given = row.get("value")
    value = 1.0 if given is None else float(given)
    if not word:
        raise ValueError("the word is missing")
    if kind not in _KINDS:
        raise ValueError(f"no sentiment is called {kind!r}; there are {', '.join((*EMOTIONS, *_SIGNS))}")
    if not math.isfinite(value) or (value < 0 and kind != VALENCE):
        raise ValueError(f"{value} is no value of {kind}")
    return word, kind, value
