"""Which of a model's weights learn: all, small added matrices, or the scoring head. Only the worker imports this."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from rm_studio import models
from rm_studio.errors import ModelError
from rm_studio.training.config import TrainConfig

HEADS = ("score", "classifier")
# What stands between the base model and its head in encoders, and learns with the head.
POOLERS = ("pooler", "pre_classifier", "head", "dense")


def open_model(config: TrainConfig, on_gpu: bool) -> models.Loaded:
    """The base model as the method wants it: in 4 bits for QLoRA, in bfloat16 for LoRA on a card.

    Raises:
        ModelError, HubError: see `models.load`; or QLoRA was asked of a processor.
    """
    if config.method == "qlora" and not on_gpu:
        raise ModelError(
            "QLoRA needs an NVIDIA card: its 4-bit calculations cannot learn on a processor. Choose LoRA instead."
        )
    adapters = config.method in ("lora", "qlora")
    dtype = "bfloat16" if adapters and on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return models.load(config.base_model, for_training=True, dtype=dtype, four_bit=config.method == "qlora")


def learning(model: PreTrainedModel, config: TrainConfig) -> Any:
    """The model with the right weights set to learn. The scoring head always learns."""
    if config.method == "head":
        for name, parameter in model.named_parameters():
            parameter.requires_grad = any(part in HEADS + POOLERS for part in name.split("."))
            parameter.requires_grad &= ".layer." not in name and ".layers." not in name
    if config.method in ("lora", "qlora"):
        from peft import LoraConfig, TaskType, get_peft_model, prepare_model_for_kbit_training

        if config.method == "qlora":
            prepared: Any = prepare_model_for_kbit_training
            model = prepared(model, use_gradient_checkpointing=config.gradient_checkpointing)
        lora = LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=config.lora_rank,
            lora_alpha=2 * config.lora_rank,
            lora_dropout=0.0,  # TRL turns all dropout off, so that chosen and rejected are read alike
            target_modules="all-linear",
            modules_to_save=[name for name in HEADS if hasattr(model, name)],
        )
        adapted = get_peft_model(model, lora)
        keep_head_exact(adapted.get_base_model())
        return adapted
    keep_head_exact(model)
    return model


def whole(model: Any, config: TrainConfig, adapter: Path) -> Any:
    """The trained model as one that plain transformers reads: adapters are added into the weights.

    Args:
        adapter: An empty folder to keep the adapters in while a QLoRA base model is opened again: in 4 bits nothing
            can be added to it exactly.
    """
    if config.method == "qlora":
        from peft import PeftModel

        model.save_pretrained(adapter)
        fresh = models.load(config.base_model, for_training=True).model
        return PeftModel.from_pretrained(fresh, str(adapter)).merge_and_unload()
    return model.merge_and_unload() if config.method == "lora" else model


def keep_head_exact(model: Any) -> None:
    """Compute the scoring head in float32 under autocast too: scores rounded to bfloat16 tie where there is no tie."""
    head = next((getattr(model, name) for name in HEADS if hasattr(model, name)), None)
    if head is None:
        return
    head.float()
    forward = head.forward

    def exact(features: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(features.device.type, enabled=False):
            return forward(features.float(), *args, **kwargs)

    head.forward = exact
