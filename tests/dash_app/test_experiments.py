"""An experiment's page says its verdict, by which rule, what was promoted and how impressions are given out."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext, expect
from sqlalchemy import Engine, text

VERDICT = text("""
    INSERT INTO experiment_verdicts (experiment_id, plan_hash, input_version, test, prior, n, smallest, verdict, reason,
        rule, srm_p, p_value_sequential, stale, document, sha256)
    VALUES ('exp-00', 'h', 'i', 't', 'p', 2000, 1000, 'keep running', 'not decided yet', 'the horizon is not reached',
        0.97, 1, false, :document, 's')
""")
DOCUMENT = '{"arms": [{"variant_id": "exp-00-a", "p_best": 0.25}, {"variant_id": "exp-00-b", "p_best": 0.75}]}'


def test_the_verdict_stands_first_and_is_empty_before_the_start(
    seeded: Engine, serve: Callable[..., str], context: BrowserContext
) -> None:
    with seeded.begin() as connection:
        connection.execute(text("UPDATE experiments SET plan = '{\"policy\": \"thompson\"}' WHERE id = 'exp-00'"))
        connection.execute(VERDICT, {"document": DOCUMENT})
        connection.execute(
            text("""INSERT INTO promotions (experiment_id, variant_id, promoted_by, forced)
                    VALUES ('exp-00', 'exp-00-b', 'ada', false)""")
        )
    page, url = context.new_page(), serve(seeded)
    page.goto(f"{url}/experiments/exp-00")
    for words in (
        "Keep running", "not decided yet", "Rule: the horizon is not reached.", "sample ratio p 0.97",
        "Promoted: exp-00-b", "Thompson sampling gives out the impressions; 10 % are split evenly.", "75.0 %",
    ):  # fmt: skip
        expect(page.get_by_text(words).first).to_be_visible()
    page.goto(f"{url}/experiments/exp-01")
    expect(page.get_by_text("No verdict yet")).to_be_visible()
