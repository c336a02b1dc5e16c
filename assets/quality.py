"""Quality: what is expected of whole tables, looked at by the clock."""

from collections.abc import Iterator

import dagster as dg

from assets.validating import Expected, Suite, validate
from resources.database import database_url

ACHIEVEMENTS = Suite(
    "achievements",
    rows="SELECT * FROM achievements WHERE deleted_at IS NULL",
    expectations=[
        Expected("titles_say_something", "expect_column_values_to_match_regex", {"column": "title", "regex": r"\w"}),
        Expected(
            "impact_scores_are_percentages",
            "expect_column_values_to_be_between",
            {"column": "impact_score", "min_value": 0, "max_value": 100},
        ),
        Expected(
            "nothing_ends_before_it_starts",
            "expect_column_pair_values_a_to_be_greater_than_b",
            {
                "column_A": "completed_at",
                "column_B": "started_at",
                "or_equal": True,
                "ignore_row_if": "either_value_is_missing",
            },
        ),
        Expected("one_achievement_per_merge", "expect_column_values_to_be_unique", {"column": "merge_sha"}),
        Expected(
            "merges_are_named_by_git",
            "expect_column_values_to_match_regex",
            {"column": "merge_sha", "regex": "^[0-9a-f]{40}([0-9a-f]{24})?$"},
        ),
        Expected(
            "links_lead_to_the_web",
            "expect_column_values_to_match_regex",
            {"column": "source_url", "regex": "^https?://"},
        ),
        Expected(
            "saved_hours_are_plausible",  # a hundred people's working year
            "expect_column_values_to_be_between",
            {"column": "time_saved_hours", "min_value": 0, "max_value": 200_000},
            "warning",
        ),
        Expected(
            "all_scores_are_of_one_version",  # a backfill makes the others anew
            "expect_column_unique_value_count_to_be_between",
            {"column": "scorer_version", "max_value": 1},
            "warning",
        ),
        Expected(
            "nothing_is_told_twice",
            "expect_compound_columns_to_be_unique",
            {"column_list": ["repository", "title", "completed_at"], "ignore_row_if": "any_value_is_missing"},
            "warning",
        ),
    ],
)


@dg.multi_asset_check(
    name="achievements_quality",
    description="The whole table of achievements against its Great Expectations suite.",
    specs=ACHIEVEMENTS.specs,
)
def achievements_quality() -> Iterator[dg.AssetCheckResult]:
    yield from validate(ACHIEVEMENTS, database_url())
