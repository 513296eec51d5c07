"""A run that was killed, paused, stopped or filled the disk goes on where it was (FAULTS 31 to 40)."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from support import LIMIT_S, train_here, wait_until, work_here

from rm_studio.errors import TrainingError
from rm_studio.training import checkpoints, queue, runs
from rm_studio.training.config import TrainConfig
from rm_studio.training.runs import Run, Status
from rm_studio.workspace import Project, Workspace, write_json

TIMES = ["time", "tokens_per_s", "memory_gb"]  # what differs from run to run


def wait_for_end(run: Run) -> Status:
    return wait_until(run, lambda status: not status.is_active)


def kill(run: Run) -> None:
    process = psutil.Process(run.status().pid)
    process.kill()
    psutil.wait_procs([process], timeout=10)
    deadline = time.monotonic() + 10
    while run.status().is_active and time.monotonic() < deadline:
        time.sleep(0.02)
    assert run.status().state == "interrupted"


@pytest.fixture(scope="module")
def settings(tiny_bert: Path) -> TrainConfig:
    return TrainConfig(
        base_model=str(tiny_bert), epochs=6, batch_size=2, learning_rate=1e-3, checkpoint_minutes=0, warmup=0.1
    )


@pytest.fixture
def project(workspace: Workspace) -> Project:
    return workspace.create("Resume")


@pytest.fixture(scope="module")
def unbroken(settings: TrainConfig, pairs: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_here(pairs, tmp_path_factory.mktemp("unbroken") / "run", **settings.model_dump())


def same_course(one: Run, other: Run) -> None:
    """The same numbers at every step, and the same weights."""
    frames = [run.metrics.drop(columns=TIMES).reset_index(drop=True) for run in (one, other)]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    weights = [(run.model_folder / "model.safetensors").read_bytes() for run in (one, other)]
    assert weights[0] == weights[1]


def test_a_run_killed_and_resumed_equals_an_unbroken_one_step_by_step(
    workspace: Workspace, project: Project, settings: TrainConfig, pairs: pd.DataFrame, unbroken: Run
) -> None:
    run = queue.submit(workspace, project.runs, settings, pairs)
    wait_until(run, lambda status: status.step >= 20)
    kill(run)
    assert "Go on" in run.status().message
    checkpoint = checkpoints.newest_whole(run.checkpoints)
    assert checkpoint is not None and 0 < checkpoints.step_of(checkpoint) < run.status().total_steps
    queue.resume(workspace, run)
    assert wait_for_end(run).state == "completed"
    same_course(run, unbroken)
    assert not checkpoints.every(run.checkpoints), "a finished run needs none"


def test_a_kill_during_a_save_leaves_the_checkpoint_before_it(
    workspace: Workspace, project: Project, settings: TrainConfig, pairs: pd.DataFrame, unbroken: Run
) -> None:
    run = queue.submit(workspace, project.runs, settings, pairs)
    deadline = time.monotonic() + LIMIT_S
    while not (checkpoints.every(run.checkpoints) and list(run.checkpoints.glob("unfinished/*/model.safetensors"))):
        assert time.monotonic() < deadline and run.status().is_active
    psutil.Process(run.status().pid).kill()
    wait_for_end(run)
    # And one that looks finished but lost its end, as a disk can leave it.
    whole = checkpoints.newest_whole(run.checkpoints)
    assert whole is not None
    broken = run.checkpoints / "checkpoint-9999"
    broken.mkdir()
    for file in whole.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "trainer_state.json").write_text('{"global_step": 9999}')
    assert checkpoints.newest_whole(run.checkpoints) == broken
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert checkpoints.newest_whole(run.checkpoints) == whole
    work_here(run)
    assert run.status().state == "completed"
    same_course(run, unbroken)


def test_pause_keeps_the_place_and_go_on_ends_as_if_never_paused(
    workspace: Workspace, project: Project, settings: TrainConfig, pairs: pd.DataFrame, unbroken: Run
) -> None:
    run = queue.submit(workspace, project.runs, settings, pairs)
    wait_until(run, lambda status: status.step >= 10)
    run.pause()
    status = wait_for_end(run)
    assert status.state == "paused"
    assert not run.has_model
    queue.resume(workspace, run)  # at once: the worker before may still be about to end
    assert wait_for_end(run).state == "completed"
    same_course(run, unbroken)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_sigterm_leaves_a_checkpoint_a_model_and_the_state_stopped(
    workspace: Workspace, project: Project, settings: TrainConfig, pairs: pd.DataFrame
) -> None:
    run = queue.submit(workspace, project.runs, settings.model_copy(update={"checkpoint_minutes": 60}), pairs)
    status = wait_until(run, lambda status: status.step >= 5)
    os.kill(status.pid, signal.SIGTERM)
    status = wait_for_end(run)
    assert status.state == "stopped" and status.step < status.total_steps
    assert run.has_model and run.can_resume


def test_resumed_from_two_tabs_at_once_there_is_one_worker(
    workspace: Workspace, project: Project, settings: TrainConfig, pairs: pd.DataFrame
) -> None:
    run = queue.submit(workspace, project.runs, settings, pairs)
    wait_until(run, lambda status: status.step >= 10)
    kill(run)
    refused: list[str] = []

    def press() -> None:
        try:
            queue.resume(Workspace(workspace.root), Run(run.folder))
        except TrainingError as error:
            refused.append(str(error))

    tabs = [threading.Thread(target=press) for _ in range(2)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    assert refused == ["This run is already going on."]
    queue.start(run)  # and should it be started past the queue, the second worker sees the first
    wait_for_end(run)
    assert run.log_file.read_text().count("nothing to do") <= 1
    steps = run.metrics[run.metrics["split"] == "train"]["step"]
    assert steps.is_monotonic_increasing and steps.is_unique


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a small disk is mounted, which needs root")
def test_a_full_disk_ends_the_run_cleanly_with_the_last_checkpoint_whole(
    settings: TrainConfig, pairs: pd.DataFrame, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    assert os.system(f"mount -t tmpfs -o size=3m tmpfs {disk}") == 0
    try:
        run = queue.prepare(disk / "run", settings, pairs)
        queue.start(run)
        wait_until(run, lambda status: status.step >= 5)
        with pytest.raises(OSError, match="No space left"), (disk / "filler").open("wb") as filler:
            while True:
                filler.write(b"x" * 65536)
                filler.flush()
        status = wait_for_end(run)
        assert status.state == "failed" and status.reason == "disk", run.log_file.read_text()
        assert "disk" in status.message and "Traceback" not in status.message
        assert checkpoints.newest_whole(run.checkpoints) is not None
        (disk / "filler").unlink()
        work_here(run)
        assert run.status().state == "completed"
    finally:
        os.system(f"umount -l {disk}")


def test_a_second_run_waits_for_its_turn_and_then_begins_by_itself(
    workspace: Workspace, project: Project, settings: TrainConfig, pairs: pd.DataFrame
) -> None:
    other = workspace.create("Other")
    first = queue.submit(workspace, project.runs, settings, pairs)
    second = queue.submit(workspace, other.runs, settings.model_copy(update={"epochs": 1}), pairs)
    third = queue.submit(workspace, other.runs, settings, pairs)
    assert second.status().is_waiting and third.status().is_waiting
    third.stop()
    assert third.status().state == "stopped"
    wait_for_end(first)
    assert wait_for_end(second).state == "completed"  # nobody looked meanwhile but at its files
    assert third.status().state == "stopped"


def test_the_queue_moves_on_when_the_worker_before_was_killed(
    workspace: Workspace, project: Project, settings: TrainConfig, pairs: pd.DataFrame
) -> None:
    first = queue.submit(workspace, project.runs, settings, pairs)
    second = queue.submit(workspace, project.runs, settings.model_copy(update={"epochs": 1}), pairs)
    wait_until(first, lambda status: status.step >= 1)
    kill(first)
    assert second.status().is_waiting
    queue.advance(workspace)
    assert wait_for_end(second).state == "completed"


def test_an_app_that_starts_later_finds_the_run_that_goes_on(
    workspace: Workspace, project: Project, settings: TrainConfig, pairs: pd.DataFrame
) -> None:
    run = queue.submit(workspace, project.runs, settings, pairs)
    pid = wait_until(run, lambda status: status.step >= 1).pid
    found = queue.active(Workspace(workspace.root))
    assert [other.id for other in found] == [run.id] and found[0].status().pid == pid
    run.end()


def test_going_back_to_the_best_measurement_gives_its_model(
    workspace: Workspace, project: Project, settings: TrainConfig, pairs: pd.DataFrame
) -> None:
    run = train_here(pairs, project.runs / "20260101-000000-000", **settings.model_dump())
    assert run.best is not None
    measured = run.metrics[(run.metrics["split"] == "eval") & (run.metrics["step"] > 0)]
    assert run.best["step"] == measured.loc[measured["loss"].idxmin(), "step"]
    write_json(run.checkpoints / checkpoints.BEST / "best.json", {**run.best, "step": 7})
    queue.use_best(workspace, run)
    status = wait_for_end(run)
    assert status.state == "stopped" and "step 7" in status.message
    assert (run.metrics["split"] == "eval").sum() == len(measured) + 1, "the chart is still there"
    assert run.report is not None and run.report["picked_as_best"]


def test_stopping_early_keeps_the_best(settings: TrainConfig, tiny_bert: Path, tmp_path: Path) -> None:
    """Labels that are noise: the held-out loss can only rise once they are learned by heart."""
    rows = [
        {"prompt": f"p{i}", "chosen": f"answer {(i * 7) % 13}", "rejected": f"answer {(i * 5) % 11}"} for i in range(40)
    ]
    noisy = settings.model_copy(
        update={"epochs": 20, "learning_rate": 5e-3, "early_stopping": 2, "checkpoint_minutes": 60}
    )
    run = train_here(pd.DataFrame(rows), tmp_path / "run", **noisy.model_dump())
    status = run.status()
    assert status.state == "stopped" and "Stopped early" in status.message
    assert run.report is not None and run.report["picked_as_best"] and run.report["steps"] == run.best["step"]  # type: ignore[index]


def test_the_same_command_again_goes_on_where_it_was(
    settings: TrainConfig, pairs: pd.DataFrame, tmp_path: Path, unbroken: Run
) -> None:
    run = queue.prepare(tmp_path / "run", settings, pairs)
    queue.start(run)
    wait_until(run, lambda status: status.step >= 20)
    kill(run)
    with pytest.raises(TrainingError, match="not empty"):
        queue.train(pairs, run.folder, **{**settings.model_dump(), "epochs": 3})
    with pytest.raises(TrainingError, match="not empty"):
        queue.train(pairs[1:], run.folder, **settings.model_dump())
    same_course(queue.train(pairs, run.folder, **settings.model_dump()), unbroken)


def test_a_run_is_named_deleted_and_never_while_it_is_at_work(project: Project, pairs: pd.DataFrame) -> None:
    run = runs.prepare(project.runs / "20260101-000000-000", TrainConfig(), pairs)
    run.describe(runs.RunInfo(name="First try", note="small steps"))
    assert run.label.startswith("First try") and run.info.note == "small steps"
    assert run.size_bytes() > 1000
    with pytest.raises(TrainingError, match="Stop it first"):
        run.delete()
    write_json(run.status_file, Status(state="completed").model_dump())
    aside = project.runs / ".deleted-20260101-000000-001"  # what a deletion that was cut off leaves
    aside.mkdir()
    (aside / "config.json").write_text("{}")
    assert [found.id for found in runs.list_runs(project.runs)] == [run.id]
    (aside / "config.json").unlink()
    aside.rmdir()
    run.delete()
    assert runs.list_runs(project.runs) == [] and not list(project.runs.glob(".deleted*"))


def test_metrics_after_a_checkpoint_are_forgotten_with_a_line_that_was_cut_off(tmp_path: Path) -> None:
    from rm_studio.training import metrics

    path = tmp_path / "metrics.jsonl"
    for step in (1, 2, 3):
        metrics.append(path, step, 0.0, "train", {"loss": 1.0})
    path.write_text(path.read_text() + '{"step": 2, "lo')
    metrics.forget_after(path, 2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]
