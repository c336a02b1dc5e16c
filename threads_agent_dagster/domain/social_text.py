"""Posts in plain words: what emoji, emoticons, hashtags and stretched letters say, written so that a model reads it."""

from __future__ import annotations

import html
import re
from functools import cache
from importlib.resources import files
from typing import Final

_EMOTICONS: Final = {
    ":)": "smile", ":-)": "smile", "(:": "smile", "=)": "smile", ":]": "smile", ";)": "wink", ";-)": "wink",
    ":D": "big smile", ":-D": "big smile", "=D": "big smile", "xD": "laughing", "XD": "laughing",
    ":(": "sad face", ":-(": "sad face", "=(": "sad face", "):": "sad face", ":[": "sad face", ":'(": "crying",
    ":/": "annoyed face", ":-/": "annoyed face", ":|": "blank face", ":O": "shocked", ":o": "shocked",
    ":P": "playful", ":p": "playful", "<3": "love", "</3": "heartbroken",
}  # fmt: skip
_LONGEST_FIRST: Final = sorted(_EMOTICONS, key=len, reverse=True)
_EMOTICON: Final = re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, _LONGEST_FIRST))})(?!\w)")
_LINK: Final = re.compile(r"https?://\S+|www\.\S+")
_PERSON: Final = re.compile(r"@\w+|\[NAME\]")  # GoEmotions masks names so
_HASHTAG: Final = re.compile(r"#(\w+)")
_WORD_JOIN: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|_")
_STRETCHED: Final = re.compile(r"([A-Za-z])\1{2,}")
_VARIATION_SELECTOR: Final = "\ufe0f"


def in_plain_words(text: str) -> str:
    """The text in words: links dropped, people as "someone", hashtags split, emoji and emoticons named."""
    text = _PERSON.sub(" someone ", _LINK.sub(" ", html.unescape(text))).replace("[RELIGION]", " religion ")
    text = _HASHTAG.sub(lambda tag: f" {_WORD_JOIN.sub(' ', tag[1])} ", text)
    text = _EMOTICON.sub(lambda face: f" {_EMOTICONS[face[0]]} ", text)
    if not text.isascii():
        text = _without_emoji(text)
    return " ".join(_STRETCHED.sub(r"\1\1", text).split())


def _without_emoji(text: str) -> str:
    names = _emoji_names()
    named = "".join(f" {names[char]} " if char in names else char for char in text)
    # Half a surrogate pair can come out of JSON, but no tokenizer takes it.
    return named.replace(_VARIATION_SELECTOR, "").encode(errors="replace").decode()


@cache
def _emoji_names() -> dict[str, str]:
    """Names of the emoji of one code point, from the list that VADER ships."""
    lines = files("vaderSentiment").joinpath("emoji_utf8_lexicon.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t")[:2] for line in lines if "\t" in line)
    return {emoji: name for emoji, name in pairs if len(emoji) == 1}
