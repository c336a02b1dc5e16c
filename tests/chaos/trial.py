"""One trial: a platform, traffic, strikes and the verdict, by the figures of a tier."""

from __future__ import annotations

import math
import os
import platform as machine
import random
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.chaos.canaries import Canaries
from tests.chaos.strikes import GOALS, UNFINISHED, Platform, Strikes, running
from tests.chaos.traffic import Ledger, Traffic
from tests.chaos.verdict import Verdict, judge
from tests.chaos.watch import Watch
from threads_agent_dagster.db import pending
from threads_agent_dagster.db.engine import make_engine

QUESTIONS = {
    # Alerts wait as they should: nobody listens at the trial's address.
    "waiting": "SELECT asset || ' ' || key || coalesce(': ' || error, '') FROM pending WHERE asset <> 'alerts'",
    "leased to nobody": "SELECT asset || ' ' || key FROM pending WHERE claim IS NOT NULL",
    "runs unfinished": UNFINISHED,
}
NAIVE = Path(__file__).parent / "naive"
ORPHAN_SECONDS = 60.0
SCORER = {"THREADS_AGENT_EMOTION_SCORER": "fast"}  # what is tried is the queue, not the model


@dataclass(frozen=True)
class Tier:
    """`quantile` of the recoveries is what is compared with the goals."""

    name: str
    strikes: Mapping[str, int]
    tasks: int
    deliveries: int
    quantile: float
    settle_seconds: float


_P = {"api": 20, "postgres": 15, "run worker": 15, "daemon": 10, "code": 4, "run-host": 10, "everything": 1}
_N = {"api": 120, "postgres": 90, "run worker": 60, "daemon": 18, "code": 12, "run-host": 12, "everything": 5}
TIERS = {
    "P": Tier("P", _P | {"stopped worker": 1, "second daemon": 1}, 5_000, 1_000, 1.0, 300),
    "N": Tier("N", _N | {"stopped worker": 6, "second daemon": 3}, 100_000, 10_000, 0.95, 1_200),
    "S": Tier("S", {"run worker": 8}, 400, 40, 1.0, 60),  # enough to see the naive variant fail
}


@dataclass(frozen=True)
class Outcome:
    """What was seen; `left` and `faults` are empty lists in a trial that held."""

    tier: Tier
    seed: int
    seconds: float
    sent: Mapping[str, int]
    recoveries: Mapping[str, Sequence[float]]
    missed: int
    revived: int
    verdict: Verdict
    left: Mapping[str, Sequence[str]]
    orphans: Sequence[str]
    unsafe: Sequence[str]
    leaks: Sequence[str]
    watch: Watch

    @property
    def faults(self) -> list[str]:
        """Everything that breaks the claim, with samples."""
        verdict, named = self.verdict, {"leaked": self.leaks, "unsafe setting": self.unsafe, "orphan": self.orphans}
        named |= {f"lost {kind}": keys for kind, keys in verdict.lost.items()}
        named |= {f"doubled {kind}": keys for kind, keys in verdict.doubled.items()}
        named |= {"forged": verdict.forged, "the open page": self.watch.faults, **self.left}
        return [f"{name}: {len(rows)}, e.g. {', '.join(rows[:3])}" for name, rows in named.items() if rows]

    @property
    def holds(self) -> bool:
        return not self.faults

    @property
    def slow(self) -> list[str]:
        """The kinds whose recoveries missed their goal."""
        return [kind for kind, goal in GOALS.items() if self._figure(kind) > goal]

    def _figure(self, kind: str) -> float:
        found = sorted(self.recoveries.get(kind, [0.0]))
        return found[math.ceil(self.tier.quantile * len(found)) - 1]

    def report(self) -> str:
        verdict = self.verdict
        title = "the claim held" if self.holds else "THE CLAIM IS BROKEN"
        lines = [
            f"# Ledger test, tier {self.tier.name}: {title}",
            "",
            f"Seed {self.seed}; {self.seconds:.0f} s; {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. {_machine()}",
            "",
            "| Acknowledged | | Applied | Lost | Doubled |",
            "|---|---|---|---|---|",
            *(
                f"| {kind} | {verdict.acknowledged[kind]:,} | {verdict.applied[kind]:,} | {len(verdict.lost[kind])} "
                f"| {len(verdict.doubled[kind])} |"
                for kind in verdict.acknowledged
            ),
            "",
            "Sent: " + ", ".join(f"{count:,} {name}" for name, count in sorted(self.sent.items()) if count) + ".",
            f"Forged, truncated and oversized deliveries that were stored: {len(verdict.forged)}.",
            "",
            f"| Killed | Times | Back after, median s | {self._named()} s | Goal s | |",
            "|---|---|---|---|---|---|",
            *(self._recovery(kind, found) for kind, found in sorted(self.recoveries.items())),
            "",
            f"Runs STARTED without a live worker {ORPHAN_SECONDS:.0f} s after the last strike: {len(self.orphans)}. "
            + " ".join(f"{name.capitalize()}: {len(rows)}." for name, rows in self.left.items())
            + f" Secrets that came out, of 12: {len(self.leaks)}.",
            f"The Overview, opened once in a browser and never reloaded, said {self.watch.notices} times it may be "
            f"out of date, and in the end {'was behind' if self.watch.faults else 'showed what a fresh page shows'}.",
            f"Strikes at a worker that found none: {self.missed}. Rows given up after five killed workers and revived: "
            f"{self.revived}.",
            "",
        ]
        return "\n".join([*lines, *(f"- {fault}" for fault in self.faults), *([""] if self.faults else [])])

    def _named(self) -> str:
        return "max" if self.tier.quantile == 1 else f"p{self.tier.quantile * 100:.0f}"

    def _recovery(self, kind: str, seconds: Sequence[float]) -> str:
        if kind in ("stopped worker", "second daemon"):  # nothing has to come back
            return f"| {kind} | {len(seconds)} | – | – | – | |"
        goal, figure = GOALS.get(kind), self._figure(kind)
        met = "" if goal is None else "reached" if figure <= goal else "MISSED"
        median = statistics.median(seconds)
        return f"| {kind} | {len(seconds)} | {median:.1f} | {figure:.1f} | {goal or '–'} | {met} |"


def attempt(folder: Path, tier: Tier, seed: int, *, naive: bool = False) -> Outcome:
    """Run a trial in an empty folder. Raises AssertionError for what did not come back at all."""
    folder.chmod(0o711)
    canaries, began = Canaries(), time.monotonic()
    path = os.pathsep.join([str(NAIVE), os.environ.get("PYTHONPATH", "")])
    environment = canaries.environment | SCORER | ({"PYTHONPATH": path} if naive else {})
    with running(folder, environment, demo=not naive) as platform:
        unsafe, chance = platform.unsafe_settings(), random.Random(seed)
        ledger, strikes = Ledger(folder / "ledger.jsonl"), Strikes(platform, chance, naive)
        traffic = _traffic(platform, tier, seed, ledger, canaries.secrets["GITHUB_WEBHOOK_SECRET"])
        canaries.learn(platform.home, platform.endpoints)
        canaries.show(platform.endpoints)
        watch = Watch(platform.endpoints)
        with watch.watching():
            with traffic.flowing():
                _strike(tier, chance, strikes, traffic, platform)
            strikes.finish()
            left, orphans, revived = _settle(platform, tier.settle_seconds, strikes.last)
        verdict = judge(platform.endpoints.database_url, ledger, traffic.refused)
        leaks = canaries.hits(platform.home, platform.endpoints)
    return Outcome(
        tier=tier,
        seed=seed,
        seconds=time.monotonic() - began,
        sent=traffic.sent,
        recoveries=strikes.recoveries,
        missed=strikes.missed,
        revived=revived,
        verdict=verdict,
        left=left,
        orphans=orphans,
        unsafe=unsafe,
        leaks=leaks,
        watch=watch,
    )


def _traffic(platform: Platform, tier: Tier, seed: int, ledger: Ledger, secret: str) -> Traffic:
    places, totals = platform.endpoints, {"task": tier.tasks, "delivery": tier.deliveries}
    key = platform.home.api_key.read_text().strip()
    return Traffic(places.orchestrator, places.achievements, key, secret, ledger, seed, totals)


def _strike(tier: Tier, chance: random.Random, strikes: Strikes, traffic: Traffic, platform: Platform) -> None:
    """All strikes in a seeded order, spread over the traffic: before each, its share begins to flow."""
    kinds = [kind for kind, times in tier.strikes.items() for _ in range(times)]
    chance.shuffle(kinds)
    for number, kind in enumerate(kinds, 1):
        traffic.allow(number / (len(kinds) + 1))
        traffic.keep_up((number - 1) / (len(kinds) + 1))
        time.sleep(chance.uniform(0, 0.5))
        strikes.once(kind)
        sys.stderr.write(f"{number}/{len(kinds)} {kind} {strikes.recoveries.get(kind, [0])[-1]:.1f} s\n")


def _settle(platform: Platform, patience: float, last: float) -> tuple[dict[str, list[str]], list[str], int]:
    """What is left of work and runs when nothing is asked for any more, the orphans, and how many rows were revived.

    A row whose worker was killed five times is dead by design; it is given back as `redrive` does.
    """
    engine, revived, until = make_engine(platform.endpoints.database_url), 0, time.monotonic() + patience
    orphans: list[str] | None = None
    while True:
        with engine.begin() as connection:
            revived += len(pending.redrive(connection))
        left = {name: platform.ask(question) for name, question in QUESTIONS.items()}
        if orphans is None and time.monotonic() - last > ORPHAN_SECONDS:
            orphans = platform.orphans()
        if not any(left.values()) or time.monotonic() > until:
            engine.dispose()
            return left, platform.orphans() if orphans is None else orphans, revived
        time.sleep(1)


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"Machine: {os.cpu_count()} cores, {memory:.0f} GiB, {machine.system()} {machine.machine()}, Python "
        f"{machine.python_version()}; load at the end {os.getloadavg()[1]:.1f} (5 min)."
    )
