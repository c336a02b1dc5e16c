"""The ledger test: everything dies by a seeded schedule while work flows; nothing acknowledged is lost or doubled.

python -m tests.chaos --tier P|N --seed S --seconds T --report FILE. Exit code 0 only when the claim held.
"""

from __future__ import annotations

import argparse
import os
import platform as machine
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.chaos.strikes import UNFINISHED, WEIGHTS, ZOMBIES, Platform, Strikes, running
from tests.chaos.traffic import Ledger, Traffic, Verdict, judge
from threads_agent_dagster.db import pending
from threads_agent_dagster.db.engine import make_engine

SECRET = "known to GitHub and to us"
QUESTIONS = {
    "waiting": "SELECT asset || ' ' || key || coalesce(': ' || error, '') FROM pending",
    "leased to nobody": "SELECT asset || ' ' || key FROM pending WHERE claim IS NOT NULL",
    "runs started without a worker": UNFINISHED,
}
SETTLE_SECONDS = 300.0


@dataclass(frozen=True)
class Tier:
    seconds: float
    pause: float  # s between a recovery and the next strike, at most
    per_second: float
    everything: int  # times that all of it is killed at once
    weights: dict[str, int]


TIERS = {"P": Tier(15, 1.0, 4, 0, WEIGHTS), "N": Tier(240, 1.0, 6, 1, WEIGHTS | ZOMBIES)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--tier", choices=TIERS, default="P")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="how long it strikes; default: the tier's")
    parser.add_argument("--report", type=Path, help="also write the report to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ta-chaos-") as folder:
        Path(folder).chmod(0o711)
        with running(Path(folder), SECRET) as platform:
            text, holds = _run(platform, options.tier, options.seed, options.seconds or TIERS[options.tier].seconds)
    sys.stdout.write(text)
    if options.report:
        options.report.write_text(text)
    return 0 if holds else 1


def _run(platform: Platform, tier_name: str, seed: int, seconds: float) -> tuple[str, bool]:
    tier = TIERS[tier_name]
    unsafe = platform.unsafe_settings()
    ledger, chance = Ledger(platform.folder / "ledger.jsonl"), random.Random(seed)
    api_key, places = platform.home.api_key.read_text().strip(), platform.endpoints
    traffic = Traffic(places.orchestrator, places.achievements, api_key, SECRET, ledger, seed, tier.per_second)
    strikes, until = Strikes(platform, chance, tier.weights), time.monotonic() + seconds
    with traffic.flowing():
        while time.monotonic() < until:
            strikes.once()
            time.sleep(chance.uniform(0, tier.pause))
        for _ in range(tier.everything):
            strikes.once("everything")
            traffic.orchestrator = platform.endpoints.orchestrator
            traffic.achievements = platform.endpoints.achievements
        time.sleep(2)
    strikes.finish()
    left, revived = _settle(platform)
    verdict = judge(platform.endpoints.database_url, ledger)
    holds = verdict.holds and not any([*left.values(), unsafe, traffic.forged_accepted])
    return _report(tier_name, seed, seconds, traffic, strikes, verdict, left, revived, unsafe, holds), holds


def _settle(platform: Platform) -> tuple[dict[str, list[str]], int]:
    """What is left of work and runs when nothing is asked for any more, and how many rows were revived meanwhile.

    A row whose worker was killed five times is dead by design; it is given back as `redrive` does.
    """
    engine, revived, until = make_engine(platform.endpoints.database_url), 0, time.monotonic() + SETTLE_SECONDS
    while True:
        with engine.begin() as connection:
            revived += len(pending.redrive(connection))
        left = {name: platform.ask(question) for name, question in QUESTIONS.items()}
        if not any(left.values()) or time.monotonic() > until:
            engine.dispose()
            return left, revived
        time.sleep(1)


def _report(
    tier: str,
    seed: int,
    seconds: float,
    traffic: Traffic,
    strikes: Strikes,
    verdict: Verdict,
    left: dict[str, list[str]],
    revived: int,
    unsafe: list[str],
    holds: bool,
) -> str:
    memory = psutil.virtual_memory().total / 2**30
    lines = [
        f"# Ledger test, tier {tier}: {'held' if holds else 'FAILED'}",
        "",
        f"Seed {seed}, {seconds:.0f} s of strikes, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. Machine: "
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {machine.system()} {machine.machine()}, Python "
        f"{machine.python_version()}; load at the end {os.getloadavg()[1]:.1f} (5 min).",
        f"Settings that would weaken the proof: {', '.join(unsafe) or 'none'}.",
        "",
        "| | Acknowledged | Applied | Lost | Doubled |",
        "|---|---|---|---|---|",
        *(
            f"| {kind} | {verdict.acknowledged[kind]} | {verdict.applied[kind]} | {len(verdict.lost[kind])} "
            f"| {len(verdict.doubled[kind])} |"
            for kind in verdict.acknowledged
        ),
        "",
        f"Forged deliveries: {traffic.sent['forged']} sent, {traffic.forged_accepted} accepted.",
        "",
        "| Struck | Times | Back after, median s | max s |",
        "|---|---|---|---|",
        *(_recovery(kind, found) for kind, found in sorted(strikes.recoveries.items())),
        "",
        f"Strikes at a worker that found none: {strikes.missed}. Revived after five killed workers: {revived}. "
        + " ".join(f"{name.capitalize()}: {len(rows)}." for name, rows in left.items()),
        "",
    ]
    samples = [*(f"{name}: {row}" for name, rows in left.items() for row in rows[:5])]
    samples += [f"lost {key}" for keys in verdict.lost.values() for key in keys[:5]]
    samples += [f"doubled {key}" for keys in verdict.doubled.values() for key in keys[:5]]
    return "\n".join([*lines, *(f"- {one}" for one in samples), *([""] if samples else [])])


def _recovery(kind: str, seconds: list[float]) -> str:
    if kind == "stopped worker":  # nothing has to come back: it goes on by itself, and the fence refuses it
        return f"| {kind} | {len(seconds)} | – | – |"
    return f"| {kind} | {len(seconds)} | {statistics.median(seconds):.1f} | {max(seconds):.1f} |"


if __name__ == "__main__":
    raise SystemExit(main())
