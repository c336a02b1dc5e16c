"""Themes are the same for the same achievements, and named by their members' own words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threads_agent_dagster.domain.embeddings import embed
from threads_agent_dagster.domain.themes import FEWEST, LOOSEST, MOST_THEMES, SMALLEST, find_themes, words_of

DATABASE = [
    "feat(db): migrate the orders table to partitions",
    "fix: roll back the database migration of invoices",
    "Create a database migration for the customer table",
    "perf(db): add an index in a migration of the orders table",
    "Test that every database migration can be undone",
]
LOGIN = [
    "feat(auth): let users log in with a passkey",
    "Reset the password of a user by e-mail",
    "fix(auth): end the session when a user changes the password",
    "Ask for a second factor when a user logs in",
    "Lock the account after ten wrong passwords",
]


def test_what_belongs_together_is_one_theme_under_its_own_words() -> None:
    titles = [*DATABASE, *LOGIN]
    themes = find_themes(embed(titles), titles)
    groups = [{position for position, _ in theme.members} for theme in themes]
    assert sorted(map(sorted, groups)) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    labels = {theme.label for theme in themes if 0 in dict(theme.members)}
    assert labels == {"migration · database · table"}
    assert all(word in " ".join(titles).lower() for theme in themes for word in theme.words)


def test_the_most_typical_member_comes_first() -> None:
    titles = [*DATABASE, *LOGIN]
    for theme in find_themes(embed(titles), titles):
        closeness = [close for _, close in theme.members]
        assert closeness == sorted(closeness, reverse=True)
        assert closeness[-1] >= LOOSEST


def test_few_achievements_have_no_themes() -> None:
    titles = DATABASE[: FEWEST - 1]
    assert find_themes(embed(titles), titles) == []
    assert find_themes(np.empty((0, 3), np.float32), []) == []


def test_equal_achievements_are_one_theme() -> None:
    titles = ["Upgrade the compiler"] * 20
    (theme,) = find_themes(embed(titles[:1]).repeat(20, axis=0), titles)
    assert len(theme.members) == 20


def test_what_is_like_nothing_else_belongs_to_no_theme() -> None:
    vectors = np.eye(30, dtype=np.float32)[[0] * 10 + [1] * 10 + [2]]
    titles = ["red paint"] * 10 + ["blue sky"] * 10 + ["lonely walk"]
    themes = find_themes(vectors, titles)
    assert sorted(theme.label for theme in themes) == ["paint · red", "blue · sky"] or len(themes) == 2
    assert 20 not in {position for theme in themes for position, _ in theme.members}


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("feat(api)!: Serve the user's orders", ["serve", "user", "orders"]),
        ("Fix it", []),
        ("refresh_dashboard_metrics: fold once", ["refresh_dashboard_metrics", "fold"]),
        ("C++ naïve 日本語 42", ["c++", "naïve", "日本語"]),
        ("", []),
    ],
)
def test_words_that_may_name_a_theme(title: str, words: list[str]) -> None:
    assert words_of(title) == words


@settings(max_examples=60, deadline=None)
@given(st.integers(FEWEST, 300), st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_any_vectors_give_few_disjoint_themes_and_the_same_again(count: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    titles = [
        f"{('alpha', 'beta', 'gamma')[rng.integers(3)]} {('delta', 'rho')[rng.integers(2)]}" for _ in range(count)
    ]
    themes = find_themes(vectors, titles)
    members = [position for theme in themes for position, _ in theme.members]
    assert len(members) == len(set(members)) <= count
    assert len(themes) <= MOST_THEMES
    assert all(len(theme.members) >= SMALLEST for theme in themes)
    assert len({theme.label for theme in themes}) == len(themes)
    assert find_themes(vectors, titles) == themes
