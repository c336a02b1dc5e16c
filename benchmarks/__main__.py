"""Run the benchmarks: `python -m benchmarks [--smoke] [names...]`.

A full run writes one JSON per benchmark and one Markdown table of all into `benchmarks/results/` and fails when a goal
is missed. A smoke run proves in seconds that every script works and is correct; its figures are printed, not judged.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

from benchmarks.harness import Row, Size, save, table

FOLDER = Path(__file__).parent
NOT_BENCHMARKS = {"__main__", "harness"}


def names() -> list[str]:
    """Every module of this folder that offers `run`."""
    modules = [module.name for module in pkgutil.iter_modules([str(FOLDER)]) if module.name not in NOT_BENCHMARKS]
    return [name for name in modules if hasattr(importlib.import_module(f"benchmarks.{name}"), "run")]


def measure(name: str, size: Size) -> list[Row]:
    rows: list[Row] = importlib.import_module(f"benchmarks.{name}").run(size)
    print(f"\n## {name}\n\n{table(rows)}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help="benchmarks to run; all if none is named")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes; goals are not judged, nothing is written")
    parser.add_argument("--out", type=Path, default=FOLDER / "results", help="folder of the results of a full run")
    options = parser.parse_args()
    size = Size.SMOKE if options.smoke else Size.FULL
    missed = []
    for name in options.names or names():
        rows = measure(name, size)
        if size is Size.FULL:
            save(options.out, name, rows)
            missed += [row for row in rows if row.holds is False]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
