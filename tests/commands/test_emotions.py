"""`threads-agent emotions`: one answer per id, bad lines named and the others answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from threads_agent_dagster.commands.emotions import BATCH, app

TEXT = "It was bad. Then it got better. Now I am happy!"


def run(command: str, lines: list[str]) -> tuple[list[dict[str, Any]], str, int]:
    result = CliRunner().invoke(app, [command, "--scorer", "vader"], input="\n".join(lines))
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr, result.exit_code


def line(key: str | int, text: object = TEXT) -> str:
    return json.dumps({"id": key, "text": text})


def test_every_text_is_scored_in_order_across_batches() -> None:
    answers, errors, code = run("score", [line(number) for number in range(BATCH + 3)])
    assert (errors, code) == ("", 0)
    assert [answer["id"] for answer in answers] == list(range(BATCH + 3))
    assert answers[0]["sentiment"]["compound"] > 0


def test_an_arc_comes_with_its_segments_and_transitions() -> None:
    (answer,), _, code = run("trajectory", [line("a")])
    assert code == 0
    assert [segment["text"] for segment in answer["segments"]] == TEXT.replace(". ", ".|").split("|")
    assert answer["transitions"] == []  # VADER tells polarity only, and a transition is one of emotions
    assert answer["trajectory_type"] == "rising"


@pytest.mark.parametrize("command", ["score", "trajectory"])
def test_bad_lines_are_named_and_the_others_answered(command: str) -> None:
    bad = ["{", "[]", line("x", 3), json.dumps({"text": TEXT}), json.dumps({"id": True, "text": TEXT})]
    answers, errors, code = run(command, [line("first"), *bad, "", line("last")])
    assert code == 1
    assert [answer["id"] for answer in answers] == ["first", "last"]
    numbers = [error.split(":")[0] for error in errors.splitlines()]
    assert numbers == [f"line {number}" for number in range(2, 7)] + ["5 bad lines, 2 answered"]


def test_a_lexicon_scores_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("word,sentiment\nhappy,joy\n", encoding="utf-8")
    monkeypatch.setenv("THREADS_AGENT_EMOTION_SCORER", "lexicon")
    monkeypatch.setenv("THREADS_AGENT_EMOTION_LEXICON", str(table))
    result = CliRunner().invoke(app, ["score"], input=line(1, "I am happy"))
    answer = json.loads(result.stdout)
    assert answer["scorer"].startswith("mine@")
    assert answer["emotions"]["joy"] == 0.5
