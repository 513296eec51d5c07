"""The training worker: ``python -m rm_studio.training.worker RUN_DIR``, alone or under ``accelerate launch``.

It reads ``config.json`` and ``pairs.parquet``, trains with TRL's RewardTrainer, and leaves ``model/`` and
``report.json``. All it says, it says in ``status.json`` and ``metrics.jsonl``. Where a whole checkpoint is, it goes on
from there.
"""

import os
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # TRL reports use otherwise, also where a cluster starts this

from filelock import FileLock, Timeout

from rm_studio import evaluation
from rm_studio.encoding import write_format
from rm_studio.errors import TrainingError
from rm_studio.scoring import load_reward_model
from rm_studio.training import checkpoints, methods, metrics, queue
from rm_studio.training.assemble import assemble
from rm_studio.training.card import model_card
from rm_studio.training.config import TrainConfig
from rm_studio.training.explain import explain
from rm_studio.training.reporting import PAUSE, Reporter, is_sharded
from rm_studio.training.runs import Run
from rm_studio.training.trainer import StudioRewardTrainer
from rm_studio.workspace import read_json, write_json

PATIENCE_S = 20  # for a worker before this one, which has said its last word and is about to end


class Ending(NamedTuple):
    """How the run has ended, for its status."""

    state: str
    message: str


def train(run: Run, reporter: Reporter) -> Ending:
    """From pairs to ``model/`` and ``report.json``."""
    config: TrainConfig = run.config
    only_best = run.use_best_file.exists()
    trainer, files, tokenizer, text_format, train_set, test_set, left_out = assemble(run, reporter)

    resume = checkpoints.newest_whole(run.checkpoints)
    if only_best:
        trainer._load_from_checkpoint(str(files.best_folder))
        last, total = int(read_json(files.best_folder / "best.json")["step"]), run.status().total_steps
    else:
        trainer._total_train_tokens = int(files.tokens_before)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        last, total = trainer.state.global_step, trainer.state.max_steps
        trainer.accelerator.wait_for_everyone()  # one process may still be keeping the best model
    if files.request == PAUSE:
        return Ending("paused", f"Paused after step {last:,}. Press “Go on” to continue.")
    ended_early = bool(files.request or files.stopped_early or only_best)
    if last < total and not ended_early:
        raise TrainingError(f"Training ended at step {last} of {total} without being asked to.")

    state = "stopping" if ended_early else "training"
    reporter.say(state, "Saving the model and measuring it …", step=last, eta_s=None)
    step, picked = last, only_best
    best = read_json(files.best_folder / "best.json") if config.keep_best or files.stopped_early else None
    if best and int(best["step"]) <= last:  # a later one is left from before a crash
        trainer._load_from_checkpoint(str(files.best_folder))
        step, picked = int(best["step"]), True
    fresh = run.folder / "model.new"
    save(trainer, fresh, tokenizer, config)
    if reporter.is_main:
        write_format(fresh, text_format)
        result = {
            **evaluation.evaluate_model(load_reward_model(fresh), test_set.pairs),
            "n_train_pairs": len(train_set.pairs),
            "left_out": left_out,
            "prompts_shortened": train_set.shortened + test_set.shortened,
            "max_length": text_format.max_length,
            "steps": step,
            "picked_as_best": picked,
            "train_seconds": round(time.monotonic() - files.train_begun, 1),
            "memory_bytes": reporter.status.memory,
        }
        (fresh / "README.md").write_text(model_card(config, result), encoding="utf-8")
        if run.model_folder.exists():  # from a stop before this one
            run.model_folder.replace(run.folder / "model.old")
        fresh.replace(run.model_folder)
        write_json(run.folder / "report.json", result)
    if only_best:
        return Ending("stopped", f"The model is now the one of step {step:,}, the best measured on the way.")
    if files.stopped_early:
        why = "the held-out loss no longer fell"
        return Ending("stopped", f"Stopped early after {last:,} steps: {why}. The model is the one of step {step:,}.")
    return (
        Ending("stopped", f"Stopped after {last:,} steps.")
        if ended_early
        else Ending("completed", f"Finished after {last:,} steps.")
    )


def save(trainer: StudioRewardTrainer, folder: Path, tokenizer: Any, config: TrainConfig) -> None:
    """The model as an ordinary transformers folder."""
    shutil.rmtree(folder, ignore_errors=True)
    if is_sharded(trainer.args):
        trainer.save_model(str(folder))  # all processes give their part
    elif trainer.is_world_process_zero():
        adapter = folder.with_name("adapter")
        methods.whole(trainer.accelerator.unwrap_model(trainer.model), config, adapter).save_pretrained(folder)
        shutil.rmtree(adapter, ignore_errors=True)
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(folder)
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle, with paths in it


def work(run: Run) -> int:
    """Take the run to its end, whatever that is, and say in its status how it ended; 1 when it failed."""
    before = read_json(run.status_file) or {}
    reporter = Reporter(run, before.get("elapsed_s", 0.0))
    lock = FileLock(run.folder / ".worker.lock")
    reserve = run.folder / ".reserve"  # room for the last words, should the disk be full by then
    leftovers = [run.folder / name for name in ("model.new", "model.old", "adapter")]
    try:
        if reporter.is_main:
            lock.acquire(timeout=PATIENCE_S)
    except Timeout:
        print("Another worker has this run; nothing to do.", flush=True)
        return 1
    reason = ""
    try:
        if reporter.is_main:
            reserve.write_bytes(bytes(65_536))
            if not run.use_best_file.exists():  # that trains no further
                checkpoint = checkpoints.newest_whole(run.checkpoints)
                metrics.forget_after(run.metrics_file, checkpoints.step_of(checkpoint) if checkpoint else -1)
        ending = train(run, reporter)
    except BaseException as error:
        traceback.print_exc()
        reason, words = explain(error)
        ending = Ending("failed", words)
    if reporter.is_main:
        reserve.unlink(missing_ok=True)
        for leftover in [*leftovers, run.checkpoints / checkpoints.UNFINISHED]:
            shutil.rmtree(leftover, ignore_errors=True)
        if ending.state == "completed":  # nothing is left to go on from
            for checkpoint in checkpoints.every(run.checkpoints):
                shutil.rmtree(checkpoint, ignore_errors=True)
        # Requests first: once the state says that the run has ended, new ones may come.
        run.clear_requests()
    reporter.say(ending.state, ending.message, reason=reason, eta_s=None)
    if reporter.is_main:
        lock.release()
        queue.advance_beside(run)
    return 1 if ending.state == "failed" else 0


def main() -> int:
    warnings.simplefilter("ignore")
    return work(Run(Path(sys.argv[1]).resolve()))


if __name__ == "__main__":
    sys.exit(main())
