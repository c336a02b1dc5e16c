"""A portfolio as one HTML file that asks for nothing else, and as a folder for the web.

No script, no style but the one inside, no request: the page's own policy forbids them, whatever a title says.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, date
from html import escape
from importlib.resources import files
from typing import Final

from threads_agent_dagster.domain.portfolio import (
    ASSURANCE,
    CHECK_COMMAND,
    Figures,
    Item,
    Portfolio,
    Rule,
    Section,
    day_in_words,
    figures,
    headline,
    number,
    outcomes,
    strongest,
    timeline,
)
from threads_agent_dagster.domain.portfolio_manifest import embedded, item_documents, manifest_file, sealed

SHOWN_IN_CHART: Final = 8
CHART_WIDTH: Final = 720  # SVG units
CHART_HEIGHT: Final = 120
ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that ZIP knows: the same portfolio gives the same bytes


def html(portfolio: Portfolio) -> bytes:
    """The page, sealed; its manifest is a block of data at the end."""
    return sealed("\n".join(_page(portfolio, load_style())).encode())


def web(portfolio: Portfolio) -> bytes:
    """A ZIP of index.html, data.json (for programs) and manifest.json (over both)."""
    contents = {"index.html": html(portfolio), "data.json": _data(portfolio)}
    contents["manifest.json"] = manifest_file(portfolio, contents)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in contents.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_EPOCH), body, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _data(portfolio: Portfolio) -> bytes:
    document = {
        "title": portfolio.title,
        "made_at": portfolio.made_at.astimezone(UTC).isoformat(),
        "figures": asdict(figures(portfolio)),
        "items": item_documents(portfolio),
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False, default=date.isoformat).encode()


def load_style() -> str:
    return files("threads_agent_dagster.domain").joinpath("portfolio.css").read_text(encoding="utf-8")


def _page(portfolio: Portfolio, style: str) -> Iterator[str]:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>{escape(portfolio.title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>"
    yield from _head(portfolio)
    yield from _charts(portfolio)
    for section in portfolio.sections:
        yield from _section(section)
    yield "</main>\n<footer>"
    yield f"<p>Made on {day_in_words(portfolio.made_at)}. {ASSURANCE} The file carries its evidence:"
    yield f"<code>{CHECK_COMMAND}</code> checks it.</p>"
    yield "</footer>"
    yield f'<script type="application/json" id="manifest">{embedded(portfolio)}</script>\n</body>\n</html>\n'


def _head(portfolio: Portfolio) -> Iterator[str]:
    yield "<header>"
    kicker = "" if portfolio.owner is None else '<p class="kicker">Portfolio</p>'
    yield f"{kicker}<h1><bdi>{escape(portfolio.owner or 'Portfolio')}</bdi></h1>"
    yield f'<p class="headline">{escape(headline(portfolio))}</p>'
    yield f'<dl class="figures">{"".join(_figures(figures(portfolio)))}</dl>'
    yield "</header>"


def _figures(sums: Figures) -> Iterator[str]:
    yield _figure(f"{sums.achievements:,}", "changes shown")
    if sums.avg_impact is not None:
        yield _figure(number(sums.avg_impact), "average impact of 100")
    if sums.time_saved_hours is not None:
        yield _figure(number(sums.time_saved_hours), "hours saved in a year, as claimed")


def _figure(value: str, label: str) -> str:
    return f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>"


def _charts(portfolio: Portfolio) -> Iterator[str]:
    periods = timeline(portfolio)
    if len(periods) > 1:
        columns = [(period.label, period.achievements) for period in periods]
        yield f"<figure><figcaption>Work over time</figcaption>{''.join(_columns(columns))}</figure>"
    best = strongest(portfolio, SHOWN_IN_CHART)
    if len(best) > 1:
        bars = "".join(_bar(item) for item in best)
        yield f'<figure><figcaption>Impact, of 100</figcaption><ol class="bars">{bars}</ol></figure>'


def _columns(periods: list[tuple[str, int]]) -> Iterator[str]:
    """Columns over an axis; the first, the last and the highest are named."""
    step, highest = CHART_WIDTH / len(periods), max(count for _, count in periods)
    base, width = CHART_HEIGHT - 22, min(step * 0.72, 36)
    said = ", ".join(f"{label}: {count}" for label, count in periods)
    yield f'<svg class="timeline" viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}" role="img" aria-label="{escape(said)}">'
    for nth, (label, count) in enumerate(periods):
        height, middle = (base - 18) * count / highest, step * (nth + 0.5)
        place = f'x="{middle - width / 2:.1f}" y="{base - height:.1f}" width="{width:.1f}" height="{height:.1f}"'
        yield f"<rect {place}><title>{escape(label)}: {count}</title></rect>"
    peak = next(nth for nth, (_, count) in enumerate(periods) if count == highest)
    yield f'<text class="peak" x="{step * (peak + 0.5):.1f}" y="12">{highest}</text>'
    yield f'<line x1="0" x2="{CHART_WIDTH}" y1="{base}" y2="{base}"></line>'
    yield f'<text x="0" y="{CHART_HEIGHT - 4}">{escape(periods[0][0])}</text>'
    yield f'<text class="end" x="{CHART_WIDTH}" y="{CHART_HEIGHT - 4}">{escape(periods[-1][0])}</text></svg>'


def _bar(item: Item) -> str:
    score = item.impact_score or 0.0
    bar = f'<rect width="{score:.2f}" height="4"></rect>'
    name = f'<a href="#a{item.id}"><bdi>{escape(item.title)}</bdi></a>'
    drawn = f'<svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">{bar}</svg>'
    return f"<li><span>{name}</span><b>{number(score)}</b>{drawn}</li>"


def _section(section: Section) -> Iterator[str]:
    yield f"<section>\n<h2><bdi>{escape(section.name)}</bdi></h2>"
    for item in section.items:
        yield f'<article id="a{item.id}">\n<h3><bdi>{escape(item.title)}</bdi></h3>'
        yield f'<p class="facts">{" · ".join(_facts(item))}</p>'
        yield from _words(item)
        yield from _explanation(item)
        yield "</article>"
    yield "</section>"


def _facts(item: Item) -> Iterator[str]:
    if item.completed_at is not None:
        day = item.completed_at.astimezone(UTC).date().isoformat()
        yield f'<time datetime="{day}">{day_in_words(item.completed_at)}</time>'
    yield escape(item.category)
    if item.repository is not None:
        yield f"<bdi>{escape(item.repository)}</bdi>"
    if item.url is not None:
        yield f'<a href="{escape(item.url)}" rel="noopener noreferrer nofollow">evidence</a>'
    if item.merge_sha is not None:
        yield f'<code title="merge commit">{escape(item.merge_sha[:12])}</code>'


def _words(item: Item) -> Iterator[str]:
    if item.summary is not None:
        yield f"<p><bdi>{escape(item.summary)}</bdi></p>"
    for claim in item.claims:
        yield f"<blockquote><bdi>{escape(claim.quote)}</bdi></blockquote>"
    if outcomes(item):
        yield f'<p class="outcomes">{escape(" · ".join(outcomes(item)))}</p>'
    if item.skills:
        listed = "".join(f"<li><bdi>{escape(skill)}</bdi></li>" for skill in item.skills)
        yield f'<ul class="skills">{listed}</ul>'


def _explanation(item: Item) -> Iterator[str]:
    """Why the score is what it is: the table of its rules."""
    if item.impact_score is None:
        yield '<p class="facts">Not scored.</p>'
        return
    rows = "".join(_rule(rule) for rule in item.impact_rules)
    yield f"<details><summary>Impact <b>{number(item.impact_score)}</b> of 100: why?</summary>"
    yield "<table><thead><tr><th>Rule</th><th>Input</th><th>Points</th><th>of</th></tr></thead>"
    yield f"<tbody>{rows}</tbody></table></details>"


def _rule(rule: Rule) -> str:
    given = rule["input"]
    told = "not told" if given is None else given if isinstance(given, str) else number(given)
    cells = (rule["name"], told, f"{rule['points']:.2f}", number(rule["weight"]))
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
