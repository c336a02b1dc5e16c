"""`threads-agent emotions ...`: JSONL on stdin, JSONL on stdout, one answer per id; everything else goes to stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from threads_agent_dagster.commands.context import read_settings
from threads_agent_dagster.commands.jsonl import Answer, answer_lines
from threads_agent_dagster.domain.emotions import (
    EMOTIONS,
    EMPTY_TEXT,
    POLARITIES,
    UNSUPPORTED_LANGUAGE,
    Scorer,
    Trajectory,
    named,
    trajectories,
)
from threads_agent_dagster.work.scorers import choose

app = typer.Typer(no_args_is_help=True)

BATCH = 256  # lines held in memory at a time

ScorerName = Annotated[
    str | None,
    typer.Option("--scorer", help="accurate, fast, vader, lexicon or llm. [default: THREADS_AGENT_EMOTION_SCORER]"),
]


@app.command()
def score(scorer: ScorerName = None) -> None:
    """Score each text: {"id","text"} lines in, {"id","emotions","sentiment","scorer"} lines out."""
    _stream(choose(read_settings(None), scorer).load(), _scores)


@app.command()
def trajectory(scorer: ScorerName = None) -> None:
    """Shape each text's arc: {"id","text"} lines in, one trajectory with its segments and transitions out."""
    _stream(choose(read_settings(None), scorer).load(), _arcs)


def _stream(scorer: Scorer, answers: Callable[[Sequence[str], Scorer], Iterator[Answer]]) -> None:
    answer_lines(("id", "text"), _text, lambda texts: answers(texts, scorer), BATCH)


def _text(found: dict[str, Any]) -> str:
    text = found.get("text")
    if not isinstance(text, str):
        raise ValueError("text must be a string")
    return text


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
