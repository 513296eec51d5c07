"""Families of base models and ways to train them: really trained, saved, and read back by plain transformers."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support import train_here, wait_until

from rm_studio import models
from rm_studio.encoding import read_format
from rm_studio.errors import ModelError
from rm_studio.scoring import load_reward_model
from rm_studio.training import methods, queue
from rm_studio.training.config import TrainConfig

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
}
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"


@pytest.fixture
def family(tiny_bert: Path, tiny_decoder: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A tiny base model of a family, with random weights and the tokenizer of its kind."""
    import transformers

    def make(name: str) -> Path:
        source = tiny_bert if name in ("ModernBert", "DebertaV2", "Roberta") else tiny_decoder
        folder = tmp_path / name
        shutil.copytree(source, folder)
        (folder / "model.safetensors").unlink()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        special = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("pad", "eos", "bos")}
        options: dict[str, Any] = {**SMALL, **special, "vocab_size": len(tokenizer)}
        if source == tiny_bert:
            options["pad_token_id"] = tokenizer.pad_token_id
        if name == "ModernBert":
            options |= {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
        if name in ("Gemma3", "Qwen3"):
            options |= {"num_key_value_heads": 1, "head_dim": 16} | ({"sliding_window": 16} if name == "Gemma3" else {})
        config = getattr(transformers, f"{name}{'TextConfig' if name == 'Gemma3' else 'Config'}")(**options)
        kind = f"{name}Model" if source == tiny_bert else f"{name}ForCausalLM"
        getattr(transformers, kind)(config).save_pretrained(folder)
        return folder

    return make


def scores_of_a_plain_pipeline(folder: Path, prompt: str, answers: list[str]) -> list[float]:
    from transformers import pipeline

    found = pipeline("text-classification", model=str(folder))
    style = read_format(folder)
    assert style is not None
    if style.style == "pair":
        return [found([{"text": prompt, "text_pair": answer}])[0]["score"] for answer in answers]
    from rm_studio.encoding import as_text

    texts = [as_text(found.tokenizer, style, prompt, answer) for answer in answers]
    options = {"add_special_tokens": False} if style.style == "chat" else {}
    return [found(text, **options)[0]["score"] for text in texts]


@pytest.mark.parametrize("name", ["Roberta", "ModernBert", "DebertaV2", "Llama", "Gemma3", "Qwen3"])
def test_a_family_trains_and_scores_the_same_in_a_plain_pipeline(
    family: Callable[[str], Path], pairs: pd.DataFrame, tmp_path: Path, name: str
) -> None:
    run = train_here(pairs[:16], tmp_path / "run", base_model=str(family(name)), batch_size=4, learning_rate=1e-3)
    ours = load_reward_model(run.model_folder).score(["What now?"] * 2, ["Thank you.", "Go away, no idea."]).values
    plain = scores_of_a_plain_pipeline(run.model_folder, "What now?", ["Thank you.", "Go away, no idea."])
    np.testing.assert_allclose(ours, plain, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "head"])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_method_changes_what_it_should_and_leaves_an_ordinary_model(
    tiny_bert: Path, tiny_decoder: Path, pairs: pd.DataFrame, tmp_path: Path, kind: str, method: str
) -> None:
    base = tiny_bert if kind == "encoder" else tiny_decoder
    settings = {"base_model": str(base), "method": method, "batch_size": 8, "learning_rate": 1e-2, "epochs": 2}
    run = train_here(pairs, tmp_path / "run", **settings)
    before = models.load(str(base), for_training=True).model.state_dict()
    after = models.load(str(run.model_folder), for_training=False).model.state_dict()
    assert before.keys() == after.keys(), "adapters are part of the weights"
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    body = {name for name in changed if ".layer" in name}
    assert any(part in name for name in changed for part in methods.HEADS)
    assert bool(body) == (method == "lora")
    assert not any("embed" in name for name in changed)
    assert run.report is not None


def test_a_lora_run_goes_on_from_its_checkpoint(tiny_decoder: Path, pairs: pd.DataFrame, tmp_path: Path) -> None:
    import psutil

    settings = TrainConfig(
        base_model=str(tiny_decoder), method="lora", epochs=4, batch_size=4, learning_rate=1e-2, checkpoint_minutes=0
    )
    unbroken = train_here(pairs, tmp_path / "unbroken", **settings.model_dump())
    run = queue.prepare(tmp_path / "run", settings, pairs)
    queue.start(run)
    wait_until(run, lambda status: status.step >= 8)
    psutil.Process(run.status().pid).kill()
    wait_until(run, lambda status: not status.is_active)
    queue.start(run)
    queue.follow(run)
    weights = [(one.model_folder / "model.safetensors").read_bytes() for one in (unbroken, run)]
    assert weights[0] == weights[1]


def test_a_chat_template_is_kept_with_the_model_and_used_for_scoring(
    tiny_decoder: Path, pairs: pd.DataFrame, tmp_path: Path
) -> None:
    base = tmp_path / "chat"
    shutil.copytree(tiny_decoder, base)
    (base / "chat_template.jinja").write_text(TEMPLATE)
    run = train_here(pairs[:16], tmp_path / "run", base_model=str(base), batch_size=4)
    found = read_format(run.model_folder)
    assert found is not None and found.style == "chat"
    opened = load_reward_model(run.model_folder)
    assert opened.tokenizer.decode(opened.encode(["Hi"], ["Yes"]).ids[0]) == "<user>Hi<|end|><assistant>Yes<|end|>"


def test_going_on_from_a_reward_model_keeps_its_head_and_its_format(
    tiny_bert: Path, pairs: pd.DataFrame, tmp_path: Path
) -> None:
    first = train_here(pairs, tmp_path / "first", base_model=str(tiny_bert), learning_rate=5e-3, epochs=3)
    settings = {"learning_rate": 1e-6, "epochs": 1, "max_length": 32}
    second = train_here(pairs, tmp_path / "second", base_model=str(first.model_folder), **settings)
    evaluations = second.metrics[second.metrics["split"] == "eval"]
    assert evaluations["loss"].iloc[0] == pytest.approx(first.report["loss"], abs=0.02)  # type: ignore[index]
    found = read_format(second.model_folder)
    assert found is not None and (found.style, found.max_length) == ("pair", 32)


def test_ties_doubt_and_strength_reach_the_training(tiny_bert: Path, pairs: pd.DataFrame, tmp_path: Path) -> None:
    judged = pairs.assign(p_chosen=[0.5 if row % 4 == 0 else 0.8 for row in range(len(pairs))], strength=3.0)
    settings = {"base_model": str(tiny_bert), "batch_size": 8, "learning_rate": 1e-2, "epochs": 8}
    plain = train_here(judged, tmp_path / "plain", **settings)
    assert plain.report is not None and plain.report["n_train_pairs"] + plain.report["n_pairs"] == 30
    assert plain.report["left_out"] == 0, "a tie is not too long"
    soft = train_here(judged, tmp_path / "soft", soft_labels=True, **settings)
    ties = train_here(judged, tmp_path / "ties", learn_ties=True, **settings)
    strong = train_here(judged, tmp_path / "strong", use_strength=True, **settings)
    assert ties.report is not None and ties.report["n_train_pairs"] > plain.report["n_train_pairs"]
    margins = {name: run.report["mean_margin"] for name, run in (("plain", plain), ("soft", soft), ("strong", strong))}  # type: ignore[index]
    assert margins["soft"] < margins["plain"] < margins["strong"]


def test_qlora_on_a_processor_is_refused_before_anything_is_downloaded() -> None:
    with pytest.raises(ModelError, match="needs an NVIDIA card"):
        methods.open_model(TrainConfig(base_model="owner/absent", method="qlora"), on_gpu=False)


def test_qlora_without_its_package_says_what_to_install(tiny_decoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="QLoRA needs one more package"):
        models.load(str(tiny_decoder), for_training=True, four_bit=True)
