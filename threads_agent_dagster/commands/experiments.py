"""`threads-agent experiments analyze | units | plan | verify`: statistics of counts, and verdicts computed again."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from threads_agent_dagster.commands.context import HomeOption, database
from threads_agent_dagster.errors import InvalidInput

if TYPE_CHECKING:
    from threads_agent_dagster.domain.experiments import Analysis, Plan

COLUMNS = ("experiment_id", "variant_id", "impressions", "successes")
UNIT_COLUMNS = ("experiment_id", "variant_id", "unit_id", "impressions", "successes")
SMALLEST, LONGEST = 0.001, 1e9  # of days and of impressions per day
DIGITS = 10  # significant digits of printed numbers

app = typer.Typer(help="What works, and how sure that is.", no_args_is_help=True)

AlphaOption = Annotated[float, typer.Option(help="Chance of a false winner or loser per experiment.")]
PowerOption = Annotated[float, typer.Option(help="Chance of finding an uplift of --mde.")]
MdeOption = Annotated[float, typer.Option(help="Smallest uplift worth finding, relative to the control: 0.1 = 10 %.")]
RuleOption = Annotated[
    str, typer.Option(help="`sequential` may be looked at any time; `fixed` decides once, at the horizon.")
]
HorizonOption = Annotated[
    int | None, typer.Option(help="Planned impressions per variant; default: what --mde and --power ask for.")
]
DailyOption = Annotated[float | None, typer.Option(help="Impressions per day, all variants together.")]


ControlOption = Annotated[
    str, typer.Option(help="variant_id of the control; where none is called so, the first line's variant.")
]


@dataclass(slots=True)
class Experiment:
    """The lines of one experiment, in the order of their appearance."""

    experiment_id: str
    variant_ids: list[str] = field(default_factory=list)
    impressions: list[int] = field(default_factory=list)
    successes: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    broken: bool = False


@dataclass(slots=True)
class UnitExperiment:
    """The units of one experiment, in the order of their lines."""

    experiment_id: str
    unit_ids: set[str] = field(default_factory=set)
    variant_ids: list[str] = field(default_factory=list)
    impressions: list[int] = field(default_factory=list)
    successes: list[int] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    broken: bool = False


Kind = TypeVar("Kind", Experiment, UnitExperiment)


@app.command()
def analyze(
    alpha: AlphaOption = 0.05,
    power: PowerOption = 0.8,
    mde: MdeOption = 0.1,
    stopping_rule: RuleOption = "sequential",
    horizon: HorizonOption = None,
    daily_impressions: DailyOption = None,
    control: ControlOption = "control",
) -> None:
    """Judge experiments: CSV in (experiment_id,variant_id,impressions,successes[,weight]), one JSON object each out.

    `weight` is a variant's planned share of the impressions, equal without it. Wrong lines are named on stderr, their
    experiments are left out, and the exit code is 1.
    """
    from threads_agent_dagster.domain.experiments import Plan

    plan = Plan(alpha=alpha, power=power, mde=mde, stopping_rule=stopping_rule, horizon=horizon)
    if daily_impressions is not None:
        _positive(daily_impressions)
    experiments, problems = _read(sys.stdin.buffer.read(), COLUMNS, Experiment, _add)
    for line in _answers(experiments, control, plan, daily_impressions):
        sys.stdout.write(line + "\n")
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)


@app.command("units")
def analyze_units(alpha: AlphaOption = 0.05, control: ControlOption = "control") -> None:
    """Compare variants by posts: CSV in (experiment_id,variant_id,unit_id,impressions,successes[,before]), JSONL out.

    A line is a post, or whatever was given a variant as a whole. `before` is a rate that was known before it was, e.g.
    of the same persona, weekday and hour; what it explains is taken out (CUPED). For one look, at the planned end.
    """
    from threads_agent_dagster.domain.experiments import Plan

    Plan(alpha=alpha)  # names an alpha that is none
    experiments, problems = _read(sys.stdin.buffer.read(), UNIT_COLUMNS, UnitExperiment, _add_unit)
    for experiment in experiments:
        try:
            sys.stdout.write(json.dumps(_unit_answer(experiment, control, alpha)) + "\n")
        except InvalidInput as error:
            problems.append(f"experiment {experiment.experiment_id!r}: {error}; it is left out")
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)


@app.command("plan")
def plan_run(
    baseline: Annotated[float, typer.Option(help="Rate of the control, e.g. 0.02.")],
    mde: MdeOption = 0.1,
    alpha: AlphaOption = 0.05,
    power: PowerOption = 0.8,
    stopping_rule: RuleOption = "sequential",
    variants: Annotated[int, typer.Option(min=2, help="Number of variants, the control included.")] = 2,
    daily_impressions: DailyOption = None,
    days: Annotated[float | None, typer.Option(help="Also say what this many days show.")] = None,
) -> None:
    """How long an experiment must run, and what can be seen in a given time; one JSON object."""
    from dataclasses import replace

    from threads_agent_dagster.domain import experiments

    asked = experiments.Plan(alpha=alpha, power=power, mde=mde, stopping_rule=stopping_rule)
    horizon = experiments.sample_size(asked, baseline, variants)
    frozen = replace(asked, horizon=horizon)
    answer: dict[str, object] = {
        "baseline": baseline,
        "variants": variants,
        "impressions_per_variant": horizon,
        "impressions": horizon * variants,
        "days": None if daily_impressions is None else math.ceil(horizon * variants / _positive(daily_impressions)),
        "plan": asdict(frozen),
        "plan_sha256": frozen.sha256(),
    }
    if days is not None:
        answer["minimum_detectable_uplift"] = _visible_within(days, daily_impressions, baseline, variants, asked)
    typer.echo(json.dumps(answer))


@app.command()
def verify(
    experiment_id: Annotated[str, typer.Argument(help="The experiment whose stored verdict is computed again.")],
    home: HomeOption = None,
) -> None:
    """Compute a stored verdict again from its inputs and its frozen plan; exit code 1 unless the bytes are the same."""
    from threads_agent_dagster.work import verdicts

    with database(home) as engine, engine.connect() as connection:
        found = verdicts.verify(connection, experiment_id)
    typer.echo(json.dumps({"experiment_id": experiment_id, **asdict(found)}))
    if not found.same:
        typer.echo("the stored verdict is not what its inputs and its plan give", err=True)
        raise typer.Exit(1)


def _positive(value: float, option: str = "--daily-impressions") -> float:
    if not SMALLEST <= value <= LONGEST:
        raise InvalidInput(f"{value} is not between {SMALLEST:g} and {LONGEST:g}", option)
    return value


def _visible_within(
    days: float, daily_impressions: float | None, baseline: float, variants: int, plan: Plan
) -> float | None:
    from threads_agent_dagster.domain.experiments import minimum_detectable_uplift

    if daily_impressions is None:
        raise InvalidInput("--days needs it", "--daily-impressions")
    impressions = int(_positive(days, "--days") * _positive(daily_impressions) // variants)
    uplift = minimum_detectable_uplift(plan, baseline, impressions, variants)
    return None if uplift is None else float(f"{uplift:.4g}")


def _read(
    data: bytes, columns: Sequence[str], make: Callable[[str], Kind], add: Callable[[Kind, dict[str, str]], None]
) -> tuple[list[Kind], list[str]]:
    """The experiments without a wrong line, in the order of their first line, and what is wrong with the others."""
    try:
        lines = data.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        before = data[: error.start].count(b"\n")
        return [], [f"line {before + 1}: not UTF-8"]
    try:
        header = [name.strip() for name in _fields(lines[0])]
    except InvalidInput as error:
        return [], [f"line 1: {error}"]
    if missing := [column for column in columns if column not in header]:
        return [], [f"line 1: the header lacks {', '.join(missing)}"]
    experiments: dict[str, Kind] = {}
    problems = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            _add_line(experiments, header, line, make, add)
        except InvalidInput as error:
            problems.append(f"line {number}: {error}; its experiment is left out")
    return [experiment for experiment in experiments.values() if not experiment.broken], problems


def _fields(line: str) -> list[str]:
    """Every line is read by itself, so that an open quote spoils no more than its own line."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise InvalidInput(str(error)) from None


def _add_line(
    experiments: dict[str, Kind],
    header: list[str],
    line: str,
    make: Callable[[str], Kind],
    add: Callable[[Kind, dict[str, str]], None],
) -> None:
    values = [value.strip() for value in _fields(line)]
    row = dict(zip(header, values, strict=False))
    name = row.get("experiment_id")
    if not name:
        raise InvalidInput("is empty", "experiment_id")
    if name not in experiments:
        experiments[name] = make(name)
    experiment = experiments[name]
    was_broken, experiment.broken = experiment.broken, True  # until the line has proved right
    if len(values) != len(header):
        raise InvalidInput(f"{len(values)} values for {len(header)} columns")
    if not row["variant_id"]:
        raise InvalidInput("is empty", "variant_id")
    add(experiment, row)
    experiment.broken = was_broken


def _add(experiment: Experiment, row: dict[str, str]) -> None:
    if row["variant_id"] in experiment.variant_ids:
        named = f"{row['variant_id']!r} stands twice in experiment {experiment.experiment_id!r}"
        raise InvalidInput(f"{named} (one line a post: experiments units)", "variant_id")
    impressions, successes = _counts(row)
    experiment.weights.append(_weight(row))
    experiment.variant_ids.append(row["variant_id"])
    experiment.impressions.append(impressions)
    experiment.successes.append(successes)


def _add_unit(experiment: UnitExperiment, row: dict[str, str]) -> None:
    if not row["unit_id"] or row["unit_id"] in experiment.unit_ids:
        named = f"{row['unit_id']!r} is empty or stands twice in experiment {experiment.experiment_id!r}"
        raise InvalidInput(named, "unit_id")
    impressions, successes = _counts(row)
    before = _earlier_rate(row["before"]) if "before" in row else 0.0
    experiment.unit_ids.add(row["unit_id"])
    experiment.variant_ids.append(row["variant_id"])
    experiment.impressions.append(impressions)
    experiment.successes.append(successes)
    experiment.before.append(before)


def _earlier_rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate <= 1:
        raise InvalidInput(f"{text!r} is not a rate between 0 and 1", "before")
    return rate


def _counts(row: dict[str, str]) -> tuple[int, int]:
    impressions, successes = (_count(row, column) for column in ("impressions", "successes"))
    if successes > impressions:
        raise InvalidInput(f"{successes} is more than the {impressions} impressions", "successes")
    return impressions, successes


def _count(row: dict[str, str], column: str) -> int:
    text = row[column]
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"{text!r} is not a whole number of 0 or more", column)
    count = int(text[:20])
    if len(text) > 20 or count > _largest():
        raise InvalidInput(f"{text[:40]} is more than {_largest()}, beyond which statistics lose their digits", column)
    return count


@cache
def _largest() -> int:
    from threads_agent_dagster.domain.experiments import LARGEST

    return LARGEST


def _weight(row: dict[str, str]) -> float:
    text = row.get("weight", "1")
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise InvalidInput(f"{text!r} is not a positive number", "weight")
    return weight


def _unit_answer(experiment: UnitExperiment, control: str, alpha: float) -> dict[str, object]:
    import numpy as np

    from threads_agent_dagster.domain.significance import holm
    from threads_agent_dagster.domain.units import compare_units

    ids = list(dict.fromkeys(experiment.variant_ids))
    baseline = control if control in ids else ids[0]
    if len(ids) < 2:
        raise InvalidInput(f"{baseline!r} is the only variant", "variant_id")
    columns = np.array([experiment.impressions, experiment.successes, experiment.before], dtype=float)
    arms = np.array(experiment.variant_ids, dtype=object)
    others = [name for name in ids if name != baseline]
    found = []
    for name in others:
        chosen = (arms == baseline) | (arms == name)
        n, x, before = columns[:, chosen]
        found.append(compare_units(n, x, arms[chosen] == name, before, alpha / len(others)))
    corrected = holm([one.p_value for one in found])
    comparisons = [
        {"variant_id": name, **{key: _number(value) for key, value in asdict(one).items()}, "p_holm": _number(p)}
        for name, one, p in zip(others, found, corrected, strict=True)
    ]
    return {"experiment_id": experiment.experiment_id, "control": baseline, "comparisons": comparisons}


def _answers(experiments: list[Experiment], control: str, plan: Plan, daily_impressions: float | None) -> Iterator[str]:
    """One line of JSON per experiment, in their order; experiments of equally many variants are computed together."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for position, experiment in enumerate(experiments):
        by_size[len(experiment.variant_ids)].append(position)
    lines: dict[int, str] = {}
    for positions in by_size.values():
        alike = [experiments[position] for position in positions]
        lines.update(zip(positions, _answers_alike(alike, control, plan, daily_impressions), strict=True))
    return (lines[position] for position in range(len(experiments)))


def _answers_alike(
    experiments: list[Experiment], control: str, plan: Plan, daily_impressions: float | None
) -> Iterator[str]:
    import numpy as np

    from threads_agent_dagster.domain.experiments import Judge, analyze, detail

    names = np.array([experiment.variant_ids for experiment in experiments], dtype=object)
    # The statistics take the first arm as control; answers keep the order of the lines.
    order = np.argsort(names != control, axis=1, kind="stable")
    columns = (
        np.take_along_axis(np.array([getattr(experiment, column) for experiment in experiments]), order, axis=1)
        for column in ("impressions", "successes", "weights")
    )
    impressions, successes, weights = columns
    analysis = analyze(impressions, successes, plan, weights)
    judge = Judge(analysis, detail(analysis, plan), plan, daily_impressions)
    for row, experiment in enumerate(experiments):
        arms = [int(arm) for arm in np.argsort(order[row])]
        verdict = judge.verdict(row, [experiment.variant_ids[arm] for arm in order[row]])
        yield json.dumps(
            {
                "experiment_id": experiment.experiment_id,
                "variants": [
                    _variant(analysis, row, arm, name) for arm, name in zip(arms, experiment.variant_ids, strict=True)
                ],
                "p_value": _number(analysis.p_value[row]),
                "p_value_sequential": _number(analysis.p_value_sequential[row]),
                "srm_p": _number(analysis.srm_p[row]),
                "verdict": verdict.verdict,
                "reason": f"{verdict.reason} ({verdict.rule})",
            }
        )


def _variant(analysis: Analysis, row: int, arm: int, variant_id: str) -> dict[str, object]:
    measures = ("rate", "ci_low", "ci_high", "p_best", "expected_loss")
    return {
        "variant_id": variant_id,
        "impressions": int(analysis.impressions[row, arm]),
        "successes": int(analysis.successes[row, arm]),
        **{measure: _number(getattr(analysis, measure)[row, arm]) for measure in measures},
    }


def _number(value: float) -> float | None:
    """Rounded to what is meant, so that equal inputs print equal bytes; None for what is not measured."""
    return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")
