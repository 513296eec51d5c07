"""Several processes train as one does, and what is shown to copy is what would be started."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support import train_here

from rm_studio.training import launchers, queue, runs
from rm_studio.training.config import TrainConfig


def test_two_processes_follow_the_same_curve_as_one(tiny_bert: Path, pairs: pd.DataFrame, tmp_path: Path) -> None:
    settings = {"base_model": str(tiny_bert), "epochs": 4, "batch_size": 8, "learning_rate": 1e-3, "warmup": 0.0}
    found = {}
    for processes, train in ((1, train_here), (2, queue.train)):
        run = train(pairs, tmp_path / str(processes), processes=processes, **settings)
        rows = run.metrics
        found[processes] = {split: rows[rows["split"] == split].reset_index(drop=True) for split in ("train", "eval")}
        assert run.status().state == "completed"
    for split in ("train", "eval"):
        one, two = found[1][split], found[2][split]
        assert list(one["step"]) == list(two["step"])
        pd.testing.assert_series_equal(one["loss"], two["loss"], rtol=5e-3)
        pd.testing.assert_series_equal(one["accuracy"], two["accuracy"])
    pd.testing.assert_series_equal(found[1]["train"]["num_tokens"], found[2]["train"]["num_tokens"], rtol=0.1)


@pytest.mark.parametrize("sharding", ["copies", "fsdp", "deepspeed"])
def test_accelerate_understands_what_it_is_given(sharding: str) -> None:
    from accelerate.commands.launch import launch_command_parser

    config = TrainConfig(processes=8, nodes=2, sharding=sharding)  # type: ignore[arg-type]
    words = launchers.cluster_command(config).replace("$RANK", "1").split()[2:]
    parsed = launch_command_parser().parse_args(words)
    assert parsed.num_processes == 16 and parsed.num_machines == 2
    assert parsed.use_fsdp == (sharding == "fsdp") and parsed.use_deepspeed == (sharding == "deepspeed")
    assert parsed.training_script == "rm_studio.training.worker" and parsed.training_script_args == ["run"]


def test_the_files_to_copy_are_valid(tmp_path: Path) -> None:
    import yaml

    config = TrainConfig(processes=4, nodes=2, sharding="fsdp")
    task = yaml.safe_load(launchers.skypilot_file(config))
    assert task["num_nodes"] == 2 and task["resources"]["accelerators"] == "H100:4"
    assert "accelerate launch" in task["run"] and "$SKYPILOT_NODE_RANK" in task["run"]
    script = launchers.slurm_file(config)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    # Run as SLURM would, with its commands stood in for: the line that reaches a machine is whole.
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, body in (
        ("scontrol", "echo first-machine; echo second-machine"),
        ("srun", 'shift; exec "$@"'),
        ("accelerate", 'printf "%s\\n" "$@"'),
    ):
        (bin_folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (bin_folder / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "SLURM_NODEID": "1"}
    said = subprocess.run(["bash"], input=script, text=True, check=True, capture_output=True, env=environment).stdout
    words = said.split()
    assert words[words.index("--machine_rank") + 1] == "1"
    assert words[words.index("--main_process_ip") + 1] == "first-machine"


def test_the_command_to_repeat_a_run_names_what_differs_from_the_defaults() -> None:
    line = launchers.repeat_command(TrainConfig(base_model="owner/model", epochs=2, soft_labels=True))
    assert line == (
        "rm-studio train pairs.parquet --output my-model --base-model owner/model --set epochs=2.0 "
        "--set soft_labels=True"
    )


def test_a_run_folder_is_all_that_another_machine_needs(pairs: pd.DataFrame, tmp_path: Path) -> None:
    run = runs.prepare(tmp_path / "run", TrainConfig(), pairs)
    assert {file.name for file in run.folder.iterdir()} == {"config.json", "pairs.parquet"}
    assert str(tmp_path) not in json.dumps(json.loads(run.config_file.read_text()))


def test_a_worker_started_by_another_s_last_act_does_not_take_its_place_in_a_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from rm_studio import processes

    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(launchers.GIVEN_CARDS, "2,3")
    log = tmp_path / "log"
    for processes_wanted, cards in ((1, "2"), (2, "2,3")):
        log.unlink(missing_ok=True)
        program = "import json, os; print(json.dumps(dict(os.environ)))"
        settings = launchers.environment(TrainConfig(processes=processes_wanted))
        started = processes.spawn([sys.executable, "-c", program], log, settings, launchers.is_inherited)
        while processes.find(started):
            pass
        found = json.loads(log.read_text())
        assert not {"RANK", "LOCAL_RANK", "WORLD_SIZE"} & set(found)
        assert found["CUDA_VISIBLE_DEVICES"] == cards
