"""An experiment's page says its verdict, by which rule, what was promoted and how impressions are given out."""

from __future__ import annotations

import csv
import io
import json
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
        "Promoted:", "50 % of all", 'curl -X POST "$PROMPT_API_URL/api/v1/experiments/exp-00/undo"',
        "Thompson sampling gives out the impressions; 10 % are split evenly.", "75.0 %",
    ):  # fmt: skip
        expect(page.get_by_text(words).first).to_be_visible()
    with seeded.begin() as connection:
        connection.execute(text("UPDATE promotions SET undone_at = now()"))
    page.reload()
    expect(page.get_by_text("Keep running").first).to_be_visible()
    assert page.get_by_text("curl").count() == 0
    with seeded.begin() as connection:
        connection.execute(text("UPDATE experiments SET status = 'stopped', ended_at = now() WHERE id = 'exp-00'"))
    page.reload()
    expect(page.get_by_text("It was stopped before anything was decided.")).to_be_visible()
    assert page.get_by_text("Keep running").count() == 0
    with seeded.begin() as connection:
        connection.execute(
            text("""UPDATE experiment_verdicts SET verdict = 'ship', variant_id = 'exp-00-b',
                    reason = 'exp-00-b beats exp-00-a: uplift +9.0 %, best with probability 0.99'""")
        )
    page.reload()
    for words in ("Ship B", "B beats A: uplift +9.0 %, best with probability 0.99", "Grey is the control."):
        expect(page.get_by_text(words, exact=words == "Ship B").first).to_be_visible()
    expect(page.get_by_text('curl -X POST "$PROMPT_API_URL/api/v1/experiments/exp-00/promote"')).to_be_visible()
    page.goto(f"{url}/experiments/exp-01")
    expect(page.get_by_text("No verdict yet")).to_be_visible()
    page.goto(f"{url}/experiments?q=Experiment+0")
    expect(page.get_by_role("row", name="Experiment 0 exp-00").get_by_text("Ship", exact=True)).to_be_visible()


def test_the_headline_is_read_at_any_width(seeded: Engine, serve: Callable[..., str], context: BrowserContext) -> None:
    hook = "Everybody who read the first half of this sentence also wanted to know how the other half would end"
    with seeded.begin() as connection:
        connection.execute(text("UPDATE variants SET hook = :hook"), {"hook": hook})
    page = context.new_page()
    page.goto(serve(seeded) + "/experiments/exp-00")
    for width in (1440, 1200, 1024, 800, 390):
        page.set_viewport_size({"width": width, "height": 900})
        box = page.get_by_text(hook).first.bounding_box()
        assert box is not None
        assert box["width"] > 150, width


def test_the_list_is_downloaded_as_it_is_filtered(
    seeded: Engine, serve: Callable[..., str], context: BrowserContext
) -> None:
    with seeded.begin() as connection:
        connection.execute(VERDICT, {"document": DOCUMENT})
        connection.execute(text("UPDATE experiments SET name = '\t=1+1 of Zürich' WHERE id = 'exp-00'"))
        connection.execute(text("UPDATE experiments SET status = 'stopped' WHERE id IN ('exp-00', 'exp-07')"))
        connection.execute(text("INSERT INTO experiments (id, name) VALUES ('draft', 'of Zürich')"))
    page = context.new_page()
    page.goto(serve(seeded) + "/experiments?q=Z%C3%BCrich&status=stopped&page=1")
    files = []
    for label in ("Download CSV", "JSON"):
        with page.expect_download() as download:
            page.get_by_role("link", name=label).click()
        files.append((download.value.suggested_filename, download.value.path().read_bytes()))
    (csv_name, as_csv), (json_name, as_json) = files
    assert (csv_name, json_name) == ("experiments.csv", "experiments.json")
    (row,) = csv.DictReader(io.StringIO(as_csv.decode("utf-8-sig"), newline=""))
    assert (row["id"], row["name"], row["verdict"]) == ("exp-00", "'\t=1+1 of Zürich", "keep running")
    (found,) = json.loads(as_json)
    assert (found["name"], found["n"], found["promoted"]) == ("\t=1+1 of Zürich", 2000, None)
    assert list(found) == [*row, "plan"]


PREDICTED = text("""
    INSERT INTO hook_predictions (variant_id, experiment_id, predicted_logit, predicted_sd, predicted_rank, sample,
        model_version, content_hash)
    SELECT variant_id, experiment_id, 0, 0.2, row_number() OVER (ORDER BY variant_id), 'in sample', 'm@7', 'h'
    FROM variants WHERE experiment_id = 'exp-00'
""")
CALIBRATED = text("""
    INSERT INTO hook_calibration (sample, counted, chance_from, chance_to, experiments, pairs, mean_chance,
        expected_right, share_right, share_low, share_high, brier, log_loss, model_version)
    VALUES ('out of fold', 'all', 0.5, 1, 40, 123, 0.6, 0.6, 0.731, 0.701, 0.761, 0.2, 0.6, 'm@7'),
        ('out of fold', 'all', 0.6, 0.65, 40, 123, 0.62, 0.6, 0.731, 0.701, 0.761, 0.2, 0.6, 'm@7'),
        ('in sample', 'significant', 0.5, 1, 3, 4, 0.6, 0.6, 1, NULL, NULL, 0.1, 0.2, 'm@7')
""")


def test_what_the_hook_model_foresaw_is_shown_with_what_it_knew(
    seeded: Engine, serve: Callable[..., str], context: BrowserContext
) -> None:
    page, url = context.new_page(), serve(seeded)
    page.goto(f"{url}/experiments")
    expect(page.get_by_text("Nothing is known before hooks of one experiment were shown")).to_be_visible()
    with seeded.begin() as connection:
        connection.execute(PREDICTED)
        connection.execute(CALIBRATED)
    page.goto(f"{url}/experiments")
    for words in ("73.1 %", "70.1 % – 76.1 %", "too few", "these figures flatter", "all pairs of 40 experiments"):
        expect(page.get_by_text(words).first).to_be_visible()
    expect(page.get_by_label("foreseen 62%, came true 73%")).to_be_visible()
    page.goto(f"{url}/experiments/exp-00")
    page.get_by_label("Where “Foreseen rank” comes from").first.click()
    for words in ("It was trained on this experiment.", "hook_predictions", "m@7"):
        expect(page.get_by_text(words).first).to_be_visible()
