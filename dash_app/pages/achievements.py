"""What was done: the list, and for each achievement why it scores what it scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dash import dcc, html
from dash.development.base_component import Component

from dash_app import data, wording
from dash_app.address import EVERYONE, Query
from dash_app.components import (
    Column,
    Content,
    Part,
    Provenance,
    back,
    card,
    choice,
    decoration,
    definitions,
    empty,
    figure,
    missing_item,
    no_match,
    pager,
    search_box,
    table,
    web_link,
)
from dash_app.pages.page import Page, Shown, View, heading, item_number, whose
from dash_app.rows import Achievement, ListedAchievement, Rule, SetAside, Similar
from threads_agent_dagster.db.identities import Me
from threads_agent_dagster.domain.achievements import CATEGORIES, SOURCE_TYPES
from threads_agent_dagster.domain.embeddings import NEAR_DUPLICATE

PATH = "/achievements"
FILTERS = ("q", "category", "source", "theme")
IMPACT = "How much the change matters, from 0 to 100: the sum of named rules."
COMPLEXITY = "How hard the change was, from 0 to 100: the sum of named rules."
SOURCES: Final = {"github_pr": "Pull request", "github": "GitHub", "ci": "CI", "api": "API", "git": "Git"}
EXPORTS: Final = {"pdf": "PDF", "html": "HTML", "md": "Markdown", "json-resume": "JSON Resume", "csv": "CSV"}
COLUMNS = (
    Column("Achievement", "title", "lead"),
    Column("Category"),
    Column("Impact", "impact", "number"),
    Column("Complexity", "complexity", "number"),
    Column("Completed", "completed", "number"),
)


def source_name(source_type: str) -> str:
    return SOURCES.get(source_type, wording.sentence_case(source_type))


def controls(view: View) -> Component:
    return html.Div(
        [
            search_box(view.query, "Search words, repository, author"),
            choice("category", "Category", [(name, wording.sentence_case(name)) for name in CATEGORIES], view.query),
            choice("source", "Source", [(name, source_name(name)) for name in SOURCE_TYPES], view.query),
            choice("theme", "Theme", data.list_themes(view.engine), view.query),
        ],
        className="filters",
    )


def show(view: View) -> Shown:
    listing = data.list_achievements(view.engine, view.query.values, view.query.page)
    me = data.me(view.engine)
    download = html.A("Download CSV", href=f"{PATH}.csv{view.query.link(page=None)}", className="download")
    under = whose(me, view.query, "These are")
    head = heading("Achievements", under or None, download)
    if not listing.total:
        return Shown("Achievements", heading("Achievements", under or None), [_nothing(me, view.query)])
    rows = [_row(item, view.provenance) for item in listing.items]
    listed = html.Section(table(COLUMNS, rows, view.query, "-completed"), className="card list")
    return Shown("Achievements", head, [listed, pager(listing, view.query, "achievement"), _portfolio(me, view.query)])


def _nothing(me: Me, query: Query) -> Component:
    if any(query[name] for name in FILTERS):
        return no_match(PATH)
    return _none_of_mine(query) if me and not query.everyone else _empty()


def _none_of_mine(query: Query) -> Component:
    told: list[Part] = [
        "None was written by you, with you, or down by hand. ",
        dcc.Link("Show everyone's", href=query.link(who=EVERYONE)),
        "; who you are is told by:",
    ]
    return empty("None of yours yet", told, "threads-agent me show")


def _portfolio(me: Me, query: Query) -> Component:
    who = f"?who={EVERYONE}" if query.everyone else ""
    links: list[Part] = [
        html.A(label, href=f"/portfolio/{form}{who}", className="download") for form, label in EXPORTS.items()
    ]
    told: list[Part] = [
        "What is marked ready",
        " and mine" if me and not query.everyone else "",
        ", each item with its evidence; check a file with ",
        html.Code("threads-agent portfolio verify FILE"),
        ".",
    ]
    separated = [part for link in links for part in (" · ", link)][1:]
    return card("Portfolio", [html.P(told, className="quiet"), html.P(separated)])


def _empty() -> Component:
    return empty(
        "No achievements yet",
        [
            "The asset ",
            html.Code("achievements"),
            " has no rows. Merged pull requests arrive by GitHub webhook; the history of a checkout is imported with:",
        ],
        "threads-agent import git PATH",
    )


def _row(item: ListedAchievement, provenance: Provenance) -> list[Content]:
    where = " · ".join(part for part in (item.repository, item.author, source_name(item.source_type)) if part)
    return [
        [dcc.Link(item.title, f"{PATH}/{item.id}", className="title"), html.Span(where, className="under")],
        html.Span(wording.sentence_case(item.category), className="tag"),
        _score("Impact", item.impact_score, IMPACT, item, provenance),
        _score("Complexity", item.complexity_score, COMPLEXITY, item, provenance),
        wording.day(item.completed_at),
    ]


def _score(label: str, score: float | None, meaning: str, item: ListedAchievement, provenance: Provenance) -> Component:
    return figure(wording.decimal(score), provenance.button(f"{label} of “{item.title}”", meaning, item.origin))


def detail(view: View) -> Shown:
    key = item_number(view.item)
    found = None if key is None else data.achievement(view.engine, key)
    if found is None:
        return Shown("Not found", [], [missing_item("achievement", view.item or "", PATH)])
    item = found.listed
    parts: list[Component] = [
        html.Div(
            [
                _rules("Impact", IMPACT, item.impact_score, found.impact_rules, item, view.provenance),
                _rules("Complexity", COMPLEXITY, item.complexity_score, found.complexity_rules, item, view.provenance),
            ],
            className="halves",
        ),
        html.Div([_text(found), _evidence(found, view.provenance)], className="halves"),
        html.Div(_similar(data.similar_achievements(view.engine, item.id)), className="below"),
    ]
    return Shown(item.title, [back("Achievements", PATH), *heading(item.title, _summary(found))], parts)


def _similar(found: Sequence[Similar] | None) -> Component:
    if found is None:
        waiting: list[Part] = ["The asset ", html.Code("achievement_embeddings"), " has no vector to compare by yet."]
        return card("Similar achievements", html.P(waiting, className="quiet"))
    if not found:
        return card("Similar achievements", html.P("None comes near this one.", className="quiet"))
    columns = [Column("Achievement", style="lead"), Column("Completed"), Column("Cosine", style="number")]
    rows: list[list[Content]] = [
        [
            dcc.Link(one.title, f"{PATH}/{one.id}", className="title"),
            wording.day(one.completed_at),
            [f"{one.similarity:.2f}", html.Span(" same thing?", className="unit") if _twin(one) else ""],
        ]
        for one in found
    ]
    return html.Section([html.H2("Similar achievements"), table(columns, rows)], className="card rules")


def _twin(one: Similar) -> bool:
    return one.similarity >= NEAR_DUPLICATE


def _summary(found: Achievement) -> list[Component | str]:
    item = found.listed
    facts = [item.author, item.repository, f"completed {wording.day(item.completed_at)}"]
    return [
        html.Span(wording.sentence_case(item.category), className="tag"),
        " " + " · ".join(fact for fact in facts if fact) + " · ",
        web_link(source_name(item.source_type), found.source_url),
    ]


def _rules(
    label: str,
    meaning: str,
    score: float | None,
    rules: Sequence[Rule] | None,
    item: ListedAchievement,
    provenance: Provenance,
) -> Component:
    source = provenance.button(label, meaning, item.origin)
    if score is None or rules is None:
        explanation: list[Part] = ["The asset ", html.Code("achievements"), " has not scored this row."]
        return card([label, source], html.P(explanation, className="quiet"))
    columns = [Column("Rule", style="lead"), Column("Found"), Column("Points", style="number")]
    rows: list[list[Content]] = [[_rule_name(rule), _found(rule.input), _points(rule)] for rule in rules]
    rows.append([html.Strong("Sum of the points"), None, html.Strong(wording.decimal(sum(r.points for r in rules), 2))])
    value = html.P([figure(wording.decimal(score), source), html.Span("of 100", className="unit")], className="value")
    why = html.H2(f"Why {wording.decimal(score)}?")
    return html.Section([html.H2(label), value, why, table(columns, rows)], className="card rules")


def _rule_name(rule: Rule) -> Component:
    share = 100 * rule.points / rule.weight if rule.weight else 0
    bar = html.Span(html.Span(style={"width": f"{share:.0f}%"}), className="bar", **decoration())
    return html.Div([wording.sentence_case(rule.name), bar])


def _found(value: str | float | None) -> Component | str:
    if value is None:
        return html.Span(wording.MISSING, className="missing", title="not told")
    return value if isinstance(value, str) else f"{value:,g}"


def _points(rule: Rule) -> Content:
    return [f"{rule.points:.2f}", html.Span(f" of {rule.weight:g}", className="unit")]


def _text(found: Achievement) -> Component:
    if not found.description:
        return card("Description", html.P("The source has none.", className="quiet"))
    return card("Description", html.P(found.description, className="prose"))


def _evidence(found: Achievement, provenance: Provenance) -> Component:
    saved = provenance.button(
        "Time saved", "Hours a year that the text itself claims; never estimated.", found.listed.origin
    )
    hours = wording.amount(found.time_saved_hours)
    unit = [] if found.time_saved_hours is None else [html.Span("hours a year", className="unit")]
    pairs: list[tuple[str, Content]] = [
        ("Started", wording.time(found.started_at)),
        ("Completed", wording.time(found.listed.completed_at)),
        ("Merge commit", html.Code(found.merge_sha) if found.merge_sha else wording.MISSING),
        ("Time saved", [figure(hours, saved), *unit]),
        ("Claims", html.Ul([html.Li(f"“{quote}”") for quote in found.quotes]) if found.quotes else "none in the text"),
        ("Skills", _skills(found.skills)),
    ]
    if found.set_aside:
        pairs.append(("Set aside", html.Ul([html.Li(_aside(one)) for one in found.set_aside])))
    return card("Evidence", definitions(pairs))


def _aside(one: SetAside) -> list[Part]:
    """Another's word for the same, which a later edit replaced."""
    value = wording.MISSING if one.value is None else f"“{one.value}”"
    return [
        f"{wording.sentence_case(one.field.replace('_', ' '))}: {value}",
        html.Span(f" {one.edited_by}", className="unit"),
    ]


def _skills(skills: Sequence[tuple[str, str]]) -> Component | str:
    if not skills:
        return "none found"
    return html.Ul([html.Li([name, html.Span(f" {evidence}", className="unit")]) for name, evidence in skills])


PAGE = Page(PATH, show, controls, detail)
