"""Training: really run, stopped, killed, diverged (FAULTS, training)."""

import json
import os
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
from support import train_here, wait_until

from rm_studio.encoding import read_format
from rm_studio.errors import StudioError, TrainingError
from rm_studio.training import queue, runs
from rm_studio.training.config import TrainConfig
from rm_studio.training.runs import Run, Status
from rm_studio.workspace import write_json


@pytest.fixture(scope="module")
def finished(tiny_bert: Path, pairs: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Run:
    output = tmp_path_factory.mktemp("finished") / "run"
    return queue.train(pairs, output, base_model=str(tiny_bert), epochs=3, learning_rate=5e-3, batch_size=8)


def test_a_run_ends_with_a_model_that_learned_and_a_report_of_pairs_it_never_saw(finished: Run) -> None:
    status, report = finished.status(), finished.report
    assert status.state == "completed"
    assert report is not None
    assert report["n_train_pairs"] + report["n_pairs"] == 40
    assert report["accuracy"]["value"] == 1.0
    assert (finished.model_folder / "model.safetensors").exists()
    assert read_format(finished.model_folder) is not None
    assert not list(finished.folder.rglob("*.bin"))


def test_the_metrics_begin_before_the_first_step_and_end_at_the_last(finished: Run) -> None:
    evaluations = finished.metrics[finished.metrics["split"] == "eval"]
    assert evaluations["step"].iloc[0] == 0
    assert evaluations["step"].iloc[-1] == finished.status().total_steps
    assert evaluations["accuracy"].iloc[-1] == pytest.approx(finished.report["accuracy"]["value"])  # type: ignore[index]


def test_the_same_settings_give_the_same_model(finished: Run, pairs: pd.DataFrame, tmp_path: Path) -> None:
    again = queue.train(pairs, tmp_path / "run", **finished.config.model_dump())
    weights = [(run.model_folder / "model.safetensors").read_bytes() for run in (finished, again)]
    assert weights[0] == weights[1]


def test_a_decoder_trains_too(tiny_decoder: Path, pairs: pd.DataFrame, tmp_path: Path) -> None:
    run = train_here(pairs, tmp_path / "run", base_model=str(tiny_decoder), epochs=1, batch_size=8)
    text_format = read_format(run.model_folder)
    assert text_format is not None and text_format.style == "plain"


def test_stop_keeps_the_model_as_it_then_is_and_never_says_completed(
    tiny_bert: Path, pairs: pd.DataFrame, tmp_path: Path
) -> None:
    run = runs.prepare(tmp_path / "run", TrainConfig(base_model=str(tiny_bert), epochs=20, batch_size=1), pairs)
    queue.start(run)
    wait_until(run, lambda status: status.step >= 3)
    run.stop()
    status = wait_until(run, lambda status: not status.is_active)
    assert status.state == "stopped"
    assert status.step < status.total_steps
    assert run.has_model


def test_a_learning_rate_beyond_all_bounds_ends_as_diverged(
    tiny_bert: Path, pairs: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"diverged.*smaller learning rate"):
        train_here(pairs, tmp_path / "run", base_model=str(tiny_bert), epochs=5, learning_rate=1e30, batch_size=4)
    assert Run(tmp_path / "run").status().state == "failed"


def test_pairs_that_are_all_too_long_are_stopped_with_the_numbers(
    tiny_bert: Path, pairs: pd.DataFrame, tmp_path: Path
) -> None:
    long = pairs.assign(chosen=pairs["chosen"] + " more words" * 100)
    with pytest.raises(TrainingError, match=r"40 of 40 pairs.*64 tokens"):
        train_here(long, tmp_path / "run", base_model=str(tiny_bert))


def test_a_model_that_is_not_there_fails_in_plain_words(pairs: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="neither a folder here"):
        train_here(pairs, tmp_path / "run", base_model="no such model!")


def test_an_output_folder_with_something_in_it_is_left_alone(pairs: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(TrainingError, match="not empty"):
        queue.train(pairs, tmp_path)


def test_a_setting_out_of_bounds_is_named_by_its_label(pairs: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="Batch size"):
        queue.train(pairs, tmp_path / "run", batch_size=0)
    with pytest.raises(StudioError, match="no setting called “speed”"):
        queue.train(pairs, tmp_path / "run", speed=3)


def test_one_prompt_is_too_few_and_nothing_is_started(tmp_path: Path) -> None:
    same = pd.DataFrame({"prompt": ["p", "p"], "chosen": ["a", "b"], "rejected": ["x", "y"]})
    with pytest.raises(TrainingError, match="share one prompt"):
        runs.prepare(tmp_path / "run", TrainConfig(), same)
    assert not (tmp_path / "run").exists()


def test_a_pid_with_another_start_time_is_not_the_worker_and_not_touched(pairs: pd.DataFrame, tmp_path: Path) -> None:
    run = runs.prepare(tmp_path / "run", TrainConfig(), pairs)
    write_json(run.status_file, Status(state="training", pid=os.getpid(), started=1.0).model_dump())
    run.end()
    assert run.status().state == "interrupted"


@pytest.mark.parametrize("run_id", ["../x", "a/b", "", "."])
def test_a_run_id_never_leads_out_of_its_folder(tmp_path: Path, run_id: str) -> None:
    assert runs.find_run(tmp_path, run_id) is None


def test_no_secret_of_the_environment_reaches_the_run_folder(
    tiny_bert: Path, pairs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_plantedsecretplantedsecretplanted")
    run = train_here(pairs, tmp_path / "run", base_model=str(tiny_bert), batch_size=32)
    for file in run.folder.rglob("*"):
        if file.is_file():
            assert b"plantedsecret" not in file.read_bytes(), file.name
    assert json.loads(run.config_file.read_text())["base_model"] == str(tiny_bert)


def test_what_went_wrong_is_explained() -> None:
    import errno

    from rm_studio.training.explain import explain

    assert explain(MemoryError())[0] == "memory"
    assert explain(RuntimeError("CUDA out of memory. Tried to allocate"))[0] == "memory"
    assert explain(OSError(errno.ENOSPC, "No space left on device"))[0] == "disk"
    assert "/secret" not in explain(RuntimeError("/secret"))[1]


def test_nothing_but_ties_is_said_so(tiny_bert: Path, pairs: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="After ties are left out"):
        train_here(pairs.assign(p_chosen=0.5), tmp_path / "run", base_model=str(tiny_bert))


def test_a_worker_that_cannot_be_started_frees_the_queue(
    pairs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.prepare(tmp_path / "run", TrainConfig(), pairs)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rm_studio.processes.spawn", full)
    queue.start(run)
    status = run.status()
    assert status.state == "failed" and "No space left" in status.message


def test_a_failed_run_is_no_success_though_an_earlier_stop_left_a_model(finished: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(finished.folder, run.folder)
    write_json(run.status_file, Status(state="failed", message="The disk is full.").model_dump())
    with pytest.raises(TrainingError, match="The disk is full"):
        queue.follow(run, lambda status: None)


def test_taken_out_of_the_queue_a_run_keeps_how_far_it_was(pairs: pd.DataFrame, tmp_path: Path) -> None:
    run = runs.prepare(tmp_path / "run", TrainConfig(), pairs)
    waiting = Status(state="queued", message="Waits.", step=50, total_steps=100, elapsed_s=60.0, queued_at=time.time())
    write_json(run.status_file, waiting.model_dump())
    run.stop()
    status = run.status()
    assert (status.state, status.step, status.total_steps, status.elapsed_s) == ("stopped", 50, 100, 60.0)
    assert "after step 50" in status.message


def test_other_votes_are_other_pairs(pairs: pd.DataFrame, tmp_path: Path) -> None:
    judged = pairs.assign(p_chosen=1.0)
    run = runs.prepare(tmp_path / "run", TrainConfig(), judged)
    assert runs.is_same(run, TrainConfig(), judged)
    assert not runs.is_same(run, TrainConfig(), judged.assign(p_chosen=0.6))
    assert not runs.is_same(run, TrainConfig(), judged.assign(strength=2.0))
