"""What holds for a run whoever launches it: Dagster's own launcher or the run host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest


def test_run_succeeds_and_records_what_it_made(either: Any) -> None:
    run = either.plain_runs[0]
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert either.metadata(run.run_id)["value"] == "first"


@pytest.mark.parametrize(
    ("action", "error"), [("raise", "ZeroDivisionError"), ("take all memory", "MemoryError")], ids=str
)
def test_failing_run_keeps_its_error(either: Any, action: str, error: str) -> None:
    run = either.run(action=action)
    assert run.status == dg.DagsterRunStatus.FAILURE
    (failure,) = either.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert error in failure.dagster_event.step_failure_data.error.to_string()


def test_terminated_run_is_canceled(either: Any, fifo: Any) -> None:
    run_id = either.start(action="block", fifo=str(fifo.path))
    fifo.line()
    assert either.instance.run_launcher.terminate(run_id)
    assert either.wait(run_id).status == dg.DagsterRunStatus.CANCELED


def test_terminated_run_leaves_its_pool(either: Any, fifo: Any) -> None:
    storage = either.instance.event_log_storage
    storage.set_concurrency_slots("scarce", 1)
    run_id = either.start(assets=["pooled"], action="block", fifo=str(fifo.path))
    fifo.line()
    assert storage.get_concurrency_info("scarce").active_slot_count == 1
    either.instance.run_launcher.terminate(run_id)
    assert either.wait(run_id).status == dg.DagsterRunStatus.CANCELED
    assert storage.get_concurrency_info("scarce").active_slot_count == 0


def test_finished_run_cannot_be_terminated(either: Any) -> None:
    assert not either.instance.run_launcher.terminate(either.plain_runs[0].run_id)


@pytest.mark.parametrize("death", ["exit 0", "sigkill"])
def test_run_whose_process_dies_fails(either: Any, death: str) -> None:
    run = either.run(action=death)
    assert run.status == dg.DagsterRunStatus.FAILURE
    (failure,) = either.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert failure.dagster_event.message


def test_only_the_selected_op_executes(either: Any) -> None:
    run = either.run(job="steps", ops=["two"])
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert _executed(either, run.run_id) == {"two"}


def test_only_the_selected_step_executes(either: Any) -> None:
    run = either.run(job="steps", steps=["one"])
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert _executed(either, run.run_id) == {"one"}


def test_steps_in_processes_of_their_own_work(either: Any) -> None:
    run = either.run(job="processes")
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert _executed(either, run.run_id) == {"one", "two"}


def test_output_of_a_step_is_captured(either: Any) -> None:
    run = either.plain_runs[0]
    (captured,) = either.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED)
    key = [run.run_id, "compute_logs", captured.dagster_event.logs_captured_data.file_key]
    data = either.instance.compute_log_manager.get_log_data(key)
    assert b"this went to stdout" in data.stdout
    assert b"this went to stderr" in data.stderr


def test_run_sees_the_environment_but_not_what_another_run_set(either: Any) -> None:
    facts = either.metadata(either.plain_runs[1].run_id)
    assert facts["environment"] == "from the environment"
    assert facts["changed"] == ""


def test_runs_draw_different_random_numbers(either: Any) -> None:
    first, second = (json.loads(either.metadata(run.run_id)["draws"]) for run in either.plain_runs)
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_next_run_sees_changed_code(either: Any, code: Path) -> None:
    (code / "constants.py").write_text(f"VALUE = 'written for {either.name}'\n")
    try:
        assert either.metadata(either.run().run_id)["value"] == f"written for {either.name}"
    finally:
        (code / "constants.py").write_text("VALUE = 'first'\n")


def test_broken_code_fails_the_run_and_the_repair_is_seen(either: Any, code: Path) -> None:
    (code / "constants.py").write_text("VALUE = (\n")
    try:
        broken = either.run()
    finally:
        (code / "constants.py").write_text("VALUE = 'first'\n")
    assert broken.status == dg.DagsterRunStatus.FAILURE
    assert either.metadata(either.run().run_id)["value"] == "first"


def _executed(deployment: Any, run_id: str) -> set[str]:
    events = deployment.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)
    return {event.step_key for event in events}
