"""Try a run before it starts: ``python -m rm_studio.training.preflight FOLDER``, the folder prepared like a run's.

Really opens the model, turns the pairs into tokens and trains a few steps, then throws the result away. Prints one
JSON line a stage, ``{"message"}``, and at last ``{"trial"}`` or ``{"problem"}``. The app reads them (`try_out`).
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from rm_studio.errors import StudioError, TrainingError
from rm_studio.training import launchers
from rm_studio.training.checks import Trial
from rm_studio.training.config import TrainConfig
from rm_studio.training.runs import Run

STEPS = 4  # the first warms up and is not timed
FLOAT32_SLOWER = 1.5  # the last measurement is made exactly
GPU_CONTEXT = 0.6e9  # what CUDA itself takes on a card
KERNELS = 0.25e9  # what torch's kernels for a processor take when they are first used
WORKING = {"cpu": 1.2, "cuda": 1.15, "mps": 1.3}  # times what the forward pass keeps: the backward pass, and gaps
ADAPTED = 1.4  # times that, with LoRA on a processor: measured


def try_out(run: Run, on_message: Callable[[str], None], should_stop: Callable[[], bool]) -> Trial:
    """Run this program on a prepared folder and follow it; the folder is removed in the end.

    Raises:
        TrainingError: the run could not be tried, with the reason; or it was stopped.
    """
    command = [sys.executable, "-m", __name__, str(run.folder)]
    environment = {**os.environ, **launchers.environment(TrainConfig())}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    watch = threading.Thread(target=_kill_when, args=(process, should_stop), daemon=True)
    watch.start()
    try:
        for line in process.stdout or []:
            try:
                said = json.loads(line)
            except ValueError:  # a library's own words
                continue
            if "problem" in said:
                raise TrainingError(said["problem"])
            if "trial" in said:
                return Trial.model_validate(said["trial"])
            on_message(said.get("message", ""))
        if should_stop():
            raise TrainingError("The check was stopped.")
        raise TrainingError("The check ended without a result. There may be too little memory for this model.")
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
        shutil.rmtree(run.folder, ignore_errors=True)


def _kill_when(process: "subprocess.Popen[str]", should_stop: Callable[[], bool]) -> None:
    while process.poll() is None:
        if should_stop():
            process.kill()
        time.sleep(0.3)


def trial(run: Run) -> Trial:
    """Measure a few steps of the run; in this process, which is to be thrown away."""
    import torch
    from transformers import TrainerCallback

    from rm_studio.training.assemble import assemble
    from rm_studio.training.reporting import Reporter, peak_memory

    class Speaker(Reporter):
        def say(self, state: str, message: str, **changes: Any) -> None:
            say(message=message)

    config: TrainConfig = run.config
    process = psutil.Process()
    begun = time.monotonic()
    trainer, files, _, text_format, train_set, test_set, left_out = assemble(run, Speaker(run, 0.0))
    opened_s = time.monotonic() - begun
    say(message="Estimating memory …")
    model, on_gpu = trainer.model, torch.cuda.is_available()
    parameters = [(value.numel(), value.element_size(), value.requires_grad) for value in model.parameters()]
    learning = sum(n for n, _, learns in parameters if learns)
    weights = sum(n * size for n, size, _ in parameters)
    # So far there are the program, its libraries and the weights; a gradient and two moments come for what learns.
    there_already = GPU_CONTEXT + weights if on_gpu else process.memory_info().rss + KERNELS
    memory = there_already + learning * 12 + activations(trainer)

    say(message="Timing a few steps …")
    marks: list[tuple[float, int]] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            marks.append((time.perf_counter(), trainer._total_train_tokens))
            control.should_training_stop = len(marks) >= STEPS

    trainer.remove_callback(files)
    trainer.add_callback(Clock())
    trainer.args.eval_on_start, trainer.args.eval_strategy = False, "no"
    total_steps = trainer.get_total_train_batch_size(trainer.args)
    trainer.train()
    seconds = marks[-1][0] - marks[0][0] if len(marks) > 1 else marks[0][0] - begun - opened_s
    speed = (marks[-1][1] - (marks[0][1] if len(marks) > 1 else 0)) / seconds
    lengths = {name: tokens_in(found) for name, found in (("train", train_set), ("test", test_set))}
    watched = len(trainer.eval_dataset) / len(test_set.dataset) * 11
    measuring = lengths["test"] / (3 * speed) * (watched + FLOAT32_SLOWER)
    whole = lengths["train"] * config.epochs / speed + measuring + 2 * opened_s + 3
    measured = peak_memory() + (GPU_CONTEXT if on_gpu else 0)
    free, there = torch.cuda.mem_get_info() if on_gpu else (0, psutil.virtual_memory().total)
    n_train = len(train_set.dataset)
    return Trial(
        n_train=n_train,
        n_test=len(test_set.dataset),
        left_out=left_out,
        shortened=train_set.shortened + test_set.shortened,
        max_length=text_format.max_length,
        parameters=sum(n for n, _, _ in parameters),
        learning=learning,
        steps=-(-n_train // total_steps),
        seconds=round(whole, 1),
        pairs_per_s=round(speed / (lengths["train"] / n_train), 2),
        memory=int(max(memory, measured)),
        memory_there=int(there),
        memory_of_others=int(max(0, there - free - measured)) if on_gpu else others(process),
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        disk=int(weights * 2 + (weights + learning * 12) * 2),
    )


def activations(trainer: Any) -> float:
    """Bytes that the largest part of a step keeps for its backward pass, and works with meanwhile.

    One pair of the longest is put through the model, and what autograd keeps of it is counted; the largest part is
    looked for among the first hundred steps.
    """
    import torch

    from rm_studio.training import batching
    from rm_studio.training.trainer import SIDES

    order = list(trainer._get_train_sampler())
    size = trainer.args.per_device_train_batch_size
    largest, longest = 0, None
    for begin in range(0, min(len(order), 100 * size), size):
        rows = trainer.train_dataset[order[begin : begin + size]]
        sizes = [sum(map(len, both)) for both in zip(*(rows[f"{side}_ids"] for side in SIDES), strict=True)]
        widths = [2 * max(map(len, both)) for both in zip(*(rows[f"{side}_ids"] for side in SIDES), strict=True)]
        for part in batching.parts(widths, trainer.tokens_at_once):
            tokens = sum(sizes[row] for row in part)
            if tokens > largest:
                largest, longest = (
                    tokens,
                    [torch.tensor(rows[f"{side}_ids"][part[0]], device=trainer.args.device) for side in SIDES],
                )
    assert longest is not None
    trainer.model.train()
    once, twice = (_kept(trainer, [longest[0]] * n, [longest[1]] * n) for n in (1, 2))
    per_token = (twice - once) / sum(map(len, longest))
    # Under autocast the weights of one part are copied in bfloat16, and so are their gradients.
    copies = sum(value.numel() * 4 for value in trainer.model.parameters() if value.dim() == 2) * trainer.args.bf16
    working = WORKING[trainer.args.device.type]
    if trainer.args.device.type == "cpu" and hasattr(trainer.model, "peft_config"):
        working *= ADAPTED
    return float(copies + per_token * largest * working)


def _kept(trainer: Any, chosen: list[Any], rejected: list[Any]) -> int:
    """Bytes that autograd keeps of one forward pass."""
    import torch

    kept: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), trainer.accelerator.autocast():
        scores = trainer._scores(trainer.model, chosen, rejected)
    del scores
    return sum(kept.values())


def tokens_in(tokens: Any) -> int:
    """All token ids of a set."""
    from rm_studio.training.trainer import lengths_of

    return int(sum(lengths_of(tokens.dataset, side).sum() for side in ("chosen_ids", "rejected_ids")))


def others(process: psutil.Process) -> int:
    """Memory of this machine that other programs use."""
    return max(0, psutil.virtual_memory().used - process.memory_info().rss)


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def main() -> int:
    import warnings

    from rm_studio.training.explain import explain

    warnings.simplefilter("ignore")
    try:
        say(trial=trial(Run(Path(sys.argv[1]))).model_dump())
    except StudioError as error:
        say(problem=str(error))
    except BaseException as error:
        say(problem=explain(error)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
