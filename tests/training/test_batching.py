"""A step computed cleverly gives the scores and gradients of a step computed plainly."""

import itertools
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from rm_studio import models
from rm_studio.scoring import pad
from rm_studio.training import batching, methods
from rm_studio.training.config import TrainConfig
from rm_studio.training.objective import Objective
from rm_studio.training.trainer import StudioRewardTrainer

CHOSEN = [[5, 6, 7, 8, 9, 10], [5, 9, *range(20, 50)], [11, 12, 13], [5, 6, 7, 14]]
REJECTED = [[5, 6, 7, 15], [5, 9, *range(20, 30), 51], [11, 12, 13, 14, 15, 16], [5, 6, 7, 16]]


def gradients(
    base: Path, tokens_at_once: int, shares: bool, plain: bool = False, room: int = 10**9
) -> tuple[float, Any]:
    """The loss and all gradients of one step, on a machine that has ``room`` for so many tokens at once."""
    from datasets import Dataset
    from trl import RewardConfig

    torch.manual_seed(0)
    config = TrainConfig(base_model=str(base))
    loaded = models.load(str(base), for_training=True)
    model = methods.learning(loaded.model, config)
    rows = {"chosen_ids": CHOSEN, "rejected_ids": REJECTED, "p_chosen": [1.0] * 4, "strength": [0.0] * 4}
    with warnings.catch_warnings(action="ignore"):  # the option has another name in newer transformers
        arguments = RewardConfig(report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False)
    trainer = StudioRewardTrainer(
        model=model,
        args=arguments,
        objective=Objective.of(config, 0.0),
        tokens_at_once=tokens_at_once,
        train_dataset=Dataset.from_dict(rows),
        processing_class=loaded.tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    compute = trainer._scores

    def limited(model: Any, chosen: list[Any], rejected: list[Any]) -> Any:
        if sum(map(len, chosen + rejected)) > room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return compute(model, chosen, rejected)

    trainer._scores = limited
    assert trainer.shares_prompts == shares
    if plain:
        scores = model(**pad(CHOSEN + REJECTED, loaded.tokenizer.pad_token_id, "cpu")).logits.squeeze(-1)
        loss = -torch.nn.functional.logsigmoid(scores[:4] - scores[4:]).mean()
        loss.backward()
    else:
        batch = trainer.data_collator([{name: values[row] for name, values in rows.items()} for row in range(4)])
        loss = trainer.training_step(model, batch)
    return float(loss.detach()), {
        name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None
    }


@pytest.mark.parametrize("tokens_at_once", [8192, 64, 1])
@pytest.mark.parametrize("kind", ["bert", "decoder"])
def test_parts_slices_and_shared_prompts_change_neither_loss_nor_gradients(
    tiny_bert: Path, tiny_decoder: Path, kind: str, tokens_at_once: int
) -> None:
    base, shares = (tiny_bert, False) if kind == "bert" else (tiny_decoder, True)
    loss, expected = gradients(base, 8192, shares, plain=True)
    ours, found = gradients(base, tokens_at_once, shares)
    assert ours == pytest.approx(loss, abs=1e-6)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=2e-6, rtol=1e-4, msg=name)


def test_memory_that_runs_out_is_met_with_less_at_once_and_the_step_is_the_same(
    tiny_bert: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rm_studio.training.trainer.FEWEST_TOKENS_AT_ONCE", 16)  # these texts are short
    loss, expected = gradients(tiny_bert, 4096, False, plain=True)
    ours, found = gradients(tiny_bert, 4096, False, room=60)  # the longest pair has 45 tokens, all together 72
    assert ours == pytest.approx(loss, abs=1e-6)
    assert "at once from here on" in capsys.readouterr().out
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=2e-6, rtol=1e-4, msg=name)
    with pytest.raises(MemoryError):
        gradients(tiny_bert, 4096, False, room=10)


def test_slices_are_the_cheapest_of_all_ways_to_cut() -> None:
    lengths = [3, 9, 4, 30, 28, 10, 5]
    found = batching.slices(lengths, pass_costs=10)
    assert sorted(itertools.chain(*found)) == list(range(7))

    def cost(groups: list[list[int]]) -> int:
        return sum(max(lengths[i] for i in group) * len(group) + 10 for group in groups)

    order = sorted(range(7), key=lengths.__getitem__)
    ways = (
        [order[begin:end] for begin, end in itertools.pairwise([0, *cuts, 7])]
        for n in range(7)
        for cuts in itertools.combinations(range(1, 7), n)
    )
    assert cost(found) == min(map(cost, ways))


def test_parts_keep_to_the_limit_and_lose_no_pair() -> None:
    sizes = [10, 100, 40, 500, 30, 20]
    found = batching.parts(sizes, 120)
    assert sorted(itertools.chain(*found)) == list(range(6))
    assert all(len(part) == 1 or max(sizes[i] for i in part) * len(part) <= 120 for part in found)


def test_an_epoch_takes_every_pair_once_in_an_order_that_seed_and_epoch_fix() -> None:
    lengths = [i % 50 for i in range(103)]
    sampler = batching.LengthGrouped(lengths, 8, seed=1)
    first, again = list(sampler), list(sampler)
    sampler.set_epoch(1)
    assert first == again != list(sampler)
    assert sorted(first) == list(range(103))
    spread = [max(batch) - min(batch) for batch in ([lengths[i] for i in first[k : k + 8]] for k in range(0, 96, 8))]
    assert sum(spread) / len(spread) < 10  # of 50


def test_a_windowed_or_bidirectional_model_never_shares_prompts(tiny_decoder: Path, tiny_bert: Path) -> None:
    decoder = models.load(str(tiny_decoder), for_training=True).model
    assert batching.can_pack(decoder)
    decoder.config.layer_types = ["full_attention", "sliding_attention"]
    assert not batching.can_pack(decoder)
    assert not batching.can_pack(models.load(str(tiny_bert), for_training=True).model)
