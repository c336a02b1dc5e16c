"""The plots of the docs are what the stored results give."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks.plots import IMAGES, PEEKING, WIDTH, draw, lines, read


def test_the_committed_plots_show_the_stored_results() -> None:
    assert draw() == {name: (IMAGES / name).read_text() for name in draw()}


def test_every_plot_is_sound_and_stays_within_its_frame(subtests: pytest.Subtests) -> None:
    for name, drawn in draw().items():
        with subtests.test(name):
            figure = ElementTree.fromstring(drawn)
            dots = [float(dot.get("cx", "nan")) for dot in figure.iter("{http://www.w3.org/2000/svg}circle")]
            assert len(dots) > 5
            assert all(0 <= x <= WIDTH for x in dots)


def test_another_result_gives_another_plot() -> None:
    rows = read("experiment_statistics")
    halved = [row | {"value": row["value"] / 2} for row in rows]
    assert lines(rows, PEEKING) != lines(halved, PEEKING)
