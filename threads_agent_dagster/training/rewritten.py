"""How well a scorer reads GoEmotions' test split once its texts are rewritten the way people write posts.

python -m threads_agent_dagster.training.rewritten GOEMOTIONS_FOLDER SCORER [TEXTS]

What a text means stays as it was, so a scorer that loses much by a rewriting does not read that way of writing. The
first TEXTS texts are taken, all by default.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from threads_agent_dagster.domain.emotions import EMOTIONS, Floats, Scorer, load_scorer
from threads_agent_dagster.training.emotions import Split, members, read_split, targets

_SHORTER: Final = {
    "you": "u", "your": "ur", "are": "r", "because": "cuz", "with": "w/", "please": "plz", "people": "ppl",
    "thanks": "thx", "love": "luv", "great": "gr8", "what": "wat", "this": "dis", "the": "da", "really": "rly",
    "don't": "dont", "can't": "cant", "i'm": "im", "that's": "thats", "didn't": "didnt", "and": "&amp;",
}  # fmt: skip
_WORD: Final = re.compile(r"[A-Za-z']+")
_LAST_WORDS: Final = re.compile(r"([A-Za-z]+) ([A-Za-z]+) ([A-Za-z]+)[^A-Za-z]*$")
_LAST_VOWEL: Final = re.compile(r"([aeiouy])(?=[^aeiouy\s]*\W*$)")


def _one_hashtag(text: str) -> str:
    return _LAST_WORDS.sub(lambda last: "#" + "".join(last.groups()).lower(), text)


def _capital_hashtag(text: str) -> str:
    return _LAST_WORDS.sub(lambda last: "#" + "".join(word.capitalize() for word in last.groups()), text)


def _short_spelling(text: str) -> str:
    return _WORD.sub(lambda word: _SHORTER.get(word[0].lower(), word[0]), text)


REWRITINGS: Final[Mapping[str, Callable[[str], str]]] = {
    "as they are": str,
    "mentions": lambda text: f"@user_12 @JaneDoe {text.replace('[NAME]', '@nick')}",
    "a retweet with a link": lambda text: f"RT @someone: {text} https://t.co/4xYz",
    "a #lowercasehashtag": _one_hashtag,
    "a #HashtagWithCapitals": _capital_hashtag,
    "short spellings": _short_spelling,
    "a stretched word": lambda text: _LAST_VOWEL.sub(lambda vowel: vowel[0] * 5, text),
    "line breaks as \\n": lambda text: re.sub(r"([.!?]) ", r"\1\\n", text) + "\\n",
    "capitals": str.upper,
    "emoji that say nothing": lambda text: f"{text} 📷🚗",
}


def areas(split: Split, wanted: Floats, scorer: Scorer, rewrite: Callable[[str], str]) -> Floats:
    """AUC of each of the eight emotions; a text that is not scored counts as one without emotion."""
    from sklearn.metrics import roc_auc_score

    chances = np.nan_to_num(scorer.score([rewrite(text) for text in split.texts]).emotions)
    return np.array([roc_auc_score(wanted[:, column], chances[:, column]) for column in range(len(EMOTIONS))])


def main(arguments: Sequence[str]) -> None:
    folder, scorer = Path(arguments[0]), load_scorer(arguments[1])
    whole = read_split(folder, "test")
    count = int(arguments[2]) if len(arguments) > 2 else len(whole.texts)
    split = Split(whole.texts[:count], whole.labels[:count])
    wanted = targets(split, members(folder)).astype(np.float64)
    for name, rewrite in REWRITINGS.items():
        found = areas(split, wanted, scorer, rewrite)
        sys.stdout.write(
            "\t".join([scorer.version, name, *(f"{area:.3f}" for area in found), f"{found.mean():.4f}"]) + "\n"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
