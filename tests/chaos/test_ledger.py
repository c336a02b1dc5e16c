"""Nothing acknowledged is lost or doubled whatever dies; and the naive way, under the same test, does lose."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.trial import TIERS, attempt

TIER = TIERS[os.environ.get("CHAOS_TIER", "S")]  # P takes long beside other tests: run it by CHAOS_TIER=P
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Near the root: the server's account must reach it, and a socket's path is short."""
    with tempfile.TemporaryDirectory(prefix="ta-chaos-") as folder:
        yield Path(folder)


def test_nothing_acknowledged_is_lost_or_doubled_and_nothing_forged_enters(folder: Path) -> None:
    outcome = attempt(folder, TIER, seed=1)
    sys.stdout.write(outcome.report())
    assert outcome.faults == []
    assert outcome.verdict.acknowledged["tasks"] == TIER.tasks


def test_the_naive_way_fails_the_same_test(folder: Path) -> None:
    outcome = attempt(folder, TIERS["S"], seed=1, naive=True)
    assert outcome.verdict.lost["tasks"], outcome.report()
