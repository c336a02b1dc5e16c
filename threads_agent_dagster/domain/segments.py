"""How a post is cut into the segments whose scores form its arc (rule and reasons in docs/emotions.md)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from threads_agent_dagster.domain.social_text import FACES

Part = TypeVar("Part")

MIN_SEGMENTS = 3  # a shape needs a beginning, a middle and an end
MAX_SEGMENTS = 7  # more sentences than this are grouped
MAX_PARAGRAPHS = 12  # paragraphs are the writer's own segments, so they are grouped later than sentences

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
_BOUNDARY = re.compile(r"([.!?…]+)[\"'”’)\]*_]*\s+|[。！？]+\s*|\n+")
_ABBREVIATION = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|vs|jr|sr|al|etc|inc|ltd|approx|e\.g|i\.e|a\.m|p\.m)|\b[A-Za-z]|\b[A-Z]\.[A-Z])\.$",
    re.IGNORECASE,
)
_NUMBER = (" No.", " no.")  # an abbreviation only before a figure
_LONGEST_ABBREVIATION = 8
_WRAPPED_AT_LEAST = 50  # characters of a line whose end may be no more than the editor's margin


def sentences(text: str) -> list[str]:
    """The sentences of a text in order. People write posts in lines, so a line break ends a sentence too.

    Unless the line is long and the next one goes on with a small letter: then it was wrapped, as commit messages are.
    """
    found, start = [], 0
    for boundary in _BOUNDARY.finditer(text):
        if _goes_on(text, boundary):
            continue
        end = _end_with_faces(text, boundary)
        found.append(_in_one_line(text[start:end]))
        start = end
    found.append(_in_one_line(text[start:]))
    return [sentence for sentence in found if any(map(str.isalnum, sentence)) or not sentence.isascii()]


def _in_one_line(sentence: str) -> str:
    return sentence.strip().replace("\r\n", " ").replace("\n", " ")


def _end_with_faces(text: str, boundary: re.Match[str]) -> int:
    """Emoji and emoticons behind the mark speak of the sentence before them; those of a new line open it."""
    faces = None if "\n" in boundary[0] else FACES.match(text, boundary.end())
    return faces.end() if faces else boundary.end()


def _goes_on(text: str, boundary: re.Match[str]) -> bool:
    """Whether the sentence continues: behind an abbreviation, an ellipsis or a wrapped line."""
    mark = boundary[1]
    if boundary[0] == "\n":
        line = boundary.start() - (text.rfind("\n", 0, boundary.start()) + 1)
        return line >= _WRAPPED_AT_LEAST and text[boundary.end() : boundary.end() + 1].islower()
    if mark == ".":
        end = boundary.end(1)
        before = text[max(0, end - _LONGEST_ABBREVIATION) : end]
        if before.endswith(_NUMBER):
            return text[boundary.end() : boundary.end() + 1].isdigit()
        abbreviation = _ABBREVIATION.search(before)
        return abbreviation is not None and abbreviation[0] not in ("I.", "i.")
    return mark is not None and mark[-1] in ".…" and text[boundary.end() : boundary.end() + 1].islower()


def segments(text: str) -> list[str]:
    """The parts of a text whose scores form its arc; consecutive repetitions count once."""
    paragraphs = _distinct([_distinct(sentences(part)) for part in _BLANK_LINE.split(text.strip())])
    whole = _distinct([" ".join(paragraph) for paragraph in paragraphs if paragraph])
    if len(whole) >= MIN_SEGMENTS:
        return _grouped(whole, MAX_PARAGRAPHS)
    return _grouped(_distinct([sentence for paragraph in paragraphs for sentence in paragraph]), MAX_SEGMENTS)


def _distinct(parts: Sequence[Part]) -> list[Part]:
    return [part for index, part in enumerate(parts) if index == 0 or part != parts[index - 1]]


def _grouped(parts: list[str], most: int) -> list[str]:
    """At most `most` runs of neighbouring parts, cut where the text's length is shared out most evenly."""
    if len(parts) <= most:
        return parts
    ends = _running_lengths(parts)
    groups: list[list[str]] = [[] for _ in range(most)]
    for part, end in zip(parts, ends, strict=True):
        middle = end - len(part) / 2
        groups[min(most - 1, int(middle * most / ends[-1]))].append(part)
    return [" ".join(group) for group in groups if group]


def _running_lengths(parts: Sequence[str]) -> list[int]:
    total, ends = 0, []
    for part in parts:
        total += len(part)
        ends.append(total)
    return ends
