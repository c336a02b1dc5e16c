from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from threads_agent_dagster.commands.hooks import BATCH, app
from threads_agent_dagster.domain.hooks import rank

HOOKS = ["Report published", "He Gave Away His Last Dollar. Here's What Happened Next."]
BODY = "A man with nothing shared what he had."


def run(lines: list[str], *options: str) -> tuple[list[dict[str, Any]], str, int]:
    result = CliRunner().invoke(app, ["rank", *options], input="\n".join(lines))
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr, result.exit_code


def offer(key: str | int, hooks: object = HOOKS, body: object = BODY) -> str:
    return json.dumps({"id": key, "hooks": hooks, "body": body})


def test_one_line_per_id_with_exactly_the_promised_keys() -> None:
    answers, errors, code = run([offer("b"), offer(7, HOOKS[:1])])
    assert (errors, code) == ("", 0)
    assert [list(answer) for answer in answers] == [["id", "scores"]] * 2
    assert [answer["id"] for answer in answers] == ["b", 7]
    assert answers[0]["scores"] == pytest.approx(rank(HOOKS, BODY))
    assert answers[1]["scores"] == [0.0]


def test_every_id_is_answered_across_batches_and_in_order() -> None:
    answers, _, _ = run([offer(number, ["a", "b"][: number % 3]) for number in range(BATCH + 3)])
    assert [answer["id"] for answer in answers] == list(range(BATCH + 3))
    assert [len(answer["scores"]) for answer in answers] == [number % 3 for number in range(BATCH + 3)]


def test_bad_lines_are_named_and_the_others_answered() -> None:
    bad = ["{", "[]", "[" * 100_000, offer("x", "one string"), offer("x", [1]), offer("x", body=3), '{"hooks": []}']
    answers, errors, code = run([offer("first"), *bad, "", offer("last")])
    assert code == 1
    assert [answer["id"] for answer in answers] == ["first", "last"]
    numbers = [line.split(":")[0] for line in errors.splitlines()]
    assert numbers == [f"line {number}" for number in range(2, 9)] + ["7 bad lines, 2 answered"]


def test_a_body_may_be_unknown() -> None:
    answers, _, code = run([offer("null", body=None), offer("empty", body=""), json.dumps({"id": 1, "hooks": HOOKS})])
    assert code == 0
    assert answers[0]["scores"] == answers[1]["scores"] == answers[2]["scores"]


def test_half_a_surrogate_pair_is_still_answered() -> None:
    answers, _, code = run(['{"id": 1, "hooks": ["\\ud83d", "\\ud83d\\ude4f thanks"], "body": "\\ude4f"}'])
    assert code == 0
    assert len(answers[0]["scores"]) == 2


def test_reasons_are_added_on_request() -> None:
    (answer,), _, _ = run([offer("a")], "--explain")
    assert list(answer) == ["id", "scores", "reasons"]
    story = answer["reasons"][1]
    assert list(story) == ["sd", "effects", "patterns", "freshness"]
    assert story["patterns"] == ["pointing words", "question words", "curiosity gap"]
    assert len(story["effects"]) == 6
    assert set(story["freshness"].values()) == {1.0}


def test_a_pattern_shown_lately_is_less_fresh_beside_an_equal_score() -> None:
    plain = json.loads(offer("a"))
    worn = plain | {"recent": [{"hook": "Why this?", "age_days": 0}, {"hook": "What next?", "age_days": 14}]}
    (fresh,), _, _ = run([json.dumps(plain)], "--explain")
    (tired,), _, _ = run([json.dumps(worn)], "--explain")
    assert tired["scores"] == fresh["scores"]
    assert tired["reasons"][1]["freshness"]["question words"] == pytest.approx(1 / 2.5)


@pytest.mark.parametrize("recent", ['"x"', '["x"]', '[{"hook": "x"}]', '[{"hook": "x", "age_days": -1}]'])
def test_a_history_that_is_none_is_named(recent: str) -> None:
    answers, errors, code = run([offer("a")[:-1] + f', "recent": {recent}}}'])
    assert (answers, code) == ([], 1)
    assert errors.startswith("line 1: recent must be a list of")
