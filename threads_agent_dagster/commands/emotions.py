"""`threads-agent emotions ...`: JSONL on stdin, JSONL on stdout, one answer per id; everything else goes to stderr."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from threads_agent_dagster.domain.emotions import (
    EMOTIONS,
    EMPTY_TEXT,
    POLARITIES,
    UNSUPPORTED_LANGUAGE,
    Scorer,
    Trajectory,
    load_scorer,
    named,
    trajectories,
)

app = typer.Typer(no_args_is_help=True)

BATCH = 256  # lines held in memory at a time

Item = tuple[str | int, str]
Answer = dict[str, Any]
ScorerName = Annotated[str, typer.Option("--scorer", help="accurate, fast or vader.")]


@app.command()
def score(scorer: ScorerName = "accurate") -> None:
    """Score each text: {"id","text"} lines in, {"id","emotions","sentiment","scorer"} lines out."""
    _stream(load_scorer(scorer), _scores)


@app.command()
def trajectory(scorer: ScorerName = "accurate") -> None:
    """Shape each text's arc: {"id","text"} lines in, one trajectory with its segments and transitions out."""
    _stream(load_scorer(scorer), _arcs)


def _stream(scorer: Scorer, answers: Callable[[Sequence[str], Scorer], Iterator[Answer]]) -> None:
    source = _Source()
    done = 0
    for batch in _batched(source):
        for (key, _), answer in zip(batch, answers([text for _, text in batch], scorer), strict=True):
            sys.stdout.write(json.dumps({"id": key} | answer) + "\n")
        sys.stdout.flush()
        done += len(batch)
        _show_progress(done)
    if source.bad_lines:
        sys.stderr.write(f"{source.bad_lines} bad lines, {done} answered\n")
        raise typer.Exit(1)


class _Source:
    """The items on stdin; lines that hold none are reported by number and counted."""

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
        raise ValueError('expected an object {"id", "text"}')
    key, text = found.get("id"), found.get("text")
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise ValueError("id must be a string or an integer")
    if not isinstance(text, str):
        raise ValueError("text must be a string")
    return key, text


def _batched(source: _Source) -> Iterator[list[Item]]:
    items = iter(source)
    while batch := list(itertools.islice(items, BATCH)):
        yield batch


def _show_progress(done: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done:,} texts")


def _scores(texts: Sequence[str], scorer: Scorer) -> Iterator[Answer]:
    scores = scorer.score(texts)
    for row, text in enumerate(texts):
        yield {
            "emotions": named(EMOTIONS, scores.emotions[row]),
            "sentiment": named(POLARITIES, scores.sentiment[row]),
            "scorer": scorer.version,
        } | ({} if scores.supported[row] else {"reason": UNSUPPORTED_LANGUAGE if text.strip() else EMPTY_TEXT})


def _arcs(texts: Sequence[str], scorer: Scorer) -> Iterator[Answer]:
    return map(_arc, trajectories(texts, scorer))


def _arc(found: Trajectory) -> Answer:
    answer: Answer = {
        "trajectory_type": found.trajectory_type,
        "segments": [asdict(segment) for segment in found.segments],
        "transitions": [asdict(transition) for transition in found.transitions],
        "confidence": found.confidence,
    }
    return answer if found.reason is None else answer | {"reason": found.reason}
