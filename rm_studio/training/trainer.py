"""TRL's RewardTrainer, with steps that waste less, a loss of our own, an exact evaluation and whole checkpoints.

Only the worker imports this.
"""

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import softplus
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import RewardConfig, RewardTrainer

from rm_studio import evaluation
from rm_studio.errors import TrainingError
from rm_studio.scoring import pad, score_ids
from rm_studio.training import batching, checkpoints
from rm_studio.training.explain import ran_out_of_memory
from rm_studio.training.objective import Objective

FEWEST_TOKENS_AT_ONCE = 256


def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """Pairs as they come from the data set; they are padded later, slice by slice."""
    return {
        "chosen": [torch.tensor(example["chosen_ids"]) for example in examples],
        "rejected": [torch.tensor(example["rejected_ids"]) for example in examples],
        "p_chosen": torch.tensor([example["p_chosen"] for example in examples], dtype=torch.float32),
        "strength": torch.tensor([example["strength"] for example in examples], dtype=torch.float32),
    }


class StudioRewardTrainer(RewardTrainer):  # type: ignore[misc]  # TRL ships no types
    """Trains on rows of ``chosen_ids``, ``rejected_ids``, ``p_chosen`` and ``strength``."""

    def __init__(self, *, args: RewardConfig, objective: Objective, tokens_at_once: int, **options: Any) -> None:
        super().__init__(args=args, data_collator=collate, **options)
        for parameter in self.model.parameters():
            if parameter.requires_grad:  # TRL rounds them to bfloat16 for QLoRA, the head too
                parameter.data = parameter.data.float()
        self.objective = objective
        self.tokens_at_once = tokens_at_once
        self.pad_token_id: int = self.processing_class.pad_token_id
        if args.bf16 and args.use_cpu:
            batching.attend_in_float32(self.model)
        self.shares_prompts = batching.can_pack(self.model)
        # Shards are gathered in every pass, so all processes must make the same passes.
        self.same_passes = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if args.world_size == 1:
            batching.add_embedding_gradients_in_place(self.model)
        self.computed_tokens = 0  # padding included
        self._head_outputs: list[torch.Tensor] = []
        if self.shares_prompts:
            inner = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
            inner.score.register_forward_hook(lambda module, inputs, output: self._head_outputs.append(output))

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["chosen_ids", "rejected_ids", "p_chosen", "strength"]

    def _get_train_sampler(self, train_dataset: Any = None) -> batching.LengthGrouped:
        lengths = np.maximum(*(lengths_of(self.train_dataset, f"{side}_ids") for side in SIDES))
        global_batch = self.args.per_device_train_batch_size * self.args.world_size
        return batching.LengthGrouped(lengths.tolist(), global_batch, self.args.seed)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward of one step, in parts; when memory runs out, again in smaller parts."""
        model.train()
        inputs = self._prepare_inputs(inputs)
        while True:
            try:
                loss, scores = self._forward_backward(model, inputs)
                break
            except (RuntimeError, MemoryError) as error:
                if not ran_out_of_memory(error) or self.same_passes or self.args.world_size > 1:
                    raise
                self._compute_less_at_once(model)
        if loss.device.type == "cpu" and not torch.isfinite(loss):  # on a card, looking would make it wait
            raise diverged(self.state.global_step + 1)
        self._note(inputs, *scores)
        return loss

    def _forward_backward(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        sizes = [2 * max(len(one), len(other)) for one, other in zip(inputs["chosen"], inputs["rejected"], strict=True)]
        n = len(sizes)
        groups = [list(range(n))] if self.same_passes else batching.parts(sizes, self.tokens_at_once)
        total = torch.zeros((), device=self.args.device)
        chosen, rejected = torch.zeros(2, n, device=self.args.device)
        for place, rows in enumerate(groups):
            last = place == len(groups) - 1
            with nullcontext() if last else self.accelerator.no_sync(model):
                # One context for all slices of a part: their weights are then rounded once.
                with self.accelerator.autocast(), self.maybe_activation_offload_context:
                    scores = self._scores(model, *([inputs[side][row] for row in rows] for side in SIDES))
                    losses = self.objective.losses(
                        scores[0], scores[1], inputs["p_chosen"][rows], inputs["strength"][rows]
                    )
                    loss = losses.sum() / n
                self.accelerator.backward(loss)
            total += loss.detach()
            chosen[rows], rejected[rows] = (score.detach() for score in scores)
        return total, (chosen, rejected)

    def _scores(self, model: Any, chosen: list[torch.Tensor], rejected: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """The scores of both answers of some pairs, each of shape (pairs,), in float32."""
        if self.shares_prompts:
            shared = sum(map(batching.shared_prefix, chosen, rejected))
            if shared > batching.WORTH_SHARING * sum(map(len, chosen + rejected)):
                return self._scores_packed(model, chosen, rejected)
        texts = chosen + rejected
        scores = []
        order = self._slices([len(text) for text in texts])
        for rows in order:
            batch = pad([texts[row] for row in rows], self.pad_token_id, self.args.device)
            self.computed_tokens += batch["input_ids"].numel()
            scores.append(model(**batch, use_cache=False).logits.squeeze(-1).float())
            self._head_outputs.clear()
        flat = torch.tensor([row for rows in order for row in rows], device=self.args.device)
        both = torch.cat(scores)[torch.argsort(flat)]
        return both[: len(chosen)], both[len(chosen) :]

    def _scores_packed(
        self, model: Any, chosen: list[torch.Tensor], rejected: list[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        widths = [
            len(one) + len(other) - batching.shared_prefix(one, other)
            for one, other in zip(chosen, rejected, strict=True)
        ]
        order = self._slices(widths)
        scores = []
        for rows in order:
            pack = batching.packed([chosen[row] for row in rows], [rejected[row] for row in rows], self.pad_token_id)
            # Through the model's own forward, which several cards and adapters hook into; of its outputs only what the
            # head said of every token is used, since the model itself picks one token a row.
            self.computed_tokens += pack.input_ids.numel()
            self._head_outputs.clear()
            model(
                input_ids=pack.input_ids,
                position_ids=pack.position_ids,
                attention_mask=pack.attention_mask,
                use_cache=False,
            )
            scores.append(self._head_outputs.pop().squeeze(-1).float().gather(1, pack.ends))
        flat = torch.tensor([row for rows in order for row in rows], device=self.args.device)
        both = torch.cat(scores)[torch.argsort(flat)]
        return both[:, 0], both[:, 1]

    def _slices(self, lengths: list[int]) -> list[list[int]]:
        if self.same_passes:
            return [list(range(len(lengths)))]
        return batching.slices(lengths, batching.PASS_COSTS_TOKENS.get(self.args.device.type, 4096))

    def _compute_less_at_once(self, model: Any) -> None:
        """Halve what is computed at once; the gradients of a step are the same in any number of parts."""
        if self.tokens_at_once <= FEWEST_TOKENS_AT_ONCE:
            raise MemoryError
        self.tokens_at_once //= 2
        model.zero_grad()
        self._head_outputs.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(f"Memory ran out; computing {self.tokens_at_once:,} tokens at once from here on", flush=True)

    def _note(self, inputs: dict[str, Any], chosen: torch.Tensor, rejected: torch.Tensor) -> None:
        """What the step says about the model, kept on the device until it is logged."""
        both = torch.cat([chosen, rejected])
        won = (chosen > rejected).float() + 0.5 * (chosen == rejected).float()
        values = {
            "accuracy": won.mean(),
            "margin": (chosen - rejected).mean(),
            "min_reward": both.min(),
            "mean_reward": both.mean(),
            "max_reward": both.max(),
        }
        for name, value in values.items():
            self._metrics["train"][name].append(value)
        n_tokens = sum(map(len, inputs["chosen"])) + sum(map(len, inputs["rejected"]))
        self._total_train_tokens += n_tokens * self.args.world_size
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        noted = self._metrics["train"]
        names = [name for name, values in noted.items() if values and torch.is_tensor(values[0])]
        if names:
            means = torch.stack([torch.stack(noted[name]).mean() for name in names])
            for name, mean in zip(names, self.accelerator.reduce(means, "mean").tolist(), strict=True):
                noted[name] = [mean]
        if self.args.world_size > 1 and "loss" in logs:
            loss = torch.tensor(logs["loss"], device=self.args.device)
            logs = {**logs, "loss": float(self.accelerator.reduce(loss, "mean"))}
        super().log(logs, start_time)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure on all pairs of the evaluation set at once: an average of batches' accuracies would not be exact."""
        model = self.model_wrapped if self.same_passes else self.model
        model.eval()
        both = [*self.eval_dataset["chosen_ids"], *self.eval_dataset["rejected_ids"]]
        with self.accelerator.autocast():
            scores = score_ids(model, both, self.pad_token_id)
        chosen, rejected = np.split(scores, 2)
        margins = chosen - rejected
        result = {
            "eval_loss": float(softplus(-torch.from_numpy(margins)).mean()),
            "eval_accuracy": float(np.mean(evaluation.wins(margins))),
            "eval_margin": float(margins.mean()),
            "eval_min_reward": float(scores.min()),
            "eval_mean_reward": float(scores.mean()),
            "eval_max_reward": float(scores.max()),
            "eval_pairs": len(margins),
        }
        self._head_outputs.clear()
        self.log(dict(result))
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, result)
        model.train()
        return result

    def _get_output_dir(self, trial: Any) -> str:
        """Checkpoints are written aside, and moved to their place when they are whole."""
        return str(Path(self.args.output_dir) / checkpoints.UNFINISHED)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder, aside = Path(self.args.output_dir), Path(self._get_output_dir(trial))
        if self.is_world_process_zero():
            checkpoints.require_space(folder)
            shutil.rmtree(aside, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            checkpoints.finish(aside / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}", folder)
        self.accelerator.wait_for_everyone()


SIDES = ("chosen", "rejected")


def lengths_of(dataset: Any, column: str) -> Any:
    """The lengths of a column of lists, without making the lists."""
    import pyarrow.compute as pc

    return pc.list_value_length(dataset.with_format("arrow")[:][column]).to_numpy()


def diverged(step: int) -> TrainingError:
    return TrainingError(
        f"The run diverged at step {step}: its numbers grew beyond all bounds. Start again with a smaller learning "
        "rate, for example a tenth of this one."
    )
