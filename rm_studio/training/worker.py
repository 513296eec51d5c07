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
from typing import Any

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # TRL reports use otherwise
os.environ["TOKENIZERS_PARALLELISM"] = "true"
if "LOCAL_RANK" not in os.environ:  # TRL cannot use several cards without a launcher
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")

from filelock import FileLock, Timeout

from rm_studio import evaluation
from rm_studio.config import TrainConfig
from rm_studio.encoding import write_format
from rm_studio.errors import TrainingError
from rm_studio.scoring import load_reward_model
from rm_studio.training import checkpoints, methods, metrics, queue
from rm_studio.training.assemble import assemble
from rm_studio.training.card import model_card
from rm_studio.training.explain import explain
from rm_studio.training.reporting import PAUSE, Reporter, is_sharded
from rm_studio.training.runs import Run
from rm_studio.training.trainer import StudioRewardTrainer
from rm_studio.workspace import read_json, write_json


def train(run: Run, reporter: Reporter) -> None:
    """From pairs to ``model/`` and ``report.json``."""
    config: TrainConfig = run.config
    trainer, files, tokenizer, text_format, train_set, test_set, left_out = assemble(run, reporter)

    resume = checkpoints.newest_whole(run.checkpoints)
    if run.use_best_file.exists():
        trainer._load_from_checkpoint(str(files.best_folder))
        step, total = int(read_json(files.best_folder / "best.json")["step"]), run.status().total_steps
    else:
        trainer._total_train_tokens = int(files.tokens_before)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        step, total = trainer.state.global_step, trainer.state.max_steps
    if files.request == PAUSE:
        reporter.say("paused", f"Paused after step {step:,}. Press “Go on” to continue.", step=step, eta_s=None)
        return
    ended_early = files.request or files.stopped_early or run.use_best_file.exists()
    if step < total and not ended_early:
        raise TrainingError(f"Training ended at step {step} of {total} without being asked to.")

    reporter.say(
        "stopping" if ended_early else "training", "Saving the model and measuring it …", step=step, eta_s=None
    )
    last = step
    if (config.keep_best or files.stopped_early) and (best := read_json(files.best_folder / "best.json")):
        trainer._load_from_checkpoint(str(files.best_folder))
        step = int(best["step"])
    fresh = run.folder / "model.new"
    save(trainer, fresh, tokenizer, config)
    if not reporter.is_main:
        return
    write_format(fresh, text_format)
    result = {
        **evaluation.evaluate_model(load_reward_model(fresh), test_set.pairs),
        "n_train_pairs": len(train_set.pairs),
        "left_out": left_out,
        "prompts_shortened": train_set.shortened + test_set.shortened,
        "max_length": text_format.max_length,
        "steps": step,
        "picked_as_best": step < last or run.use_best_file.exists(),
        "train_seconds": round(time.monotonic() - files.train_begun, 1),
        "memory_bytes": reporter.status.memory,
    }
    (fresh / "README.md").write_text(model_card(config, result), encoding="utf-8")
    shutil.rmtree(run.model_folder, ignore_errors=True)
    fresh.replace(run.model_folder)
    write_json(run.folder / "report.json", result)
    if run.use_best_file.exists():
        reporter.say("stopped", f"The model is now the one of step {step:,}, the best measured on the way.")
    elif files.stopped_early:
        why = "the held-out loss no longer fell"
        reporter.say("stopped", f"Stopped early after {last:,} steps: {why}. The best model is kept, of step {step:,}.")
    elif ended_early:
        reporter.say("stopped", f"Stopped after {last:,} steps.")
    else:
        reporter.say("completed", f"Finished after {last:,} steps.")
        for checkpoint in checkpoints.every(run.checkpoints):  # nothing is left to go on from
            shutil.rmtree(checkpoint, ignore_errors=True)


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


def main() -> int:
    run = Run(Path(sys.argv[1]).resolve())
    before = read_json(run.status_file) or {}
    reporter = Reporter(run, before.get("elapsed_s", 0.0))
    warnings.simplefilter("ignore")
    lock = FileLock(run.folder / ".worker.lock")
    reserve = run.folder / ".reserve"  # room for the last words, should the disk be full by then
    try:
        if reporter.is_main:
            lock.acquire(timeout=0)
    except Timeout:
        print("Another worker has this run; nothing to do.", flush=True)
        return 1
    try:
        reserve.write_bytes(bytes(65_536))
        if (checkpoint := checkpoints.newest_whole(run.checkpoints)) and reporter.is_main:
            metrics.forget_after(run.metrics_file, checkpoints.step_of(checkpoint))
        train(run, reporter)
    except BaseException as error:
        traceback.print_exc()
        reserve.unlink(missing_ok=True)
        reason, words = explain(error)
        reporter.say("failed", words, reason=reason, eta_s=None)
        return 1
    finally:
        for leftover in (run.folder / "model.new", run.folder / "adapter", run.checkpoints / checkpoints.UNFINISHED):
            shutil.rmtree(leftover, ignore_errors=True)
        if reporter.is_main:
            reserve.unlink(missing_ok=True)
            run.clear_requests()
            lock.release()
            queue.advance_beside(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
