"""Nothing acknowledged is lost or doubled whatever dies."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from tests.chaos.trial import TIERS, attempt

TIER = TIERS[os.environ.get("CHAOS_TIER", "P")]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]


def test_nothing_acknowledged_is_lost_or_doubled_and_nothing_forged_enters() -> None:
    # Near the root: the server's account must reach it, and a socket's path is short.
    with tempfile.TemporaryDirectory(prefix="ta-chaos-") as folder:
        outcome = attempt(Path(folder), TIER, seed=1)
    sys.stdout.write(outcome.report())
    assert outcome.faults == []
    assert outcome.verdict.acknowledged["tasks"] == TIER.tasks
