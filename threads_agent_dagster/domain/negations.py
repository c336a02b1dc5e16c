"""What a text says is not so, put in a way that models which add up words understand.

What was expected and did not come is not felt: "I thought I'd love it, but it broke" says that it broke. Rare negations
become the common one, and those that raise a comparative are taken away: "couldn't be happier" is happy. The patterns
are few on purpose: what somebody thought is felt ("I thought it was great, but long"), what somebody thought *would* be
is not, once a "but" takes it back.
"""

from __future__ import annotations

import re
from typing import Final

_EXPECTED: Final = re.compile(
    r"\b(?:"
    r"(?:thought|figured|assumed|believed|knew|sure)\b[^.!?;]*?(?:\b(?:would|might|was going to)\b|['’]d\b)"
    r"|(?:expected|hoped|wished|(?:was|were) (?:hoping|expecting)|looked forward to)\b"
    # What "I wanted to" leads to is done by saying it.
    r"|wanted (?:so (?:badly|much) )?to (?!say\b|thank|tell\b|let\b|share\b|ask\b|add\b|give\b|wish\b|congrat)"
    r"|(?:used|supposed|tried|meant) to\b"
    r"|(?:should|could|would)(?:['’]ve| (?:be|feel|have))\b"
    r")",
    re.IGNORECASE,
)
_UP_TO_BUT: Final = re.compile(
    r"(?:^|(?<=[.!?;\n]))[^.!?;\n]*?(?:[.!?…]+\s+|[\s,])"
    r"(?<!all )(?<!nothing )(?<!anything )(?<!everything )(?:but(?! also\b)|only to)\b[\s,:.…]*",
    re.IGNORECASE,
)


_CANNOT: Final = r"\b(?:(?:couldn|can)['’]?t|(?:could|can) ?not)"
_COMPARATIVE: Final = r"(?:more|better|\w+ier)"
_FEELING: Final = r"(?:joy|fun|hope|fear|trust|love|pride|happiness|pleasure|excitement|confidence|faith|regrets?)"
# What to look for before the pattern is tried, the pattern, and what stands in its place.
_PLAIN: Final = tuple(
    (marks.split(";"), re.compile(pattern, re.IGNORECASE), plain)
    for marks, pattern, plain in (
        # Raised, not denied: "couldn't be happier", "never felt so good", "can't thank you enough", "not only".
        ("ier;more;better", rf"{_CANNOT} (?=(?:be|have been|get|feel|ask for) (?:any )?{_COMPARATIVE}\b)", "really "),
        ("never ", rf"\bnever (?=(?:been|felt) (?:so|this|such|{_COMPARATIVE})\b)", "really "),
        ("enough", rf"{_CANNOT} (?=(?:\w+ ){{1,4}}enough\b)", "really "),
        ("not only;not just", r"\bnot (?=(?:only|just)\b)", ""),
        # Denied in rarer words.
        (
            "hardly;scarcely;rarely;seldom;barely",
            r"\b(?:hardly|scarcely|rarely|seldom|barely)(?: ever)? (?!contain|any\b)(?=[a-z])",
            "not ",
        ),
        ("no longer", r"\bno longer\b", "not"),
        ("far from", r"(?<=m |s |e )far from (?=\w)", "not "),
        (
            "nobody;no one;none of",
            r"\b(nobody|no one|none of (?:us|you|them)) (is|was|are|were|feels|felt)\b",
            r"\1 \2 not",
        ),
        ("neither", r"\bneither (?=\w+ nor\b)", "not "),
        ("no ;lack of", rf"\b(?:no|(?:a )?lack of) (?={_FEELING}\b)", "not "),
    )
)


def with_plain_negations(text: str) -> str:
    """The text with "not" for what denies in rarer words, and without what only seems to deny."""
    lower = text.lower()
    for marks, pattern, plain in _PLAIN:
        for mark in marks:
            if mark in lower:
                text = pattern.sub(plain, text)
                break
    return text


def without_unmet(text: str) -> str:
    """The text without what it says was expected, where a "but" follows."""
    if "but" not in text and "But" not in text and "only to" not in text:
        return text
    return _UP_TO_BUT.sub(_rest, text)


def _rest(clause: re.Match[str]) -> str:
    return " " if _EXPECTED.search(clause[0]) else clause[0]
