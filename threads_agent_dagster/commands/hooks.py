"""`threads-agent hooks ...`: JSONL on stdin, JSONL on stdout, one answer per id; everything else goes to stderr."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from threads_agent_dagster.domain.hooks import Explanation, Offer, explain, predicted_logits

app = typer.Typer(no_args_is_help=True)

BATCH = 64  # offers held in memory at a time; texts that they share are embedded once
LARGEST = 6  # effects shown per hook

Item = tuple[str | int, Offer]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Add what moved each score.")]


@app.callback()
def hooks() -> None:
    """Hooks: the first lines of posts."""


@app.command()
def rank(with_reasons: ExplainOption = False) -> None:
    """Score competing hooks: {"id","hooks","body"} lines in, {"id","scores"} lines out; higher = expected to win."""
    source = _Source()
    answered = 0
    for batch in _batched(source):
        for answer in _answers(batch, with_reasons):
            sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        answered += len(batch)
    if source.bad_lines:
        sys.stderr.write(f"{source.bad_lines} bad lines, {answered} answered\n")
        raise typer.Exit(1)


class _Source:
    """The offers on stdin; lines that hold none are reported by number and counted."""

    def __init__(self) -> None:
        self.bad_lines = 0

    def __iter__(self) -> Iterator[Item]:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            if not line.strip():
                continue
            try:
                yield _item(line)
            except (ValueError, RecursionError) as error:
                self.bad_lines += 1
                sys.stderr.write(f"line {number}: {error}\n")


def _item(line: bytes) -> Item:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError('expected an object {"id", "hooks", "body"}')
    key, hooks, body = found.get("id"), found.get("hooks"), found.get("body")
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise ValueError("id must be a string or an integer")
    if not isinstance(hooks, list) or not all(isinstance(hook, str) for hook in hooks):
        raise ValueError("hooks must be a list of strings")
    if body is not None and not isinstance(body, str):
        raise ValueError("body must be a string, or null when there is none")
    return key, Offer([_encodable(hook) for hook in hooks], _encodable(body or ""))


def _encodable(text: str) -> str:
    """JSON may carry half of a surrogate pair, which no tokenizer takes; it becomes a replacement mark."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _batched(source: _Source) -> Iterator[list[Item]]:
    items = iter(source)
    while batch := list(itertools.islice(items, BATCH)):
        yield batch


def _answers(batch: list[Item], with_reasons: bool) -> Iterator[dict[str, Any]]:
    for (key, offer), predicted in zip(batch, predicted_logits([offer for _, offer in batch]), strict=True):
        answer: dict[str, Any] = {"id": key, "scores": [float(score) for score in predicted.mean]}
        if with_reasons:
            answer["reasons"] = [_reason(explanation) for explanation in explain(offer.hooks, offer.body)]
        yield answer


def _reason(explanation: Explanation) -> dict[str, Any]:
    largest = dict(itertools.islice(explanation.effects.items(), LARGEST))
    return {"sd": explanation.sd, "effects": largest, "patterns": list(explanation.patterns)}
