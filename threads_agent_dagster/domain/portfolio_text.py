"""What of people's own words may leave the machine: no code, diffs and e-mail addresses, nothing unseen.

What comes out has no control, bidirectional or invisible formatting characters; each format escapes the rest itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, urlsplit

SUMMARY_LIMIT: Final = 480  # characters

_BLANK: Final = re.compile(r"[\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_UNSEEN: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff"
    "\uffa0\ufff0-\uffff\U000e0000-\U000e0fff]"
)
_HTML_COMMENT: Final = re.compile(r"<!--.*?(-->|\Z)", re.DOTALL)
_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_INDENTED: Final = re.compile(r"^( {4,}|\t)")
_DIFF: Final = re.compile(r"^(diff --git |index [0-9a-f]{7,}\.\.|@@ |--- \S|\+\+\+ \S)")
_TRAILER: Final = re.compile(r"^[A-Za-z]+(-[A-Za-z]+)*-by:|^(change-id|fixes|closes|refs|see-also|cc):", re.IGNORECASE)
_HEADING: Final = re.compile(r"^ {0,3}(#{1,6}(\s|$)|(=+|-{3,}|\*{3,}|_{3,})\s*$)")
_BULLET: Final = re.compile(r"^\s*([-*+]|\d+[.)])\s+(\[[ xX]\]\s+)?")
_TABLE: Final = re.compile(r"^\s*\|")
_CODE_SPAN: Final = re.compile(r"(`+)(.+?)\1")
_NAME: Final = re.compile(r"[\w./:#-]{1,60}")
_IMAGE: Final = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*>")
_ADDRESS: Final = re.compile(r"<?[\w.+-]+@[\w-]+(\.[\w-]+)+>?")
_INLINE_MARKS: Final = ("`", "[", "<", "@", "**", "__")
_PLAIN_LINK: Final = re.compile(r"https?://[a-z0-9][a-z0-9.-]*(/[\w.~/-]*)?", re.ASCII)
_EMPHASIS: Final = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")


def line(text: str | None) -> str | None:
    """The text on one line without characters that cannot be seen; None when nothing is left."""
    if text is None:
        return None
    if text.isascii() and text.isprintable() and "  " not in text:  # as most are; the long way gives the same
        return text.strip() or None
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    seen = _BLANK.sub(" ", _UNSEEN.sub("", whole.replace("\ufffd", "?"))).strip()
    return seen or None


def summary(description: str | None) -> str | None:
    """The first paragraph of prose, shortened at a word; None when there is no prose."""
    text = (description or "").replace("\r\n", "\n").replace("\r", "\n")
    for paragraph in _paragraphs(_HTML_COMMENT.sub("", text)):
        said = line(_unmarked(paragraph))
        if said and any(character.isalpha() for character in said):
            return shortened(said, SUMMARY_LIMIT)
    return None


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters, cut after a word."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    return (cut.rpartition(" ")[0] or cut).rstrip(" ,;:.·") + "…"


def link(url: str | None) -> str | None:
    """The address in plain ASCII, if it is one of the web and tells no credentials."""
    if url and _PLAIN_LINK.fullmatch(url):  # as most are; the long way gives the same
        return url
    try:
        parts = urlsplit(url or "")
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            return None
        return quote(parts.geturl(), safe="%/:?#[]!$&'()*+,;=~@")
    except (ValueError, UnicodeEncodeError):  # a port or a bracket that is none; half a surrogate pair
        return None


def _paragraphs(text: str) -> Iterator[str]:
    """Runs of lines of prose; points of a list are joined by a dot."""
    lines: list[str] = []
    for one in _prose_lines(text):
        if one:
            lines.append(one)
        elif lines:
            yield _joined(lines)
            lines = []
    if lines:
        yield _joined(lines)


def _joined(lines: list[str]) -> str:
    parts = [f" · {_BULLET.sub('', one)}" if _BULLET.match(one) else f" {one.strip()}" for one in lines]
    return "".join(parts).removeprefix(" · ").strip()


def _prose_lines(text: str) -> Iterator[str]:
    """The lines that are no code, diff, heading, table or trailer; an empty one ends a paragraph."""
    fence, in_diff, in_paragraph = "", False, False
    for one in text.split("\n"):
        mark = _FENCE.match(one)
        if fence or mark:
            fence = _fence_after(fence, mark[1] if mark else "")
            in_paragraph = False
            yield ""
            continue
        in_diff = bool(one.strip()) and (in_diff or _DIFF.match(one) is not None)
        dropped = in_diff or (_INDENTED.match(one) is not None and not in_paragraph) or _is_noise(one)
        in_paragraph = not dropped and bool(one.strip())
        yield one if in_paragraph else ""


def _fence_after(fence: str, mark: str) -> str:
    """The fence that is open after a line that may be one: a longer or equal mark of the same kind closes it."""
    if not fence:
        return mark
    return "" if mark.startswith(fence) else fence


def _is_noise(one: str) -> bool:
    return any(pattern.match(one) for pattern in (_TRAILER, _HEADING, _TABLE))


def _unmarked(text: str) -> str:
    """Markdown's words without its marks; a code span stays only if it is a name."""
    if not any(mark in text for mark in _INLINE_MARKS):  # as in most; the long way gives the same
        return text
    text = _CODE_SPAN.sub(lambda span: span[2] if _NAME.fullmatch(span[2]) else "…", text)
    text = _TAG.sub("", _LINK.sub(r"\1", _IMAGE.sub("", text)))
    return _EMPHASIS.sub(r"\2", _ADDRESS.sub("…", text))
