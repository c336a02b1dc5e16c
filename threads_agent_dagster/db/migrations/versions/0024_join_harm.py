"""Join the harm of new observations once; a subquery per variant read all of them for each, the square of a batch."""

from __future__ import annotations

from alembic import op

revision = "0024_join_harm"
down_revision = "0023_index_recent_posts"

CAPTURE = """
CREATE OR REPLACE FUNCTION capture_deltas() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH harm AS (
        SELECT variant_id, jsonb_object_agg(metric, n) AS guardrails FROM (
            SELECT variant_id, key AS metric, sum(value::bigint) AS n
            FROM new_rows, jsonb_each_text(guardrails) WHERE NOT steered GROUP BY variant_id, key
        ) AS counted GROUP BY variant_id
    )
    INSERT INTO observation_deltas (variant_id, impressions, successes, steered_impressions, steered_successes,
        last_used, guardrails)
    {delta}
    RETURN NULL;
END
$$;
"""
JOINED = """
    SELECT variant_id, sum(impressions), sum(successes), coalesce(sum(impressions) FILTER (WHERE steered), 0),
        coalesce(sum(successes) FILTER (WHERE steered), 0), max(observed_at), harm.guardrails
    FROM new_rows LEFT JOIN harm USING (variant_id) GROUP BY variant_id, harm.guardrails;
"""
PER_VARIANT = """
    SELECT variant_id, sum(impressions), sum(successes), coalesce(sum(impressions) FILTER (WHERE steered), 0),
        coalesce(sum(successes) FILTER (WHERE steered), 0), max(observed_at),
        (SELECT guardrails FROM harm WHERE harm.variant_id = new_rows.variant_id)
    FROM new_rows GROUP BY variant_id;
"""


def upgrade() -> None:
    op.execute(CAPTURE.format(delta=JOINED))


def downgrade() -> None:
    op.execute(CAPTURE.format(delta=PER_VARIANT))
