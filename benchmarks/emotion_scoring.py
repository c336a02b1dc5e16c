"""Emotions: text to trajectory beside VADER alone, per CPU-second; memory while texts stream; both scorers' figures.

The texts are the headlines and ledes of real experiments (Upworthy Research Archive, Matias et al. 2021), as posts.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

from benchmarks.harness import Limit, Row, Size, compare, cpu_seconds
from threads_agent_dagster.db.emotions import PostText
from threads_agent_dagster.domain.emotions import Scorer, load_scorer
from threads_agent_dagster.work.emotions import full_text, score

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "upworthy_experiments.csv"
MEASURE_MEMORY = """
import json, re, sys
from pathlib import Path
from threads_agent_dagster.commands.emotions import app
try:
    app(["trajectory", "--scorer", "fast"])
finally:
    # Not ru_maxrss: it begins with what the process that started this one had.
    peak = re.search(r"VmHWM:[^0-9]+([0-9]+) kB", Path("/proc/self/status").read_text())
    print(int(peak[1]) / 1024, file=sys.stderr)
"""


def run(size: Size) -> list[Row]:
    posts = _posts(4_000 if size is Size.FULL else 40)
    rounds = 5 if size is Size.FULL else 1
    rows = [
        _speed("fast", posts, rounds, Limit(at_most=2.0)),
        _speed("accurate", posts[: max(20, len(posts) // 20)], rounds, None),
    ]
    return [*rows, _memory(posts, 20 if size is Size.FULL else 2)]


def _posts(count: int) -> list[PostText]:
    with DATA.open(encoding="utf-8") as file:
        found = [(row["headline"], row["lede"]) for row, _ in zip(csv.DictReader(file), range(count), strict=False)]
    return [PostText(f"post:{n}", n, "p", date(2026, 1, 1), hook, body) for n, (hook, body) in enumerate(found)]


def _speed(name: str, posts: list[PostText], rounds: int, limit: Limit | None) -> Row:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    scorer, vader = load_scorer(name), SentimentIntensityAnalyzer()
    texts = [full_text(post.hook, post.body) for post in posts]
    _assert_right(posts, scorer)
    return compare(
        "emotions",
        f"text to trajectory of {len(posts):,} posts, scorer {name}; VADER reads each post once and whole",
        "CPU-s",
        subject=lambda: cpu_seconds(lambda: score(posts, scorer)),
        peer=("VADER alone", lambda: cpu_seconds(lambda: [vader.polarity_scores(text) for text in texts])),
        rounds=rounds,
        limit=limit,
    )


def _assert_right(posts: list[PostText], scorer: Scorer) -> None:
    """Alone and in the batch a post gets the same arc; also imports what would be timed otherwise."""
    found = score(posts[:20], scorer)
    (alone,) = score(posts[7:8], scorer).values()
    assert len(found) == 20
    assert found[posts[7].key].trajectory.trajectory_type == alone.trajectory.trajectory_type


def _memory(posts: list[PostText], times: int) -> Row:
    """Peak memory of the command over `times` as many lines, beside that over the lines once."""
    lines = "".join(json.dumps({"id": post.key, "text": full_text(post.hook, post.body)}) + "\n" for post in posts)
    return compare(
        "emotions",
        f"peak memory of `emotions trajectory` over {times * len(posts):,} lines",
        "MB",
        subject=lambda: _peak(lines * times, times * len(posts)),
        peer=(f"over {len(posts):,} lines", lambda: _peak(lines, len(posts))),
        rounds=1,
        limit=Limit(at_most=1.1),
    )


def _peak(lines: str, count: int) -> float:
    command = [sys.executable, "-c", MEASURE_MEMORY]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == count
    return float(done.stderr.splitlines()[-1])
