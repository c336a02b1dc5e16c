"""Reads the hooks that compete and how they did, stores what the model said of them and how that came true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, select, text

from threads_agent_dagster.db.bulk import insert_rows, parameter, replaced
from threads_agent_dagster.db.pages import Order, Window, read
from threads_agent_dagster.db.tables import hook_calibration, hook_predictions

# A variant's body is that of its first post; who has none competes with the hook alone.
COMPETING = """
    SELECT experiment_id, array_agg(variant_id ORDER BY variant_id) AS variant_ids,
        array_agg(hook ORDER BY variant_id) AS hooks, array_agg(body ORDER BY variant_id) AS bodies,
        md5(string_agg(variant_id || E'\\n' || hook || E'\\n' || body, E'\\n\\n' ORDER BY variant_id)) AS content_hash
    FROM (
        SELECT variants.experiment_id, variants.variant_id, variants.hook, coalesce((
            SELECT body FROM posts WHERE posts.variant_id = variants.variant_id ORDER BY id LIMIT 1), '') AS body
        FROM variants WHERE experiment_id IS NOT NULL AND hook IS NOT NULL
    ) AS shown
    GROUP BY experiment_id HAVING count(*) > 1"""
_STALE = text(f"""
    SELECT competing.* FROM ({COMPETING}) AS competing
    WHERE (SELECT count(*) FROM hook_predictions AS stored WHERE stored.experiment_id = competing.experiment_id
        AND stored.content_hash = competing.content_hash AND stored.model_version = :model_version
        AND stored.code_version = :code_version) < cardinality(variant_ids)
    ORDER BY experiment_id
""")


def read_stale(connection: Connection, model_version: str, code_version: str) -> Sequence[RowMapping]:
    """One row per experiment whose hooks this version has not seen as they are now."""
    versions = {"model_version": model_version, "code_version": code_version}
    return connection.execute(_STALE, versions).mappings().all()


_PREDICTED = [column.name for column in hook_predictions.columns if column.name != "created_at"]
_PREDICT = insert_rows(
    "hook_predictions",
    _PREDICTED,
    f"ON CONFLICT (variant_id) DO UPDATE SET {replaced(_PREDICTED)}, created_at = now()",
)


def store_predictions(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replaces the predictions of these variants."""
    connection.execute(_PREDICT, parameter(rows))


_MEASURED = text("""
    SELECT experiment_id, min(sample) AS sample, array_agg(predicted_logit ORDER BY variant_id) AS mean,
        array_agg(predicted_sd ORDER BY variant_id) AS sd,
        array_agg(impressions - steered_impressions ORDER BY variant_id) AS impressions,
        array_agg(successes - steered_successes ORDER BY variant_id) AS successes
    FROM hook_predictions JOIN variant_performance USING (variant_id)
    WHERE model_version = :model_version
    GROUP BY experiment_id ORDER BY experiment_id
""")


def read_measured(connection: Connection, model_version: str) -> Sequence[RowMapping]:
    """One row per predicted experiment with its counts; impressions that a policy gave out are left out."""
    return connection.execute(_MEASURED, {"model_version": model_version}).mappings().all()


_CALIBRATED = [column.name for column in hook_calibration.columns if column.name != "created_at"]
_CALIBRATE = insert_rows("hook_calibration", _CALIBRATED)


def replace_calibration(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """These rows are the whole table then."""
    connection.execute(text("DELETE FROM hook_calibration"))
    connection.execute(_CALIBRATE, parameter(rows))


_DUE = text("""
    SELECT EXISTS (
        SELECT FROM variants WHERE experiment_id IS NOT NULL AND hook IS NOT NULL
        AND NOT EXISTS (SELECT FROM hook_predictions WHERE hook_predictions.variant_id = variants.variant_id)
        AND EXISTS (SELECT FROM variants AS other WHERE other.experiment_id = variants.experiment_id
            AND other.hook IS NOT NULL AND other.variant_id <> variants.variant_id)
    ) OR EXISTS (
        SELECT FROM hook_predictions JOIN variant_performance AS measured USING (variant_id)
        WHERE measured.updated_at > coalesce((SELECT max(created_at) FROM hook_calibration), '-infinity')
        AND measured.impressions > 0)
""")


def is_due(connection: Connection) -> bool:
    """Whether a hook was never predicted, or a predicted one was measured since the last calibration."""
    return bool(connection.execute(_DUE).scalar_one())


# What the API and the dashboard show.

BY_VARIANT = Order(hook_predictions.c.variant_id, hook_predictions.c.variant_id, descending=False)


def search(connection: Connection, experiment_id: str | None, window: Window) -> Sequence[RowMapping]:
    """A page of predictions by variant, those of one experiment or all."""
    rows = select(hook_predictions)
    if experiment_id is not None:
        rows = rows.where(hook_predictions.c.experiment_id == experiment_id)
    return read(connection, rows, BY_VARIANT, window)


def find_calibration(connection: Connection) -> Sequence[RowMapping]:
    """All of it: by sample and pairs counted, the whole range before its bins."""
    columns = hook_calibration.c
    order = (columns.sample.desc(), columns.counted.desc(), columns.chance_from, columns.chance_to.desc())
    return connection.execute(select(hook_calibration).order_by(*order)).mappings().all()
