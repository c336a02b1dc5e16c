"""A portfolio as PDF. ReportLab is heavy: import this module inside the function that needs it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib.resources import as_file, files
from typing import Any, Final

from reportlab.graphics.shapes import Drawing, Line, Rect, String
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfdoc, pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import HRFlowable, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from threads_agent_dagster.domain.portfolio import (
    ASSURANCE,
    CHECK_COMMAND,
    Item,
    Period,
    Portfolio,
    day_in_words,
    figures,
    headline,
    number,
    outcomes,
    reasons,
    strongest,
    timeline,
)
from threads_agent_dagster.domain.portfolio_manifest import embedded, sealed
from threads_agent_dagster.domain.portfolio_text import shortened

INK: Final = HexColor("#1c2430")
SOFT: Final = HexColor("#5b6675")
RULE: Final = HexColor("#dfe4ea")
ACCENT: Final = HexColor("#2f5d8a")
MARGIN: Final = 24 * mm
WIDTH: Final = A4[0] - 2 * MARGIN
FRAME_PADDING: Final = 6  # points, ReportLab's own
SCORE_WIDTH: Final = 16 * mm
SHOWN_IN_CHART: Final = 8
CHART_HEIGHT: Final = 62.0  # points
TITLE_IN_CHART: Final = 72  # characters


def pdf(portfolio: Portfolio) -> bytes:
    """The document, sealed; its manifest is the attachment manifest.json. The same portfolio gives the same bytes."""
    load_fonts()
    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=MARGIN - FRAME_PADDING,
        rightMargin=MARGIN - FRAME_PADDING,
        topMargin=24 * mm,
        bottomMargin=24 * mm,
        title=portfolio.title,
        author=portfolio.owner,
        subject=headline(portfolio),
        creator="Threads-Agent",
        lang="en",
        invariant=1,
        pageCompression=1,
    )

    def first_page(canvas: Any, _: Any) -> None:
        _date(canvas, portfolio.made_at)
        _attach(canvas, embedded(portfolio))
        _foot(canvas, portfolio)

    document.build(list(_story(portfolio)), first_page, lambda canvas, _: _foot(canvas, portfolio))
    return sealed(buffer.getvalue())


@cache
def load_fonts() -> None:
    """Makes Inter known to ReportLab."""
    for name in ("Inter-Regular", "Inter-SemiBold"):
        with as_file(files("threads_agent_dagster.fonts") / f"{name}.ttf") as path:
            pdfmetrics.registerFont(TTFont(name, str(path)))


def _style(size: float, leading: float, *, bold: bool = False, color: Any = INK, **more: Any) -> Any:
    font = "Inter-SemiBold" if bold else "Inter-Regular"
    return ParagraphStyle(
        font, fontName=font, fontSize=size, leading=leading, textColor=color, splitLongWords=1, **more
    )


KICKER: Final = _style(8, 12, color=SOFT)
NAME: Final = _style(24, 30, bold=True, spaceAfter=4)
HEADLINE: Final = _style(10.5, 16, color=SOFT)
FIGURE: Final = _style(16, 20, bold=True)
LABEL: Final = _style(8, 12, color=SOFT)
SECTION: Final = _style(8.5, 12, bold=True, color=ACCENT, spaceBefore=26)
TITLE: Final = _style(11, 15, bold=True)
SCORE: Final = _style(11, 15, bold=True, color=ACCENT, alignment=TA_RIGHT)
FACTS: Final = _style(8.5, 13, color=SOFT)
BODY: Final = _style(9.5, 14.5, spaceBefore=3)
QUOTE: Final = _style(9.5, 14.5, leftIndent=10, spaceBefore=4)
SMALL: Final = _style(8, 12)
PLAIN: Final = TableStyle([("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 0),
                           ("TOPPADDING", (0, 0), (-1, -1), 0), ("BOTTOMPADDING", (0, 0), (-1, -1), 0),
                           ("VALIGN", (0, 0), (-1, -1), "TOP")])  # fmt: skip


def _text(words: str, style: Any) -> Any:
    """A paragraph that says exactly these words."""
    return Paragraph(escape(words), style)


def _story(portfolio: Portfolio) -> Iterator[Any]:
    yield from _head(portfolio)
    yield from _charts(portfolio)
    for section in portfolio.sections:
        first, *others = ([*_item(item), Spacer(0, 14)] for item in section.items)
        yield KeepTogether([*_heading(section.name), *first])
        yield from (KeepTogether(parts) for parts in others)
    yield from _appendix(portfolio)


def _heading(name: str) -> Iterator[Any]:
    yield _text(name, SECTION)
    yield HRFlowable(width="100%", thickness=0.5, color=RULE, spaceBefore=4, spaceAfter=10)


def _head(portfolio: Portfolio) -> Iterator[Any]:
    if portfolio.owner is not None:
        yield _text("Portfolio", KICKER)
    yield _text(portfolio.owner or "Portfolio", NAME)
    yield _text(headline(portfolio), HEADLINE)
    yield Spacer(0, 14)
    shown = list(_figures(portfolio))
    cells = [[_text(value, FIGURE) for value, _ in shown], [_text(label, LABEL) for _, label in shown]]
    yield Table(cells, colWidths=[WIDTH / 3] * len(shown), style=PLAIN, hAlign="LEFT")
    yield Spacer(0, 20)


def _figures(portfolio: Portfolio) -> Iterator[tuple[str, str]]:
    sums = figures(portfolio)
    yield f"{sums.achievements:,}", "changes shown"
    if sums.avg_impact is not None:
        yield number(sums.avg_impact), "average impact of 100"
    if sums.time_saved_hours is not None:
        yield number(sums.time_saved_hours), "hours saved in a year, as claimed"


def _charts(portfolio: Portfolio) -> Iterator[Any]:
    periods = timeline(portfolio)
    if len(periods) > 1:
        yield KeepTogether([_text("Work over time", LABEL), _columns(periods), Spacer(0, 18)])
    best = strongest(portfolio, SHOWN_IN_CHART)
    if len(best) > 1:
        yield KeepTogether(
            [_text("Impact, of 100", LABEL), Spacer(0, 4), *(part for item in best for part in _bar(item))]
        )


def _columns(periods: Sequence[Period]) -> Any:
    """Columns over an axis; the first, the last and the highest are named."""
    step, highest = WIDTH / len(periods), max(period.achievements for period in periods)
    base, width = 14.0, min(step * 0.72, 24.0)
    drawing = Drawing(WIDTH, CHART_HEIGHT)
    for nth, period in enumerate(periods):
        height = (CHART_HEIGHT - base - 14) * period.achievements / highest
        middle = step * (nth + 0.5)
        drawing.add(Rect(middle - width / 2, base, width, height, fillColor=ACCENT, strokeColor=None))
    peak = next(nth for nth, period in enumerate(periods) if period.achievements == highest)
    drawing.add(_label(step * (peak + 0.5), CHART_HEIGHT - 10, str(highest), "middle"))
    drawing.add(Line(0, base, WIDTH, base, strokeColor=RULE, strokeWidth=0.5))
    drawing.add(_label(0, 2, periods[0].label, "start"))
    drawing.add(_label(WIDTH, 2, periods[-1].label, "end"))
    return drawing


def _label(x: float, y: float, words: str, anchor: str) -> Any:
    return String(x, y, words, fontName="Inter-Regular", fontSize=8, fillColor=SOFT, textAnchor=anchor)


def _bar(item: Item) -> Iterator[Any]:
    score = item.impact_score or 0.0
    row = [[_text(shortened(item.title, TITLE_IN_CHART), SMALL), _text(number(score), _RIGHT)]]
    yield Table(row, colWidths=[WIDTH - SCORE_WIDTH, SCORE_WIDTH], style=PLAIN)
    drawing = Drawing(WIDTH, 10)
    drawing.add(Rect(0, 6, WIDTH, 2.5, fillColor=RULE, strokeColor=None))
    drawing.add(Rect(0, 6, WIDTH * score / 100, 2.5, fillColor=ACCENT, strokeColor=None))
    yield drawing


_RIGHT: Final = _style(8, 12, bold=True, alignment=TA_RIGHT)


def _item(item: Item) -> Iterator[Any]:
    score = "" if item.impact_score is None else number(item.impact_score)
    row = [[_text(item.title, TITLE), _text(score, SCORE)]]
    yield Table(row, colWidths=[WIDTH - SCORE_WIDTH, SCORE_WIDTH], style=PLAIN)
    yield Paragraph(" · ".join(_facts(item)), FACTS)
    if item.summary is not None:
        yield _text(item.summary, BODY)
    for claim in item.claims:
        yield _text(f"“{claim.quote}”", QUOTE)
    if outcomes(item):
        yield _text(" · ".join(outcomes(item)), BODY)
    if item.skills:
        yield _text(" · ".join(item.skills), FACTS)


def _facts(item: Item) -> Iterator[str]:
    """ReportLab markup."""
    if item.completed_at is not None:
        yield day_in_words(item.completed_at)
    yield escape(item.category)
    if item.repository is not None:
        yield escape(item.repository)
    if item.url is not None:
        yield f'<a href="{escape(item.url)}" color="#2f5d8a">evidence</a>'
    if item.merge_sha is not None:
        yield f"merge {escape(item.merge_sha[:12])}"


def _appendix(portfolio: Portfolio) -> Iterator[Any]:
    words = (
        f"Made on {day_in_words(portfolio.made_at)}. {ASSURANCE} The attachment manifest.json holds all rules with "
        f"their inputs. Check it: {CHECK_COMMAND}"
    )
    yield KeepTogether([*_heading("How the impact adds up"), _text(words, LABEL)])
    for item in portfolio.items:
        if item.impact_score is not None:
            explained = f"{number(item.impact_score)} = {' + '.join(reasons(item.impact_rules))}"
            yield KeepTogether([Spacer(0, 6), _text(shortened(item.title, 110), SMALL), _text(explained, LABEL)])


def _foot(canvas: Any, portfolio: Portfolio) -> None:
    canvas.saveState()
    canvas.setFont("Inter-Regular", 8)
    canvas.setFillColor(SOFT)
    canvas.drawString(MARGIN, 13 * mm, shortened(portfolio.title, 80))
    canvas.drawRightString(A4[0] - MARGIN, 13 * mm, str(canvas.getPageNumber()))
    canvas.restoreState()


def _date(canvas: Any, made_at: datetime) -> None:
    """Dates the document; ReportLab itself knows only the clock, or else the year 2000."""
    canvas._doc._timeStamp.YMDhms = tuple(made_at.astimezone(UTC).timetuple()[:6])


def _attach(canvas: Any, manifest: str) -> None:
    """Attaches the manifest uncompressed, so that it can be read and sealed without taking the PDF apart."""
    document = canvas._doc  # ReportLab has no public way to attach a file
    kind = pdfdoc.PDFDictionary({"Type": pdfdoc.PDFName("EmbeddedFile"), "Subtype": "/application#2Fjson"})
    stream = pdfdoc.PDFStream(kind, f"{manifest}\n".encode("ascii"))
    specification = pdfdoc.PDFDictionary(
        {
            "Type": pdfdoc.PDFName("Filespec"),
            "F": pdfdoc.PDFString("manifest.json"),
            "UF": pdfdoc.PDFString("manifest.json"),
            "EF": pdfdoc.PDFDictionary({"F": document.Reference(stream)}),
        }
    )
    names = pdfdoc.PDFArray([pdfdoc.PDFString("manifest.json"), document.Reference(specification)])
    tree = pdfdoc.PDFDictionary({"EmbeddedFiles": pdfdoc.PDFDictionary({"Names": names})})
    document.Catalog.Names = document.Reference(tree)
