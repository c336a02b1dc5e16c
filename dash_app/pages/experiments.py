"""What was tried: the experiments, and for each what its variants achieved and how sure that is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from string import ascii_uppercase
from typing import Any, Final
from urllib.parse import quote

from dash import dcc, html
from dash.development.base_component import Component

from dash_app import data, wording
from dash_app.address import Query
from dash_app.charts.experiments import Interval, Kept, calibration, intervals
from dash_app.charts.frame import graph
from dash_app.components import (
    Column,
    Content,
    Part,
    Provenance,
    back,
    card,
    choice,
    empty,
    figure,
    missing_item,
    no_match,
    pager,
    search_box,
    table,
)
from dash_app.pages.page import Page, Shown, View, heading
from dash_app.rows import Experiment, HookRecord, Variant, Verdict

PATH = "/experiments"
FILTERS = ("q", "status")
STATUSES: Final = {"draft": "Planned", "running": "Running", "stopped": "Stopped"}
VERDICT = "Computed from the variants' counts by the plan that was frozen at the start."
MEANINGS: Final = {
    "ship": "a variant beats the one it is compared with",
    "roll back": "nothing new is better, or the winner does harm",
    "keep running": "nothing is decided yet",
    "no evidence": "no difference can be shown",
    "unhealthy": "the data cannot be trusted, so nothing is decided",
    "undecided": "it was stopped before anything was decided",
}
POLICIES: Final = {
    "thompson": "Thompson sampling",
    "top_two": "Top-two sampling",
    "ucb": "An upper confidence bound",
    "forward": "Forward-looking sampling",
}
FORESEEN = (
    "Two hooks of one experiment are a pair; right is that the one which the model expected to win did. The interval "
    "holds the true share with 95 %, resampled by experiment. A coin is right in 50 % and has a Brier score of 0.25."
)
RANK = "What the hook model expected, 1 = most clicks of these hooks; it never saw how this experiment ended."
KNOWN_RANK = "What the hook model expects, 1 = most clicks of these hooks. It was trained on this experiment."
SAMPLES: Final = {
    "unseen": "Experiments that it was not trained on",
    "out of fold": "Experiments it was trained on, judged by weights fitted without them",
    "in sample": "Experiments it was trained on: these figures flatter",
}
COUNTED: Final = {"significant": "pairs that differ significantly", "all": "all pairs"}
AFTER_NAMES = re.compile(r"(: uplift | wins, but |'s rate yet| is the only variant)")
RATE = "Successes per impression, over all observations of this variant."
COUNT = "Over all observations of this variant, each counted once."
TOTAL = "Over all variants of this experiment; the run is that of the newest of them."
COLUMNS = (
    Column("Experiment", "name", "lead"),
    Column("Status"),
    Column("Verdict"),
    Column("Variants", style="number"),
    Column("Impressions", style="number"),
    Column("Highest rate so far", style="number"),
    Column("Started", "started", "number"),
)


def controls(view: View) -> Component:
    return html.Div(
        [search_box(view.query, "Search by name"), choice("status", "Status", list(STATUSES.items()), view.query)],
        className="filters",
    )


def show(view: View) -> Shown:
    listing = data.list_experiments(view.engine, view.query.values, view.query.page)
    title = "A/B Testing"
    if not listing.total:
        nothing = no_match(PATH) if any(view.query[name] for name in FILTERS) else _empty()
        return Shown(title, heading(title), [nothing])
    rows = [_row(item, view.provenance) for item in listing.items]
    listed = html.Section(table(COLUMNS, rows, view.query, "-started"), className="card list")
    record = _record(data.hook_records(view.engine), view.provenance)
    return Shown(
        title, heading(title, beside=_downloads(view.query)), [listed, pager(listing, view.query, "experiment"), record]
    )


def _downloads(query: Query) -> Component:
    """All pages of what the filters let through."""
    rest = query.link(page=None)
    csv = html.A("Download CSV", href=f"{PATH}.csv{rest}")
    return html.Span([csv, " · ", html.A("JSON", href=f"{PATH}.json{rest}")], className="download")


def _record(found: Sequence[HookRecord], provenance: Provenance) -> Component:
    """How often the hook model was right: on what it had not seen, as far as there is such a thing."""
    title = "Does the hook model foresee winners?"
    if not found:
        needs: list[Part] = ["Nothing is known before hooks of one experiment were shown; the asset "]
        needs += [html.Code("hook_calibration"), " looks every hour."]
        return html.Div(card(title, html.P(needs)), className="below")
    columns = [
        Column("Judged on", style="lead"),
        Column("Pairs", style="number"),
        Column("Right", style="number"),
        Column("95 % interval", style="number"),
        Column("Brier score", style="number"),
    ]
    rows = [_record_row(one) for one in found if (one.chance_from, one.chance_to) == (0.5, 1)]
    source = provenance.button(title, FORESEEN, found[0].origin)
    bins = [one for one in found if one.sample == found[0].sample and one.counted == "all"][1:]  # the first is all
    judged = SAMPLES[found[0].sample].lower()
    note = (
        f"All pairs of {judged}, by the chance that the model gave its favourite. Points on the line keep the promise;"
    )
    note += " with few readers the worse hook may measure higher, so even true promises lie a little below it."
    chart = [html.P(note, className="quiet"), graph(calibration([_kept(one) for one in bins]), _said(bins))]
    kept = "Does it keep its promises?"
    promises = card([kept, provenance.button(kept, FORESEEN, bins[0].origin)], chart)
    listed = card([title, source], table(columns, rows))
    return html.Div([html.Div(listed, className="below"), html.Div(promises, className="below")])


def _record_row(one: HookRecord) -> list[Content]:
    under = f"{COUNTED[one.counted]} of {wording.plural(one.experiments, 'experiment')}"
    return [
        [SAMPLES[one.sample], html.Span(under, className="under")],
        wording.count(one.pairs),
        wording.percent(one.share_right, 1),
        "too few" if one.low is None else f"{wording.percent(one.low, 1)} – {wording.percent(one.high, 1)}",
        wording.decimal(one.brier, 3),
    ]


def _kept(one: HookRecord) -> Kept:
    return Kept(one.mean_chance, one.share_right, one.low, one.high, one.pairs)


def _said(bins: Sequence[HookRecord]) -> str:
    return "; ".join(f"foreseen {one.mean_chance:.0%}, came true {one.share_right:.0%}" for one in bins)


def _empty() -> Component:
    return empty(
        "No experiments yet",
        [
            "The table ",
            html.Code("experiments"),
            " has no rows, so the asset ",
            html.Code("variant_performance"),
            " has nothing to measure. Import experiments from a CSV file:",
        ],
        "threads-agent import experiments FILE.csv",
    )


def _row(item: Experiment, provenance: Provenance) -> list[Content]:
    return [
        [dcc.Link(item.name, f"{PATH}/{item.id}", className="title"), html.Span(item.id, className="under")],
        html.Span(STATUSES[item.status], className=f"tag status-{item.status}"),
        _word(item, provenance),
        wording.count(len(item.variants)),
        _impressions(item.variants, provenance),
        _best(item.variants, provenance),
        wording.day(item.started_at),
    ]


def _word(item: Experiment, provenance: Provenance) -> Component:
    if item.verdict is None:
        return html.Span(wording.MISSING, className="missing", title="no verdict yet")
    return figure(_called(item, item.verdict).capitalize(), provenance.button("Verdict", VERDICT, item.verdict.origin))


def _called(item: Experiment, verdict: Verdict) -> str:
    """The verdict's word; what was stopped cannot keep running."""
    return "undecided" if (item.status, verdict.verdict) == ("stopped", "keep running") else verdict.verdict


def _impressions(variants: Sequence[Variant], provenance: Provenance) -> Component:
    counted = [variant for variant in variants if variant.impressions is not None]
    if not counted:
        return html.Span(wording.MISSING, className="missing", title="not counted")
    newest = max(counted, key=lambda variant: variant.origin.made_at or datetime.min.replace(tzinfo=UTC))
    total = sum(variant.impressions or 0 for variant in counted)
    return figure(wording.count(total), provenance.button("Impressions", TOTAL, newest.origin))


def _best(variants: Sequence[Variant], provenance: Provenance) -> Component:
    measured = [variant for variant in variants if variant.rate is not None]
    if not measured:
        return html.Span(wording.MISSING, className="missing", title="not measured")
    return _rate(max(measured, key=lambda variant: variant.rate or 0), provenance)


def _rate(variant: Variant, provenance: Provenance) -> Component:
    if variant.rate is None:
        return html.Span(wording.MISSING, className="missing", title="no impressions yet")
    return figure(wording.percent(variant.rate), provenance.button("Success rate", RATE, variant.origin))


def detail(view: View) -> Shown:
    found = data.experiment(view.engine, view.item or "")
    if found is None:
        return Shown("Not found", [], [missing_item("experiment", view.item or "", PATH)])
    facts = [STATUSES[found.status]]
    if found.started_at:
        facts.append(f"started {wording.day(found.started_at)}")
    if found.ended_at:
        facts.append(f"ended {wording.day(found.ended_at)}")
    named = list(zip(_letters(len(found.variants)), found.variants, strict=True))
    head = [back("A/B Testing", PATH), *heading(found.name, " · ".join(facts))]
    return Shown(
        found.name,
        head,
        [_verdict(named, found, view.provenance), _intervals(named), _variants(named, found, view.provenance)],
    )


def _verdict(named: Sequence[tuple[str, Variant]], found: Experiment, provenance: Provenance) -> Component:
    verdict = found.verdict
    if verdict is None:
        nothing: list[Part] = ["A verdict is given once the experiment was started and its variants were observed."]
        return card("Verdict", empty("No verdict yet", nothing))
    called, source = _called(found, verdict), provenance.button("Verdict", VERDICT, verdict.origin)
    letters = {variant.id: letter for letter, variant in named}
    figures = f"{wording.count(verdict.n)} impressions judged"
    for name, p in (("sequential p", verdict.p_value_sequential), ("sample ratio p", verdict.srm_p)):
        figures += f" · {name} {wording.MISSING if p is None else f'{p:.2g}'}"
    return card(
        "Verdict",
        [
            html.P(figure(_decision(called, verdict, letters), source), className="title"),
            html.P(f"{MEANINGS[called].capitalize()}.", className="quiet"),
            html.P(_sentence(_lettered(verdict.reason, letters))),
            html.P(f"Rule: {verdict.rule}.", className="quiet"),
            html.P(figures, className="quiet"),
            *_promotion(found, verdict.verdict, letters),
            html.P(_allocation(found.plan), className="quiet"),
        ],
    )


def _decision(called: str, verdict: Verdict, letters: Mapping[str, str]) -> str:
    """The verdict's word with the variant that it speaks of, e.g. Ship B."""
    word, letter = called.capitalize(), letters.get(verdict.variant_id or "")
    if letter is None:
        return word
    return f"{word} to {letter}" if called == "roll back" else f"{word} {letter}"


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."


def _lettered(reason: str, letters: Mapping[str, str]) -> str:
    """The reason with its variants called as in the chart; they stand before what is said of them."""
    who, *said = AFTER_NAMES.split(reason, maxsplit=1)
    if not said:
        return reason
    ids = "|".join(re.escape(id_) for id_ in sorted(letters, key=len, reverse=True))
    return re.sub(rf"(?<!\S)(?:{ids})(?=[\s,]|$)", lambda found: letters[found[0]], who) + "".join(said)


def _promotion(found: Experiment, verdict: str, letters: Mapping[str, str]) -> list[Component]:
    """Who won, and the call that promotes or takes back: the dashboard itself only reads."""
    if found.promoted:
        won = html.P(["Promoted: ", html.Strong(letters.get(found.promoted, found.promoted)), ". Take it back with:"])
        return [won, html.Pre(html.Code(_call(found.id, "undo")))]
    if verdict != "ship":
        return []
    return [html.P("Promote it with:"), html.Pre(html.Code(_call(found.id, "promote")))]


def _call(experiment_id: str, action: str) -> str:
    path = f"/api/v1/experiments/{quote(experiment_id, safe='')}/{action}"
    sent = "-H 'Content-Type: application/json' -d '{}'"
    return f'curl -X POST "$PROMPT_API_URL{path}" \\\n  -H "X-API-Key: $API_KEY" {sent}'


def _allocation(plan: Mapping[str, Any]) -> str:
    """How impressions are given out, in words."""
    policy = POLICIES.get(plan.get("policy", "fixed"), "")
    split = "in the planned shares " + " : ".join(map(str, plan["weights"])) if plan.get("weights") else "evenly"
    if not policy:
        return f"By the plan, impressions are split {split}."
    return f"{policy} gives out the impressions; {wording.percent(plan.get('floor', 0.1), 0)} are split {split}."


def _letters(n: int) -> list[str]:
    """A, B, ... Z, A2, B2, ..."""
    return [ascii_uppercase[i % 26] + (str(i // 26 + 1) if i >= 26 else "") for i in range(n)]


def _intervals(named: Sequence[tuple[str, Variant]]) -> Component:
    measured = [
        Interval(letter, variant.rate, variant.low, variant.high, variant.is_control)
        for letter, variant in named
        if variant.rate is not None and variant.low is not None and variant.high is not None
    ]
    if not measured:
        nothing: list[Part] = [
            "The asset ",
            html.Code("variant_performance"),
            " has no rate here: nothing was observed.",
        ]
        return card("Success rates", empty("Nothing measured yet", nothing))
    levels = {variant.confidence_level for _, variant in named if variant.confidence_level is not None}
    level = " and ".join(wording.percent(level, 0) for level in sorted(levels))
    described = "; ".join(f"{i.label} {wording.percent(i.rate)}" for i in measured)
    explanation = (
        f"Each line is a {level} interval: measured again and again, it would hold the true rate that often. "
        f"{_compared(named)} Where lines overlap much, the difference may be chance."
    )
    return card("Success rates", [html.P(explanation, className="quiet"), graph(intervals(measured), described)])


def _compared(named: Sequence[tuple[str, Variant]]) -> str:
    """Against which variant the others are judged: the control, and without one the first by id, as verdicts do."""
    if any(variant.is_control for _, variant in named):
        return "Grey is the control."
    baseline, _ = min(named, key=lambda one: one[1].id)
    return f"No variant was named the control, so the others are compared with {baseline}."


def _variants(named: Sequence[tuple[str, Variant]], found: Experiment, provenance: Provenance) -> Component:
    columns = [
        Column("", style="letter"),
        Column("Variant", style="lead"),
        Column("Impressions", style="number"),
        Column("Successes", style="number"),
        Column("Rate", style="number"),
        Column("Best with probability", style="number"),
        Column("Foreseen rank", style="number"),
    ]
    total = sum(variant.impressions or 0 for _, variant in named)
    rows = [
        [
            *_variant_row(letter, variant, total, provenance),
            _best_chance(variant, found, provenance),
            _rank(variant, provenance),
        ]
        for letter, variant in named
    ]
    return card("Variants", table(columns, rows))


def _share(variant: Variant, total: int, provenance: Provenance) -> Component | None:
    if not total or variant.impressions is None:
        return None
    source = provenance.button("Share shown", "This variant's part of all impressions.", variant.origin)
    return figure(f"{wording.percent(variant.impressions / total, 0)} of all", source)


def _best_chance(variant: Variant, found: Experiment, provenance: Provenance) -> Component:
    if found.verdict is None or variant.id not in found.verdict.p_best:
        return html.Span(wording.MISSING, className="missing", title="no verdict yet")
    meaning = "Probability of having the highest rate, when every rate was equally likely before."
    source = provenance.button("Best with probability", meaning, found.verdict.origin)
    return figure(wording.percent(found.verdict.p_best[variant.id], 1), source)


def _rank(variant: Variant, provenance: Provenance) -> Component:
    if variant.foreseen is None:
        return html.Span(wording.MISSING, className="missing", title="no hook, or not predicted yet")
    meaning = KNOWN_RANK if variant.foreseen.sample == "in sample" else RANK
    source = provenance.button("Foreseen rank", meaning, variant.foreseen.origin)
    return figure(wording.count(variant.foreseen.rank), source)


def _variant_row(letter: str, variant: Variant, total: int, provenance: Provenance) -> list[Content]:
    control = [html.Span("Control", className="tag")] if variant.is_control else []
    name: list[Part] = [html.Span(variant.hook or variant.id, className="title"), " ", *control]
    if variant.hook:
        name.append(html.Span(variant.id, className="under"))
    shown, won = (
        figure(wording.count(n), provenance.button(label, COUNT, variant.origin))
        for label, n in (("Impressions", variant.impressions), ("Successes", variant.successes))
    )
    share, bounds = (
        html.Span(part, className="under")
        for part in (_share(variant, total, provenance), _bounds(variant, provenance))
    )
    return [html.Strong(letter), name, [shown, share], won, [_rate(variant, provenance), bounds]]


def _bounds(variant: Variant, provenance: Provenance) -> Component | None:
    if variant.low is None or variant.high is None:
        return None
    meaning = f"Wilson interval of the rate, at {wording.percent(variant.confidence_level, 0)} confidence."
    source = provenance.button("Interval of the rate", meaning, variant.origin)
    return figure(f"{wording.percent(variant.low)} to {wording.percent(variant.high)}", source)


PAGE = Page(PATH, show, controls, detail)
