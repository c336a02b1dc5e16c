from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy import text as sql
from typer.testing import CliRunner

from threads_agent_dagster.commands.experiments import app
from threads_agent_dagster.domain.experiments import Plan
from threads_agent_dagster.errors import InvalidInput, NotFound
from threads_agent_dagster.work import experiments, verdicts
from threads_agent_dagster.work.drain import Origin, drain

HEADER = "experiment_id,variant_id,impressions,successes\n"


def analyze(text: str, *options: str) -> tuple[list[dict[str, Any]], str, int]:
    result = CliRunner().invoke(app, ["analyze", *options], input=text)
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr, result.exit_code


def test_one_line_per_experiment_with_exactly_the_promised_keys() -> None:
    answers, errors, code = analyze(HEADER + "e2,a,5000,500\ne1,x,10,1\ne2,b,5000,650\ne1,y,10,2\ne1,z,11,0\n")
    assert (errors, code) == ("", 0)
    assert [answer["experiment_id"] for answer in answers] == ["e2", "e1"]
    assert list(answers[0]) == [
        "experiment_id", "variants", "p_value", "p_value_sequential", "srm_p", "verdict", "reason",
    ]  # fmt: skip
    assert list(answers[0]["variants"][1]) == [
        "variant_id", "impressions", "successes", "rate", "ci_low", "ci_high", "p_best", "expected_loss",
    ]  # fmt: skip
    assert [variant["variant_id"] for variant in answers[1]["variants"]] == ["x", "y", "z"]
    assert answers[0]["verdict"] == "ship"
    assert answers[0]["p_value"] == pytest.approx(2.58e-6, rel=1e-2)


def test_wrong_lines_are_named_and_the_good_experiments_answered() -> None:
    lines = [
        "bad1,a,100,-3",
        "bad1,b,100,5",
        "good,a,100,5",
        "bad2,a,10,11",
        'bad3,"a,10,1',
        "bad4,a,10",
        "bad5,a,1.5,1",
        ",a,10,1",
        "bad6,a,10,1",
        "bad6,a,10,1",
        "",
        "good,b,100,6",
    ]
    answers, errors, code = analyze(HEADER + "\n".join(lines))
    assert [answer["experiment_id"] for answer in answers] == ["good"]
    assert len(answers[0]["variants"]) == 2
    assert [line.split(":")[0] for line in errors.splitlines()] == [f"line {n}" for n in (2, 5, 6, 7, 8, 9, 11)]
    assert code == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: the header lacks experiment_id, variant_id, impressions, successes"),
        ("experiment_id,variant_id,clicks\n", "line 1: the header lacks impressions, successes"),
        ("\n" + HEADER, "line 1: the header lacks experiment_id, variant_id, impressions, successes"),
        ('"' + HEADER, "line 1: unexpected end of data"),
    ],
)
def test_without_a_header_nothing_is_answered(text: str, complaint: str) -> None:
    assert analyze(text) == ([], complaint + "\n", 1)


def test_bytes_that_are_not_text_are_named() -> None:
    result = CliRunner().invoke(app, ["analyze"], input=HEADER.encode() + b"e,a,1,0\ne,\xff,1,0\n")
    assert (result.stdout, result.stderr, result.exit_code) == ("", "line 3: not UTF-8\n", 1)


def test_a_header_alone_is_an_empty_answer() -> None:
    assert analyze(HEADER) == ([], "", 0)


def test_ids_may_hold_anything_but_a_line_feed() -> None:
    odd = ["a,b", 'say "hi"', "line\u2028separator", "next\x85line", "form\x0cfeed", "\N{GRINNING FACE}", "=1+1"]
    quoted = ['"' + name.replace('"', '""') + '"' for name in odd]
    text = HEADER + "".join(f"{name},{arm},100,{i}\n" for name in quoted for i, arm in enumerate(quoted))
    answers, errors, code = analyze("\ufeff" + text.replace("\n", "\r\n"))
    assert (errors, code) == ("", 0)
    assert [answer["experiment_id"] for answer in answers] == odd
    assert [variant["variant_id"] for variant in answers[0]["variants"]] == odd


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("e,a,1000000000001,1", "line 2: impressions: 1000000000001 is more than 1000000000000"),
        ("e,a,nan,1", "line 2: impressions: 'nan' is not a whole number of 0 or more"),
        ("e,a,\u0661\u0660,1", "line 2: impressions: '\u0661\u0660' is not a whole number of 0 or more"),
        ("e,a," + "9" * 5000 + ",1", "line 2: impressions: " + "9" * 40 + " is more than 1000000000000"),
        ("e,a,10,1e0", "line 2: successes: '1e0' is not a whole number of 0 or more"),
    ],
)
def test_counts_that_are_none_are_named(line: str, complaint: str) -> None:
    answers, errors, code = analyze(f"{HEADER}{line}\n")
    assert (answers, code) == ([], 1)
    assert errors.startswith(complaint)


def test_nothing_measured_is_null_and_p_values_are_never_null() -> None:
    (answer,), _, _ = analyze(HEADER + "e,a,0,0\ne,b,0,0\n")
    assert [variant["rate"] for variant in answer["variants"]] == [None, None]
    assert [variant["ci_low"] for variant in answer["variants"]] == [None, None]
    assert (answer["p_value"], answer["p_value_sequential"], answer["srm_p"]) == (1.0, 1.0, 1.0)


def test_the_control_may_stand_anywhere() -> None:
    text = HEADER + "e,t,5000,650\ne,control,5000,500\n"
    (named,), _, _ = analyze(text)
    (first,), _, _ = analyze(text, "--control", "nobody")
    assert [variant["variant_id"] for variant in named["variants"]] == ["t", "control"]
    assert [variant["rate"] for variant in named["variants"]] == [0.13, 0.1]
    assert (named["verdict"], first["verdict"]) == ("ship", "roll back")


def test_weights_are_the_planned_split() -> None:
    counts = "e,a,9000,900{}\ne,b,1000,100{}\n"
    (equal,), _, _ = analyze(HEADER + counts.format("", ""))
    (weighted,), _, _ = analyze(HEADER.replace("\n", ",weight\n") + counts.format(",9", ",1"))
    assert (equal["verdict"], weighted["srm_p"]) == ("unhealthy", 1.0)
    _, errors, code = analyze(HEADER.replace("\n", ",weight\n") + counts.format(",9", ",-1"))
    assert errors.startswith("line 3: weight: '-1' is not a positive number")
    assert code == 1


UNITS = "experiment_id,variant_id,unit_id,impressions,successes,before\n"


def test_posts_are_compared_with_their_earlier_rates() -> None:
    posts = [
        (arm, i, 20 + 7 * (i % 5) + (12 if arm == "b" else 0), 0.02 + 0.007 * (i % 5))
        for arm in "abc"
        for i in range(20)
    ]
    lines = "".join(f"e,{arm},{arm}{i},1000,{won},{before}\n" for arm, i, won, before in posts)
    result = CliRunner().invoke(app, ["units"], input=UNITS + lines)
    (answer,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert (answer["control"], result.exit_code) == ("a", 0)
    better, same = answer["comparisons"]
    assert (better["variant_id"], same["variant_id"]) == ("b", "c")
    assert (better["difference"], same["difference"]) == pytest.approx((0.012, 0))
    assert better["variance_removed"] == pytest.approx(1)
    assert better["p_holm"] < 1e-6
    assert same["p_holm"] == 1


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("e,a,1,10,1,0.1\ne,b,1,10,1,0.1\n", "line 3: unit_id: '1' is empty or stands twice in experiment 'e'"),
        ("e,a,1,10,1,2\n", "line 2: before: '2' is not a rate between 0 and 1"),
        ("e,a,1,10,1,\n", "line 2: before: '' is not a rate between 0 and 1"),
        ("e,a,1,10,1,0.1\n", "experiment 'e': variant_id: 'a' is the only variant"),
        ("e,a,1,10,1,0.1\ne,b,2,10,1,0.1\n", "experiment 'e': unit_id: fewer than 5 units in an arm"),
    ],
)
def test_units_that_cannot_be_compared_are_named(lines: str, complaint: str) -> None:
    result = CliRunner().invoke(app, ["units"], input=UNITS + lines)
    assert (result.stdout, result.exit_code) == ("", 1)
    assert result.stderr.startswith(complaint)


def test_the_same_input_gives_the_same_bytes() -> None:
    text = HEADER + "".join(f"e{i},{arm},{1000 + i},{30 + i % 7}\n" for i in range(50) for arm in "abc")
    assert (
        CliRunner().invoke(app, ["analyze"], input=text).stdout
        == CliRunner().invoke(app, ["analyze"], input=text).stdout
    )


def test_plan_says_how_long_to_run_and_what_can_be_seen() -> None:
    options = ["--baseline", "0.1", "--mde", "0.2", "--stopping-rule", "fixed", "--daily-impressions", "1000"]
    result = CliRunner().invoke(app, ["plan", *options, "--days", "8"])
    answer = json.loads(result.stdout)
    assert (answer["impressions_per_variant"], answer["impressions"], answer["days"]) == (3841, 7682, 8)
    assert answer["plan"]["horizon"] == 3841
    assert len(answer["plan_sha256"]) == 64
    assert answer["minimum_detectable_uplift"] == pytest.approx(0.196, abs=0.001)
    assert CliRunner().invoke(app, ["plan", *options, "--days", "8"]).stdout == result.stdout


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ("--baseline 2", "baseline"),
        ("--baseline 0.1 --mde 10", "mde"),
        ("--baseline 0.1 --daily-impressions 0", "--daily-impressions"),
        ("--baseline 0.1 --daily-impressions inf", "--daily-impressions"),
        ("--baseline 0.1 --daily-impressions 1e-300", "--daily-impressions"),
        ("--baseline 0.1 --days 5", "--daily-impressions"),
        ("--baseline 0.1 --daily-impressions 100 --days nan", "--days"),
        ("--baseline 0.1 --daily-impressions 100 --days -5", "--days"),
    ],
)
def test_impossible_plans_are_refused(options: str, field: str) -> None:
    refused = CliRunner().invoke(app, ["plan", *options.split()]).exception
    assert isinstance(refused, InvalidInput)
    assert refused.field == field


def _stored_verdict(engine: Engine) -> None:
    statements = [
        "INSERT INTO experiments (id, name) VALUES ('x', 'Hooks')",
        "INSERT INTO variants (variant_id, experiment_id, is_control) VALUES ('a', 'x', true), ('b', 'x', false)",
        f"UPDATE experiments SET status = 'running', started_at = now(), plan_hash = '{Plan().sha256()}'",
        "INSERT INTO observations (event_id, variant_id, impressions, successes, observed_at) "
        "VALUES ('1', 'a', 5000, 500, now()), ('2', 'b', 5000, 650, now())",
    ]
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sql(statement))
    for job in (experiments.job(), verdicts.job()):
        drain(engine, job, None, Origin("run", job.code_version))


def test_verify_says_that_the_bytes_are_the_same_and_fails_when_they_are_not(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    _stored_verdict(engine)
    result = CliRunner().invoke(app, ["verify", "x"])
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["same"], answer["current"]) == (0, True, True)
    assert answer["stored_sha256"] == answer["recomputed_sha256"]
    with engine.begin() as connection:
        connection.execute(sql("UPDATE experiment_verdicts SET document = replace(document, '650', '560')"))
    forged = CliRunner().invoke(app, ["verify", "x"])
    assert (forged.exit_code, json.loads(forged.stdout)["same"]) == (1, False)
    assert isinstance(CliRunner().invoke(app, ["verify", "nobody"]).exception, NotFound)
