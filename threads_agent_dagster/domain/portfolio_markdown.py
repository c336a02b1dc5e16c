"""A portfolio as Markdown (CommonMark and GitHub's), and as a post on LinkedIn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from threads_agent_dagster.domain.portfolio import (
    ASSURANCE,
    CHECK_COMMAND,
    Item,
    Portfolio,
    day_in_words,
    headline,
    number,
    outcomes,
    reasons,
    strongest,
)
from threads_agent_dagster.domain.portfolio_manifest import embedded, item_documents, portfolio_sha256, sealed
from threads_agent_dagster.domain.portfolio_text import shortened

LINKEDIN_LIMIT: Final = 3_000  # characters of a post, counted as LinkedIn's editor does: in UTF-16 units
POST_TITLE_LIMIT: Final = 160

_MARKS: Final = re.compile(r"[\\`*_\[\]<>&|~#!$@{}^]")
_ADDRESS: Final = re.compile(r"(?<=[A-Za-z]):(?=//)|(?i:(?<=www))\.")
_STARTS_LIST: Final = re.compile(r"^(\d*)([-+=.)])")


def markdown(portfolio: Portfolio) -> bytes:
    """The document, sealed; its manifest is a comment at the end."""
    lines = [f"# {escaped(portfolio.title)}", "", f"{escaped(headline(portfolio))}."]
    for section in portfolio.sections:
        lines += ["", f"## {escaped(section.name)}"]
        for item in section.items:
            lines += ["", f"### {escaped(item.title)}", *_paragraphs(item)]
    made = f"Made on {day_in_words(portfolio.made_at)}. {ASSURANCE} Check it: `{CHECK_COMMAND}`."
    lines += ["", "---", "", made, "", _comment(portfolio), ""]
    return sealed("\n".join(lines).encode())


def escaped(text: str) -> str:
    """The text as Markdown that says exactly it, in a heading or a paragraph: no markup, no link, no HTML."""
    plain = _MARKS.sub(_backslashed, text)
    if "://" in plain or "www." in plain.lower():
        plain = _ADDRESS.sub(_backslashed, plain)
    return _STARTS_LIST.sub(r"\1\\\2", plain)


def _backslashed(mark: re.Match[str]) -> str:
    return f"\\{mark[0]}"


def _comment(portfolio: Portfolio) -> str:
    return f"<!-- {embedded(portfolio)} -->"


def _paragraphs(item: Item) -> Iterator[str]:
    yield from ("", " · ".join(_facts(item)))
    if item.summary is not None:
        yield from ("", escaped(item.summary))
    for claim in item.claims:
        yield from ("", f"> {escaped(claim.quote)}")
    if item.skills:
        yield from ("", f"Skills: {', '.join(escaped(skill) for skill in item.skills)}")
    if item.impact_score is not None:
        earned = escaped(" · ".join(reasons(item.impact_rules)))
        yield from ("", f"Why {number(item.impact_score)}: {earned}")


def _facts(item: Item) -> Iterator[str]:
    if item.impact_score is not None:
        yield f"**Impact {number(item.impact_score)}** of 100"
    yield escaped(item.category)
    if item.completed_at is not None:
        yield day_in_words(item.completed_at)
    if item.repository is not None:
        yield escaped(item.repository)
    yield from (escaped(outcome) for outcome in outcomes(item))
    yield from _evidence(item)


def _evidence(item: Item) -> Iterator[str]:
    if item.url is not None:
        yield f"[evidence](<{item.url}>)"
    if item.merge_sha is not None:
        yield f"merge `{item.merge_sha[:12]}`"


def linkedin(portfolio: Portfolio) -> bytes:
    """A post with the strongest items that fit into the limit; the digest is the one of their manifest."""
    digest = portfolio_sha256(item["content_sha256"] for item in item_documents(portfolio))
    head = f"{portfolio.title}\n{headline(portfolio)}\n"
    end = f"\nEvidence: sha256 {digest}\n"
    room = LINKEDIN_LIMIT - units(head) - units(end)
    unscored = tuple(item for item in portfolio.items if item.impact_score is None)
    shown = []
    for item in strongest(portfolio, len(portfolio.items)) + unscored:
        point = _point(item)
        room -= units(point)
        if room < 0:
            break
        shown.append(point)
    return (head + "".join(shown) + end).encode()


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _point(item: Item) -> str:
    score = [] if item.impact_score is None else [f"impact {number(item.impact_score)} of 100"]
    facts = " · ".join([*score, *outcomes(item)])
    title = shortened(item.title, POST_TITLE_LIMIT)
    return f"\n• {title}\n" + (f"  {facts}\n" if facts else "")
