"""Great Expectations suites as asset checks: whole tables, by the clock.

A suite is written in GX's own words (type, kwargs, severity), so that its checks are known without importing GX, which
takes seconds and 250 MB: only a run that validates does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg
from sqlalchemy import make_url

SAMPLES = 5
SEVERITIES = {"critical": dg.AssetCheckSeverity.ERROR}  # GX's others, warning and info, are WARN


@dataclass(frozen=True, slots=True)
class Expected:
    """One expectation; `name` is a sentence that should be true, the rest is as GX documents it."""

    name: str
    type: str
    kwargs: Mapping[str, Any]
    severity: Literal["critical", "warning", "info"] = "critical"


@dataclass(frozen=True, slots=True)
class Suite:
    """What is expected of an asset's table: of the rows of a SELECT, which `key` names."""

    asset: str
    rows: str
    expectations: Sequence[Expected]
    key: str = "id"

    @property
    def specs(self) -> list[dg.AssetCheckSpec]:
        """The checks that `validate` answers."""
        return [dg.AssetCheckSpec(one.name, asset=self.asset, description=_words(one)) for one in self.expectations]


def validate(suite: Suite, database_url: str) -> Iterator[dg.AssetCheckResult]:
    """The result of every expectation, with the key and value of a few rows that break it."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)  # GX may tell its makers of each use
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    url = make_url(database_url).set(drivername="postgresql+psycopg2")  # the driver that GX knows
    source = context.data_sources.add_postgres("postgres", connection_string=url.render_as_string(hide_password=False))
    batch = source.add_query_asset(suite.asset, query=suite.rows).add_batch_definition_whole_table("rows").get_batch()
    by_name = {one.name: one for one in suite.expectations}
    expectations = [
        {"type": one.type, "kwargs": dict(one.kwargs), "severity": one.severity, "meta": {"check": one.name}}
        for one in suite.expectations
    ]
    asked = {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": [suite.key],
        "partial_unexpected_count": SAMPLES,
    }
    found = batch.validate(gx.ExpectationSuite(suite.asset, expectations=expectations), result_format=asked)
    for one in found.results:
        assert one.expectation_config is not None  # GX answers with what it was asked
        yield _result(suite, by_name[one.expectation_config.meta["check"]], one)


def _words(expected: Expected) -> str:
    told = ", ".join(f"{name} {value!r}" for name, value in expected.kwargs.items())
    return f"{expected.type.replace('_', ' ')}: {told}"


def _result(suite: Suite, expected: Expected, found: Any) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=suite.asset,
        check_name=expected.name,
        passed=bool(found.success),
        severity=SEVERITIES.get(expected.severity, dg.AssetCheckSeverity.WARN),
        metadata=_metadata(found),
    )


def _metadata(found: Any) -> dict[str, Any]:
    told = found.result
    counts = {name: told[name] for name in ("element_count", "unexpected_count") if told.get(name) is not None}
    metadata: dict[str, Any] = {"rows" if name == "element_count" else "bad_rows": n for name, n in counts.items()}
    if told.get("observed_value") is not None:
        metadata["observed"] = str(told["observed_value"])
    if samples := told.get("unexpected_index_list") or told.get("partial_unexpected_list"):
        metadata["samples"] = dg.MetadataValue.json([{k: str(v) for k, v in row.items()} for row in samples[:SAMPLES]])
    if error := _exception(found.exception_info):
        metadata["error"] = error
    return metadata


def _exception(told: Mapping[str, Any]) -> str | None:
    """What GX could not compute; it answers that as a failure of the expectation."""
    parts = [told] if "raised_exception" in told else list(told.values())
    raised = [str(part["exception_message"]) for part in parts if part.get("raised_exception")]
    return raised[0] if raised else None
