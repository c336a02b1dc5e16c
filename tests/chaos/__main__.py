"""The ledger test: everything dies by a seeded schedule while work flows; nothing acknowledged is lost or doubled.

python -m tests.chaos --tier P|N --seed S --report FILE. Exit code 0: the claim held and every goal was reached.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.trial import TIERS, attempt


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--tier", choices=TIERS, default="P")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--naive", action="store_true", help="with a cursor in place of the queue; it must fail")
    parser.add_argument("--report", type=Path, help="also write the report to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ta-chaos-") as folder:
        outcome = attempt(Path(folder), TIERS[options.tier], options.seed, naive=options.naive)
    text = outcome.report()
    sys.stdout.write(text)
    if options.report:
        options.report.write_text(text)
    return 0 if outcome.holds and not outcome.slow else 1


if __name__ == "__main__":
    raise SystemExit(main())
