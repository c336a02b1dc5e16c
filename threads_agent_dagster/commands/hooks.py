"""`threads-agent hooks ...`: JSONL on stdin, JSONL on stdout, one answer per id; everything else goes to stderr."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from threads_agent_dagster.commands.jsonl import Answer, answer_lines
from threads_agent_dagster.domain.hooks import Explanation, Offer, explain, freshness, predicted_logits

app = typer.Typer(no_args_is_help=True)

BATCH = 64  # offers held in memory at a time; texts that they share are embedded once
LARGEST = 6  # effects shown per hook

ExplainOption = Annotated[bool, typer.Option("--explain", help="Add what moved each score.")]


@app.callback()
def hooks() -> None:
    """Hooks: the first lines of posts."""


@app.command()
def rank(with_reasons: ExplainOption = False) -> None:
    """Score competing hooks: {"id","hooks","body"} lines in, {"id","scores"} lines out; higher = expected to win.

    A line may name hooks shown before, "recent": [{"hook","age_days"}]; --explain then says how fresh each pattern is.
    """
    answer_lines(("id", "hooks", "body"), _offer, lambda offers: _answers(offers, with_reasons), BATCH)


def _offer(found: dict[str, Any]) -> Offer:
    hooks, body = found.get("hooks"), found.get("body")
    if not isinstance(hooks, list) or not all(isinstance(hook, str) for hook in hooks):
        raise ValueError("hooks must be a list of strings")
    if body is not None and not isinstance(body, str):
        raise ValueError("body must be a string, or null when there is none")
    return Offer([_encodable(hook) for hook in hooks], _encodable(body or ""), _recent(found.get("recent") or []))


def _recent(shown: object) -> list[tuple[str, float]]:
    if not isinstance(shown, list):
        raise ValueError('recent must be a list of {"hook","age_days"}')
    return [_earlier(one) for one in shown]


def _earlier(one: object) -> tuple[str, float]:
    hook, age = (one.get("hook"), one.get("age_days")) if isinstance(one, dict) else (None, None)
    if not isinstance(hook, str) or isinstance(age, bool) or not isinstance(age, int | float) or not 0 <= age < 1e6:
        raise ValueError('recent must be a list of {"hook","age_days"}, ages 0 or more')
    return _encodable(hook), float(age)


def _encodable(text: str) -> str:
    """JSON may carry half of a surrogate pair, which no tokenizer takes; it becomes a replacement mark."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _answers(offers: Sequence[Offer], with_reasons: bool) -> Iterator[Answer]:
    for offer, predicted in zip(offers, predicted_logits(offers), strict=True):
        answer: Answer = {"scores": [float(score) for score in predicted.mean]}
        if with_reasons:
            explained = zip(offer.hooks, explain(offer.hooks, offer.body), strict=True)
            answer["reasons"] = [_reason(one) | {"freshness": freshness(hook, offer.recent)} for hook, one in explained]
        yield answer


def _reason(explanation: Explanation) -> dict[str, Any]:
    largest = dict(itertools.islice(explanation.effects.items(), LARGEST))
    return {"sd": explanation.sd, "effects": largest, "patterns": list(explanation.patterns)}
