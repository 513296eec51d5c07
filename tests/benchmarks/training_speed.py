"""How fast training is, beside the usual ways. Run by hand: ``python tests/benchmarks/training_speed.py``.

Each way trains the same base model on the same pairs with the same batch size, in a process of its own:

- tutorial: every text padded to 512 tokens, chosen and rejected in two passes, float32, as the Argilla tutorial does
- trl: RewardTrainer with its defaults (bfloat16, gradient checkpointing, one padded batch), batch size as the others
- ours: what the app does

Speed is the median of ``--rounds`` rounds, the ways taking turns, so that a busy machine slows all alike.
``--accuracy`` trains each way on all its pairs and measures on pairs of other prompts; ``--growth`` prepares 1,000,
10,000 and 100,000 pairs; ``--decoder`` takes a small decoder with random weights instead of the built-in encoder.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

SHARED = Path(__file__).parents[3] / "shared" / "data" / "judged_pairs.parquet"
BATCH = 16
WAYS = {"tutorial": 3, "trl": 6, "ours": 12}  # steps a round: slow ways get fewer


def pairs_of(n: int, longest: int = 1600) -> pd.DataFrame:
    """The first ``n`` judged pairs whose texts fit; beyond what there is, again with another ending."""
    from rm_studio import judged, tables

    frame = judged.pairs_of(tables.read_file(SHARED).frame).frame[["prompt", "chosen", "rejected"]]
    frame = frame[(frame["prompt"].str.len() + frame[["chosen", "rejected"]].map(len).max(axis=1)) < longest]
    times = math.ceil(n / len(frame))
    many = [frame.assign(prompt=frame["prompt"] + f" {time}" * bool(time)) for time in range(times)]
    return pd.concat(many, ignore_index=True)[:n]


def decoder(folder: Path) -> Path:
    """A Qwen3 of 30M random weights with a tokenizer trained on the pairs."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, set_seed

    set_seed(0)
    texts = pairs_of(500)
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts["prompt"].tolist() + texts["chosen"].tolist(), 8000, special_tokens=["<|end|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=512,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        intermediate_size=1408,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


class Clock:
    """Seconds and tokens of the steps after the first, which warms up."""

    def __init__(self) -> None:
        self.marks: list[float] = []
        self.tokens: list[float] = []

    def mark(self, tokens: float) -> None:
        """A step has ended; ``tokens`` have been read so far."""
        self.marks.append(time.perf_counter())
        self.tokens.append(tokens)

    def tokens_per_s(self) -> float:
        """By tokens: a few steps of one way may have longer texts than a few of another."""
        return (self.tokens[-1] - self.tokens[0]) / (self.marks[-1] - self.marks[0])


def tutorial(model: Any, tokenizer: Any, ids: list[list[list[int]]], steps: int, clock: Clock) -> dict[str, float]:
    import torch
    from torch.nn.functional import logsigmoid

    width = 512
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model.train()
    real = 0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        rows = range(step * BATCH, (step + 1) * BATCH)
        scores = []
        for side in ids:
            texts = [side[row % len(side)] for row in rows]
            real += sum(map(len, texts))
            padded = torch.tensor([text + [tokenizer.pad_token_id] * (width - len(text)) for text in texts])
            mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
            scores.append(model(input_ids=padded, attention_mask=mask).logits)
        loss = -logsigmoid(scores[0] - scores[1]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        clock.mark(real)
    return {"padding": 1 - real / (steps * BATCH * 2 * width)}


def rate(step: int, steps: int) -> float:
    """The learning rate of a step: as the other ways, up for a tenth, then down to zero."""
    warm = max(1, math.ceil(0.1 * steps))
    return 1e-4 * (step / warm if step < warm else (steps - step) / max(1, steps - warm))


def run_way(way: str, base: str, n_pairs: int, steps: int, accuracy: bool) -> dict[str, float]:
    """Train one way in this process and say how it went."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback, set_seed
    from trl import RewardConfig, RewardTrainer

    from rm_studio import models
    from rm_studio.encoding import choose_format
    from rm_studio.preferences import split_by_prompt
    from rm_studio.scoring import score_ids
    from rm_studio.training import assemble, methods
    from rm_studio.training.config import TrainConfig
    from rm_studio.training.objective import Objective
    from rm_studio.training.reporting import Reporter, peak_memory
    from rm_studio.training.runs import prepare
    from rm_studio.training.tokens import tokenise

    set_seed(42)
    models.quiet()
    config = TrainConfig(base_model=base, batch_size=BATCH, checkpoint_minutes=1e6)
    loaded = methods.open_model(config, torch.cuda.is_available())
    text_format = choose_format(loaded.tokenizer, loaded.model.config, 512)
    split = split_by_prompt(pairs_of(n_pairs), 0.2, 42)
    folder = Path(tempfile.mkdtemp())
    train_set, test_set = (tokenise(part, loaded.tokenizer, text_format, folder) for part in split)
    n = len(train_set.dataset)
    steps = math.ceil(n / BATCH) if accuracy else steps
    ids = [list(train_set.dataset[side]) for side in ("chosen_ids", "rejected_ids")]
    tokens_a_pair = sum(map(len, ids[0] + ids[1])) / n
    clock = Clock()

    class Marks(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.mark(trainer._total_train_tokens)
            if len(clock.marks) >= steps:
                args[2].should_training_stop = True

    if way == "tutorial":
        said = tutorial(loaded.model, loaded.tokenizer, ids, steps, clock)
    elif way == "trl":
        arguments = RewardConfig(
            str(folder / "trl"), per_device_train_batch_size=BATCH, num_train_epochs=1, max_length=None,
            use_cpu=not torch.cuda.is_available(), save_strategy="no", report_to="none", disable_tqdm=True,
            warmup_steps=0.1,
        )  # fmt: skip
        data = Dataset.from_dict({"chosen_ids": ids[0], "rejected_ids": ids[1]})
        trainer = RewardTrainer(
            loaded.model, arguments, train_dataset=data, processing_class=loaded.tokenizer, callbacks=[Marks()]
        )
        trainer.train()
        real = padded = 0
        for batch in trainer.get_train_dataloader():
            real += int(batch["attention_mask"].sum())
            padded += batch["attention_mask"].numel()
        said = {"padding": 1 - real / padded}
    else:
        run = prepare(folder / "run", config, pairs_of(n_pairs))
        objective = Objective.of(config, 0.0)
        model = methods.learning(loaded.model, config)
        trainer, _ = assemble.build_trainer(
            run, Reporter(run, 0.0), model, loaded.tokenizer, objective, train_set, test_set
        )
        trainer.args.eval_strategy, trainer.args.eval_on_start = "no", False
        trainer.add_callback(Marks())
        trainer.train()
        said = {"padding": 1 - trainer._total_train_tokens / trainer.computed_tokens}
    said["tokens_per_s"] = clock.tokens_per_s()
    said["pairs_per_s"] = said["tokens_per_s"] / tokens_a_pair
    said["memory_gb"] = peak_memory() / 1e9
    if accuracy:
        model = loaded.model.eval()
        sides = [
            score_ids(model, list(test_set.dataset[side]), loaded.tokenizer.pad_token_id)
            for side in ("chosen_ids", "rejected_ids")
        ]
        said["accuracy"] = float((sides[0] > sides[1]).mean())
        said["n_test"] = len(test_set.dataset)
    return said


def growth(base: str, n_pairs: int) -> dict[str, float]:
    """Turn pairs into tokens, in this process."""
    from rm_studio import models
    from rm_studio.encoding import choose_format
    from rm_studio.training.tokens import tokenise

    loaded = models.load(base, for_training=True)
    text_format = choose_format(loaded.tokenizer, loaded.model.config, 512)
    pairs = pairs_of(n_pairs)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    folder = Path(tempfile.mkdtemp())
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        tokenise(pairs, loaded.tokenizer, text_format, folder)
        seconds.append(time.perf_counter() - begun)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6 - before
    return {"pairs": n_pairs, "seconds": seconds[0], "again_s": seconds[1], "more_memory_gb": more}


def child(*arguments: str) -> dict[str, float]:
    """The last line that this script prints when it is called with ``arguments``, as JSON."""
    found = subprocess.run(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True, env=os.environ
    )
    result: dict[str, float] = json.loads(found.stdout.strip().splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--decoder", action="store_true")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--child", nargs=3, metavar=("WAY", "BASE", "STEPS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, base, steps = options.child
        said = (
            growth(base, options.pairs)
            if way == "growth"
            else run_way(way, base, options.pairs, int(steps), options.accuracy)
        )
        print(json.dumps(said))
        return
    base = str(decoder(Path(tempfile.mkdtemp()))) if options.decoder else "builtin"
    if options.growth:
        print("| pairs | tokenised in s | again, from the cache | memory more, GB |\n|---|---|---|---|")
        for n in (1_000, 10_000, 100_000):
            said = child("--child", "growth", base, "0", "--pairs", str(n))
            print(
                f"| {n:,} | {said['seconds']:.1f} | {said['again_s']:.2f} | {said['more_memory_gb']:.2f} |", flush=True
            )
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in options.ways}
    for _ in range(1 if options.accuracy else options.rounds):
        for way in options.ways:
            steps = WAYS[way]
            extra = ["--accuracy"] if options.accuracy else []
            found[way].append(child("--child", way, base, str(steps + 1), "--pairs", str(options.pairs), *extra))
            print(way, found[way][-1], file=sys.stderr, flush=True)
    median = {
        way: {name: statistics.median(said[name] for said in rounds) for name in rounds[0]}
        for way, rounds in found.items()
    }
    print("| way | pairs/s | of the tutorial | of TRL | tokens/s | padding | peak memory, GB | held-out accuracy |")
    print("|---|---|---|---|---|---|---|---|")
    for way, said in median.items():
        times = [
            f"{said['pairs_per_s'] / median[other]['pairs_per_s']:.1f}" if other in median else ""
            for other in ("tutorial", "trl")
        ]
        accuracy = f"{said['accuracy']:.1%} of {said['n_test']:.0f}" if "accuracy" in said else ""
        print(
            f"| {way} | {said['pairs_per_s']:.2f} | {times[0]} | {times[1]} | {said['tokens_per_s']:,.0f} | "
            f"{said['padding']:.0%} | {said['memory_gb']:.2f} | {accuracy} |"
        )


if __name__ == "__main__":
    main()
