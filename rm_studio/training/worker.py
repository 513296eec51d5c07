"""The training worker: ``python -m rm_studio.training.worker RUN_DIR``, alone or under ``accelerate launch``.

It reads ``config.json`` and ``pairs.parquet``, trains with TRL's RewardTrainer, and leaves ``model/`` and
``report.json``. All it says, it says in ``status.json`` and ``metrics.jsonl``.
"""

import errno
import math
import os
import shutil
import sys
import time
import traceback
import warnings
from functools import partial
from pathlib import Path
from typing import Any

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # TRL reports use otherwise
os.environ["TOKENIZERS_PARALLELISM"] = "true"
if "LOCAL_RANK" not in os.environ:  # TRL cannot use several cards without a launcher
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel, TrainerCallback, set_seed
from transformers.modeling_outputs import SequenceClassifierOutput
from trl import RewardConfig, RewardTrainer

from rm_studio import evaluation, models, processes
from rm_studio.config import TrainConfig
from rm_studio.encoding import choose_format, encode, write_format
from rm_studio.errors import StudioError, TrainingError
from rm_studio.preferences import split_by_prompt
from rm_studio.scoring import load_reward_model, score_ids
from rm_studio.training import metrics
from rm_studio.training.runs import Run, Status, pairs_of
from rm_studio.workspace import write_json

SLICES = 4  # forward passes a batch, each of texts of like length
POINTS = 60  # about so many training points on the chart
EVALUATIONS = 8


class Reporter:
    """Writes the run's status, from one process only when several train together."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.begun = time.monotonic()
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
    """Turns the trainer's events into the run's files, and a stop request into a stop."""

    def __init__(self, reporter: Reporter, batch_size: int) -> None:
        self.reporter = reporter
        self.batch_size = batch_size
        self.train_begun = time.monotonic()
        self.written = 0.0
        self.stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.train_begun = time.monotonic()
        self.reporter.say("training", "Learning from the pairs …", total_steps=state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.reporter.run.stop_file.exists():
            self.stopped = True
            control.should_training_stop = True
        if time.monotonic() - self.written < 0.4 and not self.stopped:
            return
        self.written = time.monotonic()
        seconds_a_step = (self.written - self.train_begun) / state.global_step
        self.reporter.say(
            "stopping" if self.stopped else "training",
            "Stopping after this step …" if self.stopped else "Learning from the pairs …",
            step=state.global_step,
            total_steps=state.max_steps,
            rate=round(self.batch_size / seconds_a_step, 2),
            eta_s=round((state.max_steps - state.global_step) * seconds_a_step, 1),
        )

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs: dict[str, Any] = kwargs["logs"]
        split = "eval" if "eval_loss" in logs else "train"
        values = {
            key.removeprefix("eval_"): float(value) for key, value in logs.items() if isinstance(value, int | float)
        }
        if "loss" not in values:  # the trainer's closing summary
            return
        if not all(map(math.isfinite, (values["loss"], values.get("grad_norm", 0.0)))):
            raise TrainingError(
                f"The run diverged at step {state.global_step}: its numbers grew beyond all bounds. Start again with a "
                "smaller learning rate, for example a tenth of this one."
            )
        if self.reporter.is_main:
            metrics.append(self.reporter.run.metrics_file, state.global_step, state.epoch or 0.0, split, values)


def forward_by_length(model: PreTrainedModel, input_ids: Any, attention_mask: Any, **options: Any) -> Any:
    """Run a padded batch as a few slices of texts of like length: the same scores with less padding to compute."""
    lengths = attention_mask.sum(dim=1)
    order = torch.argsort(lengths)
    logits = []
    for rows in order.chunk(SLICES):
        width = int(lengths[rows].max())
        outputs = model(input_ids=input_ids[rows, :width], attention_mask=attention_mask[rows, :width], **options)
        logits.append(outputs.logits)
    return SequenceClassifierOutput(logits=torch.cat(logits)[torch.argsort(order)])


def keep_head_exact(model: PreTrainedModel) -> None:
    """Compute the scoring head in float32 under autocast too: scores rounded to bfloat16 tie where there is no tie."""
    head = getattr(model, "score", None) or getattr(model, "classifier", None)
    if head is None:
        return
    forward = head.forward

    def exact(features: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(features.device.type, enabled=False):
            return forward(features.float(), *args, **kwargs)

    head.forward = exact


def has_fast_bfloat16() -> bool:
    """Whether this machine multiplies in bfloat16 faster than in float32: elsewhere it is emulated, and slower."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class StudioRewardTrainer(RewardTrainer):  # type: ignore[misc]  # TRL ships no types
    """TRL's trainer with a forward pass that wastes less, and an evaluation that is exact.

    TRL averages the accuracies of batches, which is wrong when the last batch is smaller.
    """

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return super().compute_loss(partial(forward_by_length, model), inputs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        self.model.eval()
        both = list(self.eval_dataset["chosen_ids"]) + list(self.eval_dataset["rejected_ids"])
        chosen, rejected = np.split(score_ids(self.model, both, self.processing_class.pad_token_id), 2)
        margins = torch.from_numpy(chosen - rejected)
        result = {
            "eval_loss": float(-logsigmoid(margins).mean()),
            "eval_accuracy": float(np.mean(evaluation.wins(margins.numpy()))),
            "eval_margin": float(margins.mean()),
            "eval_mean_reward": float(np.mean([chosen, rejected])),
        }
        self.log(dict(result))
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, result)
        self.model.train()
        return result


def tokenise(pairs: pd.DataFrame, tokenizer: Any, text_format: Any) -> tuple[Dataset, pd.DataFrame, int]:
    """The pairs as token ids; those whose answers fit, and how many prompts lost their beginning."""
    prompts = pairs["prompt"].tolist()
    both = encode(tokenizer, text_format, prompts * 2, pairs["chosen"].tolist() + pairs["rejected"].tolist())
    n = len(pairs)
    fits = [not (both.answer_cut[row] or both.answer_cut[n + row]) for row in range(n)]
    rows = [row for row in range(n) if fits[row]]
    dataset = Dataset.from_dict(
        {"chosen_ids": [both.ids[row] for row in rows], "rejected_ids": [both.ids[n + row] for row in rows]}
    )
    shortened = sum(both.prompt_cut[row] or both.prompt_cut[n + row] for row in rows)
    return dataset, pairs.iloc[rows], shortened


def train(run: Run, reporter: Reporter) -> None:
    """From pairs to ``model/`` and ``report.json``."""
    config: TrainConfig = run.config
    reporter.say("preparing", "Opening the base model …")
    set_seed(config.seed)  # before the scoring head is made
    models.quiet()
    loaded = models.load(config.base_model, for_training=True)
    loaded.model.config.problem_type = "regression"  # a plain pipeline then gives the raw score
    text_format = choose_format(loaded.tokenizer, loaded.model.config, config.max_length)

    head = "The base model gets a new scoring head. " if loaded.new_head else ""
    reporter.say("preparing", f"{head}Turning the texts into tokens …")
    split = split_by_prompt(pairs_of(run), config.test_share, config.seed)
    train_set, train_pairs, train_cut = tokenise(split.train, loaded.tokenizer, text_format)
    test_set, test_pairs, test_cut = tokenise(split.test, loaded.tokenizer, text_format)
    left_out = len(split.train) + len(split.test) - len(train_set) - len(test_set)
    if not len(train_set) or not len(test_set):
        raise TrainingError(
            f"{left_out} of {len(split.train) + len(split.test)} pairs have an answer longer than "
            f"{text_format.max_length} tokens, the most this model reads here, so nothing is left to train on. Use "
            "shorter answers, a larger maximum length, or a model that reads more."
        )

    keep_head_exact(loaded.model)
    on_gpu = torch.cuda.is_available()
    steps = max(1, math.ceil(math.ceil(len(train_set) / config.batch_size) * config.epochs))
    arguments = RewardConfig(
        output_dir=str(run.folder / "checkpoints"),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.batch_size,
        lr_scheduler_type="linear",
        warmup_steps=0.1,  # a ratio of all steps
        weight_decay=0.01,
        max_length=None,  # the texts were cut before
        bf16=has_fast_bfloat16(),
        use_cpu=not on_gpu and not torch.backends.mps.is_available(),
        gradient_checkpointing=False,
        dataloader_pin_memory=on_gpu,
        logging_steps=max(1, steps // POINTS),
        logging_nan_inf_filter=False,  # it would log 0.0 for NaN
        eval_strategy="steps",
        eval_steps=max(1, steps // EVALUATIONS),
        eval_on_start=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=config.seed,
    )
    files = Files(reporter, config.batch_size)
    trainer = StudioRewardTrainer(
        model=loaded.model,
        args=arguments,
        train_dataset=train_set,
        eval_dataset=test_set,
        processing_class=loaded.tokenizer,
        callbacks=[files],
    )
    trainer.train()
    if not reporter.is_main:
        return

    step = trainer.state.global_step
    reporter.say(
        "stopping" if files.stopped else "training",
        "Saving the model and measuring it …",
        step=step,
        eta_s=None,
    )
    if step < trainer.state.max_steps and not files.stopped:
        raise TrainingError(f"Training ended at step {step} of {trainer.state.max_steps} without being asked to.")
    fresh = run.folder / "model.new"
    loaded.model.save_pretrained(fresh)
    loaded.tokenizer.save_pretrained(fresh)
    write_format(fresh, text_format)
    result = {
        **evaluation.evaluate_model(load_reward_model(fresh), test_pairs),
        "n_train_pairs": len(train_pairs),
        "left_out": left_out,
        "prompts_shortened": train_cut + test_cut,
        "max_length": text_format.max_length,
        "steps": step,
        "train_seconds": round(time.monotonic() - files.train_begun, 1),
    }
    (fresh / "README.md").write_text(model_card(config, result), encoding="utf-8")
    fresh.replace(run.model_folder)
    write_json(run.folder / "report.json", result)
    state, verb = ("stopped", "Stopped") if files.stopped else ("completed", "Finished")
    reporter.say(state, f"{verb} after {step} steps.")


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


def explain(error: BaseException) -> str:
    """What went wrong, for the status line."""
    if isinstance(error, StudioError):
        return str(error)
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "out of memory" in str(error).lower():
        return "There was not enough memory. Start again with half the batch size, or a shorter maximum length."
    no_space = isinstance(error, OSError) and error.errno == errno.ENOSPC
    if no_space or "No space left" in str(error):  # safetensors has an error of its own
        return "The disk is full. Free some space and start again."
    return f"The run failed unexpectedly ({type(error).__name__}). Its log has the details."


def main() -> int:
    run = Run(Path(sys.argv[1]).resolve())
    reporter = Reporter(run)
    warnings.simplefilter("ignore")
    try:
        train(run, reporter)
    except BaseException as error:
        traceback.print_exc()
        shutil.rmtree(run.folder / "model.new", ignore_errors=True)
        reporter.say("failed", explain(error), eta_s=None)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
