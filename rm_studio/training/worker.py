"""The training worker: ``python -m rm_studio.training.worker RUN_DIR``, alone or under ``accelerate launch``.

It reads ``config.json`` and ``pairs.parquet``, trains with TRL's RewardTrainer, and leaves ``model/`` and
``report.json``. All it says, it says in ``status.json`` and ``metrics.jsonl``. Where a whole checkpoint is, it goes on
from there.
"""

import errno
import math
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

import torch
from filelock import FileLock, Timeout
from transformers import set_seed
from trl import RewardConfig

from rm_studio import evaluation, models
from rm_studio.config import TrainConfig
from rm_studio.encoding import choose_format, read_format, write_format
from rm_studio.errors import StudioError, TrainingError
from rm_studio.preferences import split_by_prompt
from rm_studio.scoring import load_reward_model
from rm_studio.training import checkpoints, methods, metrics, queue, runs
from rm_studio.training.objective import Objective
from rm_studio.training.reporting import PAUSE, Files, Reporter, is_sharded
from rm_studio.training.runs import Run
from rm_studio.training.tokens import Tokens, tokenise
from rm_studio.training.trainer import StudioRewardTrainer, ran_out_of_memory
from rm_studio.workspace import Workspace, read_json, write_json

POINTS = 200  # about so many training points on the chart
EVALUATIONS = 10
WATCHED_PAIRS = 128  # at least so many held-out pairs are measured on the way; all of them at the end
TOKENS_AT_ONCE = {"cpu": 8_192, "mps": 16_384, "cuda": 65_536}


def train(run: Run, reporter: Reporter) -> None:
    """From pairs to ``model/`` and ``report.json``."""
    config: TrainConfig = run.config
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    reporter.say("preparing", "Opening the base model …")
    set_seed(config.seed)  # before the scoring head is made
    models.quiet()
    loaded = methods.open_model(config, device == "cuda")
    loaded.model.config.problem_type = "regression"  # a plain pipeline then gives the raw score
    # A reward model that one goes on from keeps its format, and so the meaning of what it has learned.
    kept = None if loaded.new_head else read_format(loaded.folder)
    text_format = choose_format(loaded.tokenizer, loaded.model.config, config.max_length, kept)

    head = "The base model gets a new scoring head. " if loaded.new_head else ""
    train_set, test_set, left_out = prepare(run, loaded.tokenizer, text_format, reporter, head)
    model = methods.learning(loaded.model, config)
    objective = Objective.of(config, float((train_set.pairs["p_chosen"] == 0.5).mean()))
    trainer, files = build_trainer(run, reporter, model, loaded.tokenizer, objective, train_set, test_set, device)

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

    reporter.say("stopping" if ended_early else "training", "Saving the model and measuring it …", step=step, eta_s=None)
    last = step
    if (config.keep_best or files.stopped_early) and (best := read_json(files.best_folder / "best.json")):
        trainer._load_from_checkpoint(str(files.best_folder))
        step = int(best["step"])
    fresh = run.folder / "model.new"
    save(trainer, fresh, loaded.tokenizer, config)
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


def prepare(
    run: Run, tokenizer: Any, text_format: Any, reporter: Reporter, words: str
) -> tuple[Tokens, Tokens, int]:
    """The pairs to learn from, those to measure on, and how many are neither."""
    config = run.config
    pairs = runs.pairs_of(run)
    pairs["p_chosen"] = pairs["p_chosen"].fillna(1.0) if "p_chosen" in pairs else 1.0
    split = split_by_prompt(pairs, config.test_share, config.seed)
    learned = split.train if config.learn_ties else split.train[split.train["p_chosen"] != 0.5]
    measured = split.test[split.test["p_chosen"] != 0.5]  # nobody can say which answer of a tie is right

    def progress(done: int, total: int) -> None:
        reporter.say("preparing", f"{words}Turning the texts into tokens: {done:,} of {total:,} pairs …")

    folder = Workspace.default().token_cache
    sets = [tokenise(part, tokenizer, text_format, folder, progress) for part in (learned, measured)]
    left_out = len(pairs) - sum(len(found.dataset) for found in sets)
    if not all(len(found.dataset) for found in sets):
        raise TrainingError(
            f"{left_out} of {len(pairs)} pairs have an answer longer than {text_format.max_length} tokens, the most this "
            "model reads here, so nothing is left to train on. Use shorter answers, a larger maximum length, or a model "
            "that reads more."
        )
    return sets[0], sets[1], left_out


def build_trainer(
    run: Run,
    reporter: Reporter,
    model: Any,
    tokenizer: Any,
    objective: Objective,
    train_set: Tokens,
    test_set: Tokens,
    device: str,
) -> tuple[StudioRewardTrainer, Files]:
    """TRL's trainer with our settings, and what listens to it."""
    config = run.config
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    steps = max(1, math.ceil(math.ceil(len(train_set.dataset) / config.batch_size) * config.epochs))
    watched = min(len(test_set.dataset), max(WATCHED_PAIRS, len(train_set.dataset) // 16))
    on_the_chart = max(1, steps // POINTS)
    arguments = RewardConfig(
        output_dir=str(run.checkpoints),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        per_device_train_batch_size=max(1, config.batch_size // processes),
        lr_scheduler_type=config.schedule if config.schedule != "constant" else "constant_with_warmup",
        warmup_steps=config.warmup,  # below 1 a share of all steps
        weight_decay=config.weight_decay,
        max_length=None,  # the texts were cut before
        bf16=has_fast_bfloat16(),
        tf32=True if device == "cuda" and torch.cuda.get_device_capability() >= (8, 0) else None,
        use_cpu=device == "cpu",
        gradient_checkpointing=config.gradient_checkpointing,
        dataloader_pin_memory=device == "cuda",
        logging_steps=on_the_chart,
        logging_nan_inf_filter=False,  # it would log 0.0 for NaN
        eval_strategy="steps",
        eval_steps=on_the_chart * max(1, steps // on_the_chart // EVALUATIONS),
        eval_on_start=checkpoints.newest_whole(run.checkpoints) is None,
        save_strategy="no",  # the callback says when
        report_to="none",
        disable_tqdm=True,
        seed=config.seed,
    )
    files = Files(reporter, config)
    trainer = StudioRewardTrainer(
        model=model,
        args=arguments,
        objective=objective,
        tokens_at_once=config.tokens_at_once or TOKENS_AT_ONCE[device],
        train_dataset=train_set.dataset,
        eval_dataset=test_set.dataset.shuffle(seed=config.seed).select(range(watched)),
        processing_class=tokenizer,
        callbacks=[files],
    )
    return trainer, files


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


def has_fast_bfloat16() -> bool:
    """Whether this machine multiplies in bfloat16 faster than in float32: elsewhere it is emulated, and slower."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def model_card(config: TrainConfig, result: dict[str, Any]) -> str:
    """The README of the model folder."""
    base = Path(config.base_model).name if Path(config.base_model).is_absolute() else config.base_model
    return f"""---
library_name: transformers
pipeline_tag: text-classification
tags: [reward-model, rm-studio, trl]
---
# A reward model made with RM Studio

It gives an answer to a prompt one number: the higher, the better it expects people to like it. Only differences
between answers to the same prompt mean something; negative numbers are normal.

- Base model: {base}
- Learned from {result["n_train_pairs"]:,} preference pairs, measured on {result["n_pairs"]:,} pairs of other prompts
- {evaluation.reading(result)}
- Longest text: {result["max_length"]} tokens; longer prompts lose their beginning

Settings: `{config.model_dump_json(exclude={"base_model"})}`
"""


def explain(error: BaseException) -> tuple[str, str]:
    """Why it went wrong, in one word that the page can act on, and what to say."""
    if isinstance(error, StudioError):
        text = str(error)
        return ("diverged" if "diverged" in text else "disk" if "disk" in text else ""), text
    if ran_out_of_memory(error):
        return "memory", (
            "There was not enough memory, even for a few pairs at once. Start again with less: a shorter maximum length, "
            "a smaller base model, or LoRA."
        )
    no_space = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if no_space or "No space left" in str(error):  # safetensors has an error of its own
        return "disk", "The disk is full. The last checkpoint is whole: free some space and press “Go on”."
    return "", f"The run failed unexpectedly ({type(error).__name__}). Its log has the details."


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
