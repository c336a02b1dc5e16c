"""How every benchmark measures: alternating pairs, the floor beside them, the median of the paired ratios.

A benchmark is a module in this folder with a docstring whose first line says what is measured, and::

    def run(size: Size) -> list[Row]: ...

It asserts correctness itself (AssertionError fails the whole command). Machines are shared and noisy, so a row is
judged by a ratio taken side by side in one run, or by a counted quantity; absolute times are reported, never judged.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

Sample = Callable[[], float]


class Size(StrEnum):
    """`full` gives the figures; `smoke` only proves that the script still runs and is still correct."""

    FULL = "full"
    SMOKE = "smoke"


@dataclass(frozen=True)
class Limit:
    """The goal of a row: its ratio (its value where it has no peer) lies within these bounds."""

    at_most: float | None = None
    at_least: float | None = None

    def admits(self, figure: float) -> bool:
        return (self.at_most is None or figure <= self.at_most) and (self.at_least is None or figure >= self.at_least)

    def __str__(self) -> str:
        bounds = [f"≤ {number(self.at_most)}"] if self.at_most is not None else []
        return " and ".join([*bounds, *([f"≥ {number(self.at_least)}"] if self.at_least is not None else [])])


@dataclass(frozen=True)
class Row:
    """One line of the table. `value`, `peer` and `floor` are medians in `unit`; `ratio` is value over peer.

    `low` and `high` are a 95 % interval of the value; `series` and `x` say where a plot draws it.
    """

    goal: str
    what: str
    unit: str
    value: float
    peer_name: str | None = None
    peer: float | None = None
    ratio: float | None = None
    floor_name: str | None = None
    floor: float | None = None
    limit: Limit | None = None
    samples: int = 1
    low: float | None = None
    high: float | None = None
    series: str | None = None
    x: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached; None where the row is reported without one."""
        return None if self.limit is None else self.limit.admits(self.value if self.ratio is None else self.ratio)


def wall_seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process (all threads, no children): what to judge on a shared machine."""
    started = time.process_time()
    work()
    return time.process_time() - started


def alternate(samples: Mapping[str, Sample], rounds: int) -> dict[str, list[float]]:
    """Every sampler once per round, in turn (ABABA): slow drift of the machine hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in samples}
    for _ in range(rounds):
        for name, sample in samples.items():
            taken[name].append(sample())
    return taken


def paired_ratio(values: Sequence[float], peers: Sequence[float]) -> float:
    """Median of the ratios taken pair by pair."""
    return statistics.median(value / peer for value, peer in zip(values, peers, strict=True))


def compare(
    goal: str,
    what: str,
    unit: str,
    *,
    subject: Sample,
    peer: tuple[str, Sample],
    floor: tuple[str, Sample] | None = None,
    rounds: int,
    limit: Limit | None = None,
) -> Row:
    """The row of `subject` beside `peer` and `floor`, each a sampler that returns one figure in `unit`."""
    samplers: dict[str, Sample] = {"subject": subject, "peer": peer[1]}
    if floor is not None:
        samplers["floor"] = floor[1]
    taken = alternate(samplers, rounds)
    return Row(
        goal=goal,
        what=what,
        unit=unit,
        value=statistics.median(taken["subject"]),
        peer_name=peer[0],
        peer=statistics.median(taken["peer"]),
        ratio=paired_ratio(taken["subject"], taken["peer"]),
        floor_name=None if floor is None else floor[0],
        floor=statistics.median(taken["floor"]) if floor is not None else None,
        limit=limit,
        samples=rounds,
    )


def machine_facts() -> dict[str, Any]:
    """What a reader needs to judge the absolute figures: processor, cores, memory, load, versions."""
    import psutil

    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    models = (line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line)
    return next(models, platform.machine())


def number(figure: float | None) -> str:
    """Three significant digits, thousands separated; a dash for what was not measured."""
    if figure is None:
        return "–"
    if figure and abs(figure) >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:.3g}"


def table(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| Goal | What | Ours | Beside | Ratio | Floor | Limit | Holds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in rows]
    return "\n".join(lines)


def _line(row: Row) -> str:
    verdict = {None: "–", True: "yes", False: "**no**"}[row.holds]
    peer = "–" if row.peer is None else f"{number(row.peer)} ({row.peer_name})"
    floor = "–" if row.floor is None else f"{number(row.floor)} ({row.floor_name})"
    limit = "–" if row.limit is None else str(row.limit)
    interval = "" if row.low is None else f" [{number(row.low)}, {number(row.high)}]"
    cells = [
        row.goal,
        row.what,
        f"{number(row.value)}{interval} {row.unit}",
        peer,
        number(row.ratio),
        floor,
        limit,
        verdict,
    ]
    return f"| {' | '.join(cells)} |"


def save(folder: Path, name: str, rows: Sequence[Row]) -> None:
    """Write `<name>.json` and render `README.md` anew from all results in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine_facts(), "rows": [asdict(row) | {"holds": row.holds} for row in rows]}
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    sections = [_section(path) for path in sorted(folder.glob("*.json"))]
    (folder / "README.md").write_text("# Benchmark results\n\n" + "\n\n".join(sections) + "\n")


def _section(path: Path) -> str:
    result = json.loads(path.read_text())
    machine = result["machine"]
    facts = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, load {machine['load_average'][0]}, "
        f"Python {machine['python']}, {machine['measured_at']}; `python -m benchmarks {path.stem}`"
    )
    return f"## {path.stem}\n\n{facts}\n\n{table(_row(stored) for stored in result['rows'])}"


def _row(stored: dict[str, Any]) -> Row:
    fields = {key: value for key, value in stored.items() if key != "holds"}
    limit = fields.pop("limit")
    return Row(**fields, limit=None if limit is None else Limit(**limit))
