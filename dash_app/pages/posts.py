"""What was written: the posts, and for each the course of its emotions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

from dash import dcc, html
from dash.development.base_component import Component

from dash_app import data, wording
from dash_app.charts import emotions
from dash_app.charts.frame import graph
from dash_app.components import (
    Column,
    Content,
    Part,
    Provenance,
    back,
    card,
    choice,
    definitions,
    empty,
    figure,
    missing_item,
    no_match,
    pager,
    search_box,
    table,
)
from dash_app.pages.page import Page, Shown, View, heading, item_number
from dash_app.rows import Arc, FeelingEffect, ListedPost, Origin, Segment
from threads_agent_dagster.domain.emotions import UNSUPPORTED_LANGUAGE, TrajectoryType

PATH = "/content"
FILTERS = ("q", "persona", "arc")
ENGAGEMENT = "Engagements per impression, from the newest measurement of this post."
MOOD = "Mean mood of the post's parts, from -1 (negative) to 1 (positive)."
CONFIDENCE = "How sure the arc's shape is."
PARTS = "Each part scored by itself; +1 is the best mood, −1 the worst."
STRENGTHS = "How strongly each emotion shows in each part."
SHAPES: Final = {
    "rising": ("Rising", "The mood gets better from beginning to end."),
    "falling": ("Falling", "The mood gets worse from beginning to end."),
    "stable": ("Stable", "The mood stays about the same."),
    "volatile": ("Volatile", "The mood goes up and down."),
    "insufficient": ("Too short", "There is too little text for a course."),
}
OTHER_LANGUAGE: Final = ("Other language", "Only English is analysed; no feeling is guessed.")
EARNS = (
    "What one standard deviation more of it, against posts that stood in for each other, does to the odds of an "
    "engagement. The interval holds the true ratio with 95 %; among what is called an effect at most 5 % are false."
)
DESIGNS: Final = {"randomised": "within experiments", "observed": "within months, not by chance"}
VERDICTS: Final = {"raises": "Raises engagement", "lowers": "Lowers engagement", "no evidence": "No evidence"}
COLUMNS = (
    Column("Post", style="lead"),
    Column("Arc"),
    Column("Mood", "mood", "number"),
    Column("Engagement", "engagement", "number"),
    Column("Date", "ts", "number"),
)


def controls(view: View) -> Component:
    return html.Div(
        [
            search_box(view.query, "Search the text"),
            choice("persona", "Persona", data.list_personas(view.engine), view.query),
            choice("arc", "Arc", [(shape, SHAPES[shape][0]) for shape in get_args(TrajectoryType)], view.query),
        ],
        className="filters",
    )


def show(view: View) -> Shown:
    listing = data.list_posts(view.engine, view.query.values, view.query.page)
    title = "Content Pipeline"
    if not listing.total:
        nothing = no_match(PATH) if any(view.query[name] for name in FILTERS) else _empty()
        return Shown(title, heading(title), [nothing])
    rows = [_row(item, view.provenance) for item in listing.items]
    listed = html.Section(table(COLUMNS, rows, view.query, "-ts"), className="card list")
    earned = _earned(data.feeling_effects(view.engine, view.query["persona"]), view.provenance)
    return Shown(title, heading(title), [listed, pager(listing, view.query, "post"), earned])


def _earned(found: Sequence[FeelingEffect], provenance: Provenance) -> Component:
    title = "Which feelings earn engagement"
    if not found:
        needs: list[Part] = ["Nothing is claimed before 20 experiments or months with measured posts are compared; "]
        needs += ["the asset ", html.Code("emotion_effects"), " looks every night."]
        return html.Div(card(title, html.P(needs)), className="below")
    columns = [
        Column("Feature", style="lead"),
        Column("Odds of an engagement", style="number"),
        Column("95 % interval", style="number"),
        Column("q", style="number"),
        Column("Verdict"),
    ]
    rows = [_earned_row(one) for one in found]
    source = provenance.button(title, EARNS, found[0].origin)
    return html.Div(card([title, source], table(columns, rows)), className="below")


def _earned_row(one: FeelingEffect) -> list[Content]:
    under = f"{one.persona}, {wording.count(one.comparisons)} compared {DESIGNS[one.design]}"
    return [
        [wording.sentence_case(one.feature), html.Span(under, className="under")],
        f"× {wording.decimal(one.odds_ratio, 3)}",
        f"{wording.decimal(one.low, 3)} – {wording.decimal(one.high, 3)}",
        wording.decimal(one.q_value, 3),
        VERDICTS[one.verdict],
    ]


def _empty() -> Component:
    return empty(
        "No posts yet",
        ["The asset ", html.Code("posts"), " has no rows. It makes one of each content task; add a task with:"],
        "threads-agent task add",
    )


def _row(item: ListedPost, provenance: Provenance) -> list[Content]:
    return [
        [dcc.Link(item.hook, f"{PATH}/{item.id}", className="title"), html.Span(item.persona, className="under")],
        _shape(item.arc),
        _mood(item.arc, provenance),
        _engagement(item, provenance),
        wording.day(item.ts),
    ]


def _shape(arc: Arc | None) -> Component:
    if arc is None:
        return html.Span("not analysed", className="missing")
    return html.Span(_named(arc)[0], className=f"tag arc-{arc.shape}", title=arc.reason)


def _named(arc: Arc) -> tuple[str, str]:
    """The shape's name and what it means."""
    return OTHER_LANGUAGE if arc.reason == UNSUPPORTED_LANGUAGE else SHAPES[arc.shape]


def _mood(arc: Arc | None, provenance: Provenance) -> Component | str:
    if arc is None:
        return html.Span(wording.MISSING, className="missing", title="not analysed")
    return figure(wording.signed(arc.mood), provenance.button("Mood", MOOD, arc.origin))


def _engagement(item: ListedPost, provenance: Provenance) -> Component:
    if item.engagement_rate is None:
        return html.Span(wording.MISSING, className="missing", title="not measured")
    source = provenance.button("Engagement", ENGAGEMENT, item.engagement_origin)
    return figure(wording.percent(item.engagement_rate), source)


def detail(view: View) -> Shown:
    key = item_number(view.item)
    found = None if key is None else data.post(view.engine, key)
    if found is None:
        return Shown("Not found", [], [missing_item("post", view.item or "", PATH)])
    item, segments = found
    facts = [item.persona, wording.day(item.ts), f"written by {item.generator}" if item.generator else None]
    head = heading(item.hook, " · ".join(fact for fact in facts if fact))
    parts: list[Component] = [
        html.Div([_text(item, view.provenance), _arc(item.arc, segments, view.provenance)], className="halves"),
    ]
    if item.arc is not None and segments:
        parts.append(_parts(segments, item.arc.origin, view.provenance))
    return Shown(item.hook, [back("Content Pipeline", PATH), *head], parts)


def _text(item: ListedPost, provenance: Provenance) -> Component:
    written = provenance.button("This post", "The text as it stands, with later edits by people.", item.origin)
    text = [html.P(html.Strong(item.hook), className="prose"), html.P(item.body, className="prose")]
    measured = definitions(
        [
            ("Engagement", _engagement(item, provenance)),
            ("Impressions", _impressions(item, provenance)),
        ]
    )
    return card(["Text", written], [*text, measured])


def _impressions(item: ListedPost, provenance: Provenance) -> Component:
    if item.impressions is None:
        return html.Span(wording.MISSING, className="missing", title="not measured")
    source = provenance.button("Impressions", "From the newest measurement of this post.", item.engagement_origin)
    return figure(wording.count(item.impressions), source)


def _arc(arc: Arc | None, segments: Sequence[Segment], provenance: Provenance) -> Component:
    if arc is None:
        waiting: list[Part] = ["The asset ", html.Code("emotion_trajectories"), " has no row for this post yet."]
        return card("Emotional course", empty("Not analysed yet", waiting, "threads-agent up"))
    name, meaning = _named(arc)
    source = provenance.button("Emotional course", "How the mood moves through the post.", arc.origin)
    facts = definitions(
        [
            ("Mood", figure(wording.signed(arc.mood), provenance.button("Mood", MOOD, arc.origin))),
            ("Strongest emotion", _strongest(arc, segments)),
            (
                "Confidence",
                figure(wording.percent(arc.confidence, 0), provenance.button("Confidence", CONFIDENCE, arc.origin)),
            ),
        ]
    )
    measured = [segment for segment in segments if segment.mood is not None]
    chart = [graph(emotions.course(segments), _described(segments))] if len(measured) > 1 else []
    said = f"{meaning} ({arc.reason})" if arc.reason and arc.reason != UNSUPPORTED_LANGUAGE else meaning
    return card(["Emotional course", source], [html.P([html.Strong(f"{name}. "), said]), *chart, facts])


def _strongest(arc: Arc, segments: Sequence[Segment]) -> str:
    if arc.dominant:
        return wording.sentence_case(arc.dominant)
    return "none stands out" if _have_emotions(segments) else wording.MISSING


def _have_emotions(segments: Sequence[Segment]) -> bool:
    return any(strength is not None for segment in segments for strength in segment.emotions.values())


def _described(segments: Sequence[Segment]) -> str:
    return "Mood by part: " + ", ".join(wording.signed(segment.mood) for segment in segments)


def _parts(segments: Sequence[Segment], origin: Origin, provenance: Provenance) -> Component:
    columns = [
        Column("Part", style="letter"),
        Column("Text", style="lead"),
        Column("Mood", style="number"),
        Column("Strongest"),
        Column("From the part before"),
    ]
    rows: list[list[Content]] = [
        [
            str(segment.index + 1),
            segment.text,
            wording.signed(segment.mood),
            wording.sentence_case(segment.dominant) if segment.dominant else wording.MISSING,
            wording.sentence_case(segment.change) if segment.change else wording.MISSING,
        ]
        for segment in segments
    ]
    listed = card(["Part by part", provenance.button("Part by part", PARTS, origin)], table(columns, rows))
    if not _have_emotions(segments):
        return html.Div(listed, className="below")
    strengths = graph(emotions.emotions(segments), "Strength of eight emotions in each part")
    title: list[Part] = ["Emotions, from 0 to 1", provenance.button("Emotions", STRENGTHS, origin)]
    return html.Div([listed, card(title, strengths)], className="halves wide-left")


PAGE = Page(PATH, show, controls, detail)
