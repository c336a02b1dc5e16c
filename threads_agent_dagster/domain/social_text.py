"""Posts in plain words: what emoji, emoticons, hashtags and stretched letters say, written so that a model reads it."""

from __future__ import annotations

import html
import json
import math
import re
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

_EMOTICONS: Final = {
    ":)": "smile", ":-)": "smile", "(:": "smile", "=)": "smile", ":]": "smile", ";)": "wink", ";-)": "wink",
    ":D": "big smile", ":-D": "big smile", "=D": "big smile", "xD": "laughing", "XD": "laughing",
    ":(": "sad face", ":-(": "sad face", "=(": "sad face", "):": "sad face", ":[": "sad face", ":'(": "crying",
    ":/": "annoyed face", ":-/": "annoyed face", ":|": "blank face", ":O": "shocked", ":o": "shocked",
    ":P": "playful", ":p": "playful", "<3": "love", "</3": "heartbroken",
}  # fmt: skip
# What people mean by emoji whose names do not say it, or that are younger than VADER's list of names.
_FEELINGS: Final = {
    emoji: feeling
    for feeling, those in {
        "haha": "😂🤣😹", "smile": "🙂☺😊😀😃😄😁", "love": "😍🥰😻❤♥💕💖💗💓💞💘💝💙💚💛🧡💜🖤🤍🤎🫶😘",
        "so excited": "🤩🥳", "yay, celebrating": "🎉🎊🍾🥂", "yay": "🙌", "so touched": "🥹", "hug": "🤗",
        "well done": "👏", "so angry": "😡🤬👿😠", "frustrated": "😤", "annoyed": "🙄😒😑", "ugh": "🤦",
        "scared": "😱😨🫣", "nervous": "😰😬😟", "crying": "😭😢", "sad": "😔☹🙁😿", "so sad, heartbroken": "💔",
        "disappointed": "😞", "exhausted": "😩😫", "shocked": "😲😮😯🤯😳‼", "confused": "😕🤷", "hmm": "🤔",
        "disgusting": "🤢🤮", "fingers crossed, hope": "🤞", "can't wait": "⏳⌛⏰", "thank you, hope": "🙏",
        "agree": "👍💯🤝", "strong": "💪", "dislike": "👎", "crap": "💩",
    }.items()
    for emoji in those
}  # fmt: skip
# Spellings of the net; those that English knows as other words are left as they are.
_SPELLINGS: Final = {
    "u": "you", "ur": "your", "r": "are", "b4": "before", "gr8": "great", "thx": "thanks", "thnx": "thanks",
    "tnx": "thanks", "ty": "thank you", "plz": "please", "pls": "please", "luv": "love", "ppl": "people",
    "cuz": "because", "coz": "because", "2nite": "tonight", "2moro": "tomorrow", "tmrw": "tomorrow", "2day": "today",
    "rly": "really", "rite": "right", "wat": "what", "dat": "that", "dis": "this", "da": "the", "kno": "know",
    "bday": "birthday", "tho": "though", "w/": "with", "im": "I'm", "ive": "I've", "cant": "can't", "dont": "don't",
    "wont": "won't", "didnt": "didn't", "doesnt": "doesn't", "isnt": "isn't", "wasnt": "wasn't", "arent": "aren't",
    "couldnt": "couldn't", "wouldnt": "wouldn't", "shouldnt": "shouldn't", "havent": "haven't", "hasnt": "hasn't",
    "thats": "that's", "whats": "what's", "youre": "you're", "theyre": "they're",
}  # fmt: skip
_LONGEST_FIRST: Final = sorted(_EMOTICONS, key=len, reverse=True)
_ANY_EMOTICON: Final = "|".join(map(re.escape, _LONGEST_FIRST))
_EMOTICON: Final = re.compile(rf"(?<!\S)(?:{_ANY_EMOTICON})(?!\w)")
FACES: Final = re.compile(rf"(?:(?:(?:{_ANY_EMOTICON})(?!\w)|[\u2600-\u27bf\ufe0f\u200d\U0001f000-\U0001faff]+)\s*)+")
_LINK: Final = re.compile(r"https?://\S+|www\.\S+")
_AROUND_WORDS: Final = '.,!?;:()"*'
_LINE_BREAK: Final = "\\n"  # as some exports of posts write it
_PERSON: Final = re.compile(r"@\w+|\[NAME\]")  # GoEmotions masks names so
_HASHTAG: Final = re.compile(r"#(\w+)")
_WORD_JOIN: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|_")
_STRETCHED: Final = re.compile(r"([A-Za-z])\1{2,}")
_MODIFIERS: Final = (0xFE0F, 0x200D, 0x2640, 0x2642, *range(0x1F3FB, 0x1F400))  # of emoji: skin, sex

_SHORT_WORDS: Final = {
    "a", "am", "as", "at", "be", "by", "do", "go", "he", "i", "if", "in", "is", "it", "me", "my", "no", "of", "oh",
    "on", "or", "so", "to", "up", "us", "we",
}  # fmt: skip
_NET_WORDS: Final = ("cant", "dont", "wont", "isnt", "didnt", "omg", "lol", "wtf", "tbt", "selfie", "mondays")
_MOST_PER_LETTER: Final = 3.5  # of surprise; what costs more is a word that is not known, not several that are
_LONGEST_TAG: Final = 40


def in_plain_words(text: str) -> str:
    """The text in words: links dropped, people as "someone", hashtags split, emoji and emoticons named."""
    text = text.replace(_LINE_BREAK, " ")
    text = _PERSON.sub(" someone ", _LINK.sub(" ", html.unescape(text))).replace("[RELIGION]", " religion ")
    text = _HASHTAG.sub(lambda tag: f" {_words_of(tag[1])} ", text)
    text = _EMOTICON.sub(lambda face: f" {_EMOTICONS[face[0]]} ", text)
    if not text.isascii():
        text = _without_emoji(text)
    return " ".join([_spelled_out(word) for word in text.split()])


@lru_cache(maxsize=16_384)  # few words are most of what people write
def _spelled_out(word: str) -> str:
    word = _STRETCHED.sub(r"\1\1", word)
    bare = word.strip(_AROUND_WORDS)
    spelling = _SPELLINGS.get(bare.lower())
    return word if spelling is None else word.replace(bare, spelling)


@lru_cache(maxsize=4096)
def _words_of(tag: str) -> str:
    """A hashtag in words: `BestDayEver` by its capitals, `cantwait` by the words that it is most likely made of."""
    parts = _WORD_JOIN.sub(" ", tag).split()
    return " ".join(_parted(part) for part in parts)


def _parted(run: str) -> str:
    """The likeliest words in a run of letters; the run itself where it is a word, or none that is known."""
    costs, letters = _word_costs(), run.lower()
    if letters in costs or not letters.isascii() or len(letters) > _LONGEST_TAG:
        return run
    best: list[tuple[float, tuple[str, ...]] | None] = [(0.0, ())]
    for end in range(1, len(letters) + 1):
        ways = [
            (before[0] + costs[letters[start:end]], (*before[1], letters[start:end]))
            for start, before in enumerate(best)
            if before is not None and letters[start:end] in costs
        ]
        best.append(min(ways, default=None))
    found = best[-1]
    return " ".join(found[1]) if found and found[0] <= _MOST_PER_LETTER * len(letters) else run


@cache
def _word_costs() -> dict[str, float]:
    """How surprising each word is. MiniLM's list of words stands in the order of their frequency (Zipf's law)."""
    content = files("threads_agent_dagster.models").joinpath("minilm-tokenizer.json").read_text(encoding="utf-8")
    ranked = sorted(json.loads(content)["model"]["vocab"].items(), key=lambda entry: entry[1])
    words = [
        word for word, _ in ranked if word.isascii() and word.isalpha() and (len(word) > 2 or word in _SHORT_WORDS)
    ]
    scale = math.log(len(words))
    ranks = {word: rank for rank, word in enumerate([*words, *_NET_WORDS], start=1)}
    return {word: math.log(rank * scale) for word, rank in ranks.items()}


def _without_emoji(text: str) -> str:
    # Half a surrogate pair can come out of JSON, but no tokenizer takes it.
    return text.translate(_emoji_words()).encode(errors="replace").decode()


@cache
def _emoji_words() -> dict[int, str]:
    """What replaces the emoji of one code point: what each says; their modifiers say nothing."""
    return {ord(emoji): f" {name} " for emoji, name in _emoji_names().items()} | dict.fromkeys(_MODIFIERS, "")


def _emoji_names() -> dict[str, str]:
    """What the emoji of one code point say: their feeling, else their name in the list that VADER ships."""
    lines = files("vaderSentiment").joinpath("emoji_utf8_lexicon.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t")[:2] for line in lines if "\t" in line)
    return {emoji: name for emoji, name in pairs if len(emoji) == 1} | _FEELINGS
