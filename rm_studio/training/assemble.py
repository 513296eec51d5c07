"""From a run's folder to a trainer that is ready: the model, the pairs as tokens, and what listens to them.

The worker trains with it, `preflight` tries a few steps of it. Only these two import this.
"""

import math
import os
from typing import Any, NamedTuple

import torch
from transformers import set_seed
from trl import RewardConfig

from rm_studio import models
from rm_studio.encoding import TextFormat, choose_format, read_format
from rm_studio.errors import TrainingError
from rm_studio.preferences import split_by_prompt
from rm_studio.training import checkpoints, methods, runs
from rm_studio.training.config import TrainConfig
from rm_studio.training.device import TOKENS_AT_ONCE, has_fast_bfloat16
from rm_studio.training.objective import Objective
from rm_studio.training.reporting import Files, Reporter
from rm_studio.training.runs import Run
from rm_studio.training.tokens import Tokens, tokenise
from rm_studio.training.trainer import StudioRewardTrainer
from rm_studio.workspace import Workspace

POINTS = 200  # about so many training points on the chart
WATCHED_PAIRS = 128  # at least so many held-out pairs are measured on the way; all of them at the end
MEASURINGS = (4, 10)  # at least and at most so many on the way,
MEASURED_SHARE = 0.6  # and not more pairs altogether than this share of those learned from: a fifth of the time


class Assembly(NamedTuple):
    """All that a run needs to begin; ``left_out`` pairs are in neither set, because an answer is too long."""

    trainer: StudioRewardTrainer
    files: Files
    tokenizer: Any
    text_format: TextFormat
    train_set: Tokens
    test_set: Tokens
    left_out: int


def assemble(run: Run, reporter: Reporter) -> Assembly:
    """Open the model, turn the pairs into tokens, and build the trainer.

    Raises:
        ModelError, HubError: the model cannot be used.
        TrainingError: no pair is left to learn from or to measure on.
    """
    config: TrainConfig = run.config
    reporter.say("preparing", "Opening the base model …")
    set_seed(config.seed)  # before the scoring head is made
    models.quiet()
    loaded = methods.open_model(config, torch.cuda.is_available())
    loaded.model.config.problem_type = "regression"  # a plain pipeline then gives the raw score
    # A reward model that one goes on from keeps its format, and so the meaning of what it has learned.
    kept = None if loaded.new_head else read_format(loaded.folder)
    text_format = choose_format(loaded.tokenizer, loaded.model.config, config.max_length, kept)
    head = "The base model gets a new scoring head. " if loaded.new_head else ""
    train_set, test_set, left_out = split_and_tokenise(run, loaded.tokenizer, text_format, reporter, head)
    model = methods.learning(loaded.model, config)
    objective = Objective.of(config, float((train_set.pairs["p_chosen"] == 0.5).mean()))
    trainer, files = build_trainer(run, reporter, model, loaded.tokenizer, objective, train_set, test_set)
    return Assembly(trainer, files, loaded.tokenizer, text_format, train_set, test_set, left_out)


def split_and_tokenise(
    run: Run, tokenizer: Any, text_format: TextFormat, reporter: Reporter, words: str
) -> tuple[Tokens, Tokens, int]:
    """The pairs to learn from, those to measure on, and how many are neither because an answer is too long."""
    config = run.config
    pairs = runs.pairs_of(run)
    pairs = pairs[pairs["chosen"] != pairs["rejected"]].reset_index(drop=True)
    pairs["p_chosen"] = pairs["p_chosen"].fillna(1.0) if "p_chosen" in pairs else 1.0
    split = split_by_prompt(pairs, config.test_share, config.seed)
    learned = split.train if config.learn_ties else split.train[split.train["p_chosen"] != 0.5]
    measured = split.test[split.test["p_chosen"] != 0.5]  # nobody can say which answer of a tie is right
    if learned.empty or measured.empty:
        raise TrainingError(
            "After ties are left out, no pair is left to learn from or to measure on. Add pairs that have a "
            "better answer."
        )

    def progress(done: int, total: int) -> None:
        reporter.say("preparing", f"{words}Turning the texts into tokens: {done:,} of {total:,} pairs …")

    folder = Workspace.default().token_cache
    sets = [tokenise(part, tokenizer, text_format, folder, progress) for part in (learned, measured)]
    n_pairs = len(learned) + len(measured)
    left_out = n_pairs - sum(len(found.dataset) for found in sets)
    if not all(len(found.dataset) for found in sets):
        raise TrainingError(
            f"{left_out} of {n_pairs} pairs have an answer longer than {text_format.max_length} tokens, the most this "
            "model reads here, so nothing is left to train on. Use shorter answers, a larger maximum length, or "
            "a model "
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
) -> tuple[StudioRewardTrainer, Files]:
    """TRL's trainer with our settings, and what listens to it."""
    config = run.config
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    steps = max(1, math.ceil(math.ceil(len(train_set.dataset) / config.batch_size) * config.epochs))
    watched = min(len(test_set.dataset), max(WATCHED_PAIRS, len(train_set.dataset) // 16))
    wanted = int(MEASURED_SHARE * len(train_set.dataset) * config.epochs / watched)
    patience = config.early_stopping + 3 if config.early_stopping else 0  # or it could never come to its end
    measurings = min(max(wanted, MEASURINGS[0], patience), max(MEASURINGS[1], patience))
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
        ddp_backend="gloo" if device == "cpu" and processes > 1 else None,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,  # processes make different numbers of passes; nothing here trains buffers
        gradient_checkpointing=config.gradient_checkpointing,
        dataloader_pin_memory=device == "cuda",
        logging_steps=on_the_chart,
        logging_nan_inf_filter=False,  # it would log 0.0 for NaN
        eval_strategy="steps",
        eval_steps=on_the_chart * max(1, steps // on_the_chart // measurings),
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
