"""What can be seen of a hook without a model of language: its length, its marks, its kinds of words, its tone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_WORD: Final = re.compile(r"[A-Za-z0-9']+")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+")
_DASH: Final = re.compile(r" -|--|—|–")
_QUOTE: Final = re.compile(r"[\"“”]|(?:^|\s)['‘]\w")
_YEAR: Final = re.compile(r"\b(?:19|20)\d\d\b")
_TITLE_CASE_FROM: Final = 0.6  # share of capitalised words above which capitals no longer mark names

_FUNCTION_WORDS: Final = (
    "the a an of to in on for and or but with at by from is are was were be it its it's as if so than that this"
)
_STOP: Final = frozenset(_FUNCTION_WORDS.split())
_KINDS: Final[dict[str, frozenset[str]]] = {
    name: frozenset(words.split())
    for name, words in {
        "second person": "you your you're you'll you've you'd yours yourself",
        "first person": "i my me i'm i've i'd mine we our us we're we've",
        "third person": "he she his her him hers they their them he's she's they're",
        "pointing words": "this these that those here here's",
        "negation": "not no never nobody nothing none without don't doesn't didn't isn't aren't wasn't weren't won't"
        " can't couldn't wouldn't shouldn't ain't hasn't haven't stop nor",
        "question words": "what why how who when where which what's who's how's why's",
        "curiosity gap": "something thing things reason reasons secret truth happens happened next until then turns"
        " wait guess find found imagine watch see look this",
        "absolutes": "all every everyone everything always ever never most best worst only first totally completely"
        " entire",
        "strong emotion": "amazing beautiful awesome shocking heartbreaking hilarious incredible powerful perfect"
        " brilliant horrifying terrifying disturbing outrageous insane crazy ridiculous stunning adorable funny sad"
        " angry cry tears laugh love hate kill killed dead die rape sex porn naked racist",
        "hedging": "might may could maybe perhaps probably kinda sorta pretty almost should would",
        "people": "guy man woman girl boy kid kids mom dad mother father son daughter teen teenager lady people women"
        " men couple wife husband family parents child children baby",
    }.items()
}


@dataclass(frozen=True)
class Line:
    """A hook taken apart; `body` is empty when there is none to compare with."""

    text: str
    words: tuple[str, ...]
    lower: tuple[str, ...]
    sentences: tuple[str, ...]
    content: frozenset[str]
    body: frozenset[str]

    @property
    def first(self) -> str:
        return self.lower[0] if self.lower else ""

    @property
    def capitalised(self) -> float:
        return sum(word[0].isupper() for word in self.words) / max(len(self.words), 1)


def _content(lower: Sequence[str]) -> frozenset[str]:
    return frozenset(lower) - _STOP


def read_line(hook: str, body: str) -> Line:
    words = tuple(_WORD.findall(hook))
    lower = tuple(word.lower() for word in words)
    sentences = tuple(part for part in _SENTENCE_END.split(hook.strip()) if part)
    body_words = _content([word.lower() for word in _WORD.findall(body)])
    return Line(hook, words, lower, sentences, _content(lower), body_words)


def _per_word(line: Line, count: float) -> float:
    return count / max(len(line.words), 1)


def _names(line: Line) -> float:
    if line.capitalised >= _TITLE_CASE_FROM:
        return -1.0  # capitals everywhere: names cannot be told
    return sum(word[0].isupper() and word.lower() not in _STOP for word in line.words[1:])


def _words_in(position: int) -> Callable[[Line], float]:
    return lambda line: len(line.sentences[position].split()) if line.sentences else 0


def _count_of(kind: frozenset[str]) -> Callable[[Line], float]:
    return lambda line: sum(word in kind for word in line.lower)


def _overlap(line: Line) -> float:
    return len(line.content & line.body) / max(len(line.content), 1) if line.body else math.nan


def _new_words(line: Line) -> float:
    return len(line.content - line.body) if line.body else math.nan


_MEASURES: Final[dict[str, Callable[[Line], float]]] = {
    "length": lambda line: math.log(max(len(line.words), 1)),
    "characters": lambda line: len(line.text),
    "characters squared": lambda line: len(line.text) ** 2,
    "word length": lambda line: _per_word(line, sum(map(len, line.words))),
    "sentences": lambda line: len(line.sentences),
    "length of the first sentence": _words_in(0),
    "length of the last sentence": _words_in(-1),
    "numeral": lambda line: any(word[0].isdigit() for word in line.words),
    "starts with a numeral": lambda line: line.text[:1].isdigit(),
    "year": lambda line: _YEAR.search(line.text) is not None,
    "per cent": lambda line: "%" in line.text or "percent" in line.lower,
    "money": lambda line: "$" in line.text,
    "question mark": lambda line: "?" in line.text,
    "ends with a question": lambda line: line.text.rstrip().endswith("?"),
    "exclamation mark": lambda line: "!" in line.text,
    "ellipsis": lambda line: "..." in line.text or "…" in line.text,
    "colon": lambda line: ":" in line.text,
    "dash": lambda line: _DASH.search(line.text) is not None,
    "commas": lambda line: line.text.count(","),
    "parenthesis": lambda line: "(" in line.text,
    "quotation": lambda line: _QUOTE.search(line.text) is not None,
    "full stop at the end": lambda line: line.text.rstrip().endswith("."),
    "mark at the end": lambda line: line.text.rstrip().endswith((".", "!", "?")),
    **{kind: _count_of(words) for kind, words in _KINDS.items()},
    "starts with a question word": lambda line: line.first in _KINDS["question words"],
    "starts with a pointing word": lambda line: line.first in _KINDS["pointing words"],
    "starts with a pronoun": lambda line: line.first in _KINDS["third person"],
    "function words": lambda line: _per_word(line, sum(word in _STOP for word in line.lower)),
    "shouting": lambda line: sum(word.isupper() and len(word) > 1 for word in line.words),
    "capitalised words": lambda line: line.capitalised,
    "names": _names,
    "repeated words": lambda line: 1 - _per_word(line, len(set(line.lower))),
    "shared with the body": _overlap,
    "new beside the body": _new_words,
}
QUICK: Final = tuple(_MEASURES)  # the features that need no lexicon of feelings
_TONE: Final = ("positive words", "negative words", "sentiment", "strength of sentiment")
FEATURES: Final = (*_MEASURES, *_TONE)

# Features that a reader would call a trick, and that wear off when every post plays it.
PATTERNS: Final = (
    "numeral", "question mark", "exclamation mark", "ellipsis", "quotation", "second person", "pointing words",
    "negation", "question words", "curiosity gap", "absolutes", "strong emotion",
)  # fmt: skip


@cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def _tone(text: str) -> tuple[float, float, float, float]:
    found = _analyzer().polarity_scores(text)
    return found["pos"], found["neg"], found["compound"], abs(found["compound"])


def measure(hooks: Sequence[str], bodies: Sequence[str]) -> NDArray[np.float64]:
    """Shape: (len(hooks), len(FEATURES)); NaN where a feature needs a body and there is none."""
    tone = np.array([_tone(hook) for hook in hooks], dtype=np.float64).reshape(-1, len(_TONE))
    return np.hstack([measure_quickly(hooks, bodies), tone])


def measure_quickly(hooks: Sequence[str], bodies: Sequence[str]) -> NDArray[np.float64]:
    """Shape: (len(hooks), len(QUICK)), the first columns of `measure`."""
    rows = [[float(of(line)) for of in _MEASURES.values()] for line in map(read_line, hooks, bodies)]
    return np.array(rows, dtype=np.float64).reshape(-1, len(QUICK))


def patterns(hook: str) -> tuple[str, ...]:
    """Which of PATTERNS the hook plays."""
    line = read_line(hook, "")
    return tuple(name for name in PATTERNS if _MEASURES[name](line) > 0)
