"""What a worker says while it runs, and hears: the run's status and metrics, requests to stop or pause.

Only the worker imports this.
"""

import ctypes
import json
import math
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import TrainerCallback

from rm_studio import processes
from rm_studio.training import checkpoints, metrics
from rm_studio.training.config import TrainConfig
from rm_studio.training.runs import Run, Status
from rm_studio.training.trainer import diverged
from rm_studio.workspace import write_json

AGREE_EVERY = 5  # steps, when several processes train: they must stop at the same one
NOTHING, SAVE, STOP, PAUSE = range(4)
RETURN_EVERY = 4  # steps
PRECISION = 0.4  # seconds between two looks at the clock's consequences


class Reporter:
    """Writes the run's status, from one process only when several train together."""

    def __init__(self, run: Run, before_s: float) -> None:
        self.run = run
        self.begun = time.monotonic() - before_s
        self.is_main = os.environ.get("RANK", "0") == "0"
        self.status = Status(state="preparing", **processes.own_identity()._asdict())

    def say(self, state: str, message: str, **changes: Any) -> None:
        elapsed = round(time.monotonic() - self.begun, 1)
        self.status = self.status.model_copy(
            update={"state": state, "message": message, "elapsed_s": elapsed, **changes}
        )
        if self.is_main:
            write_json(self.run.status_file, self.status.model_dump())


class Files(TrainerCallback):
    """Turns the trainer's events into the run's files, and requests into a stop, a pause or a checkpoint."""

    def __init__(self, reporter: Reporter, config: TrainConfig) -> None:
        self.reporter = reporter
        self.run = reporter.run
        self.config = config
        self.train_begun = self.saved_at = self.looked_at = time.monotonic()
        self.first_step = 0
        self.step_begun = self.stepping_s = 0.0  # in steps only: measuring and saving take time too
        self.request = NOTHING
        self.terminated = False
        self.stopped_early = False
        # What came after the checkpoint is not known to be: all processes must count alike.
        checkpoint = checkpoints.newest_whole(self.run.checkpoints)
        seen = self.run.metrics
        seen = seen[seen["step"] <= (checkpoints.step_of(checkpoint) if checkpoint else -1)]
        measured = seen[(seen["split"] == "eval") & (seen["step"] > 0)]
        self.tokens_before = float(seen["num_tokens"].max()) if "num_tokens" in seen and len(seen) else 0.0
        self.best_loss = float(measured["loss"].min()) if len(measured) else math.inf
        self.since_best = len(measured) - 1 - int(measured["loss"].to_numpy().argmin()) if len(measured) else 0
        signal.signal(signal.SIGTERM, self._terminate)

    @property
    def best_folder(self) -> Path:
        return self.run.checkpoints / checkpoints.BEST

    def _terminate(self, *_: Any) -> None:
        self.terminated = True

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.train_begun = self.saved_at = time.monotonic()
        self.first_step = state.global_step
        self.reporter.say("training", "Learning from the pairs …", step=state.global_step, total_steps=state.max_steps)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.step_begun = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        now = time.monotonic()
        self.stepping_s += now - self.step_begun
        wish = self._wish(now, state.global_step % args.logging_steps == 0)
        if args.world_size > 1:
            wish = self._agreed(wish, state.global_step, args.device)
        if state.global_step % RETURN_EVERY == 0:
            return_memory()
        if wish in (STOP, PAUSE):
            self.request = wish
            control.should_training_stop = True
        if wish != NOTHING:
            self.saved_at = now
            control.should_save = control.should_log = True
        if now - self.looked_at < PRECISION and wish == NOTHING:
            return
        self.looked_at = now
        seconds_a_step = (now - self.train_begun) / (state.global_step - self.first_step)
        words = {STOP: "Stopping after this step …", PAUSE: "Pausing after this step …"}
        self.reporter.say(
            "stopping" if wish in words else "training",
            words.get(wish, "Learning from the pairs …"),
            step=state.global_step,
            total_steps=state.max_steps,
            rate=round(self.config.batch_size / seconds_a_step, 2),
            eta_s=round((state.max_steps - state.global_step) * seconds_a_step, 1),
            memory=peak_memory(),
        )

    def _wish(self, now: float, on_the_chart: bool) -> int:
        if self.terminated or self.run.stop_file.exists():
            return STOP
        if self.run.pause_file.exists():
            return PAUSE
        # Together with a point on the chart, so that the points of a resumed run are those of an unbroken one.
        due = on_the_chart and now - self.saved_at >= self.config.checkpoint_minutes * 60
        return SAVE if due else NOTHING

    def _agreed(self, wish: int, step: int, device: torch.device) -> int:
        if step % AGREE_EVERY:
            return NOTHING
        agreed = torch.tensor(wish if self.reporter.is_main or wish == STOP else NOTHING, device=device)
        torch.distributed.all_reduce(agreed, op=torch.distributed.ReduceOp.MAX)
        return int(agreed)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs: dict[str, Any] = kwargs["logs"]
        split = "eval" if "eval_loss" in logs else "train"
        values = {
            key.removeprefix("eval_"): float(value) for key, value in logs.items() if isinstance(value, int | float)
        }
        values.pop("epoch", None)
        if "loss" not in values:  # the trainer's closing summary
            return
        if not all(map(math.isfinite, (values["loss"], values.get("grad_norm", 0.0)))):
            raise diverged(state.global_step)
        if not self.reporter.is_main:
            return
        if split == "train":
            values["tokens_per_s"] = round((values["num_tokens"] - self.tokens_before) / self.stepping_s, 1)
            values |= machine_use()
        metrics.append(self.run.metrics_file, state.global_step, state.epoch or 0.0, split, values)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        loss = kwargs["metrics"]["eval_loss"]
        if not state.global_step:
            return
        if loss < self.best_loss:
            self.best_loss, self.since_best = loss, 0
            if self.reporter.is_main and "model" in kwargs and not is_sharded(args):
                self._keep_best(kwargs["model"], state.global_step, loss)
            return
        self.since_best += 1
        if self.config.early_stopping and self.since_best >= self.config.early_stopping:
            self.stopped_early = control.should_training_stop = True

    def _keep_best(self, model: Any, step: int, loss: float) -> None:
        fresh = self.best_folder.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        model.save_pretrained(fresh)
        (fresh / "best.json").write_text(json.dumps({"step": step, "loss": loss}))
        shutil.rmtree(self.best_folder, ignore_errors=True)
        fresh.replace(self.best_folder)


def is_sharded(args: Any) -> bool:
    """Whether no process has the whole model."""
    return bool(args.deepspeed_plugin or args.fsdp or os.environ.get("ACCELERATE_USE_FSDP") == "true")


def peak_memory() -> int:
    """The most bytes used so far: on the card where there is one, else by this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    used = psutil.Process().memory_info()
    peak = getattr(used, "peak_wset", 0)
    if not peak:
        try:
            import resource

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        except ImportError:
            peak = used.rss
    return int(peak)


def return_memory() -> None:
    """Give back to the system what is free: texts of ever other lengths leave gaps, and glibc keeps them otherwise."""
    if sys.platform == "linux" and not torch.cuda.is_available():
        with suppress(OSError, AttributeError):  # another C library has no such function
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def machine_use() -> dict[str, float]:
    """Memory in GB, and how busy the card is where there is one (0 … 1)."""
    use = {"memory_gb": round(peak_memory() / 1e9, 3)}
    if torch.cuda.is_available():
        try:
            use["gpu_use"] = torch.cuda.utilization() / 100
        except (ModuleNotFoundError, RuntimeError):  # an old driver does not tell
            return use
    return use
