"""How far a reward model can be trusted: scores and labels in, a report out."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rm_studio.preferences import Share, wilson
from rm_studio.scoring import Floats, RewardModel, load_reward_model

FEW_PAIRS = 30


def probability(margin: Floats | float) -> Any:
    """The chance that people prefer the first answer, by the Bradley–Terry model: 1 / (1 + exp(-margin))."""
    return 1.0 / (1.0 + np.exp(-np.asarray(margin, dtype=np.float64)))


def report(pairs: pd.DataFrame, chosen: Floats, rejected: Floats) -> dict[str, Any]:
    """The report on scored pairs.

    Args:
        pairs: ``prompt``, ``chosen``, ``rejected`` and optionally ``category`` or ``subset``; one row a pair.
        chosen: Scores of the chosen answers, in the same order.
        rejected: Scores of the rejected answers.

    Returns:
        ``n_pairs``; ``accuracy`` (share of pairs whose chosen answer scores higher; equal scores count half)
        and ``longer_wins`` (the same for "choose the longer answer"), each with ``value``, ``low``, ``high`` and ``n``;
        ``loss`` (mean of -log σ(margin)), ``mean_margin``; ``groups`` by category.
    """
    margins = chosen.astype(np.float64) - rejected.astype(np.float64)
    result = {
        "n_pairs": len(pairs),
        "n_prompts": int(pairs["prompt"].nunique()),
        "accuracy": _share(wins(margins)),
        "longer_wins": longer_wins(pairs)._asdict(),
        "loss": float(np.mean(np.logaddexp(0.0, -margins))),
        "mean_margin": float(np.mean(margins)),
    }
    group = next((name for name in ("subset", "category") if name in pairs and pairs[name].notna().any()), None)
    if group:
        labels = pairs[group].fillna("none").to_numpy()
        result["groups"] = {str(label): _share(wins(margins[labels == label])) for label in sorted(set(labels))}
    return result


def longer_wins(pairs: pd.DataFrame) -> Share:
    """How often "choose the longer answer" is right; answers of equal length count half."""
    longer = wins(pairs["chosen"].str.len().to_numpy() - pairs["rejected"].str.len().to_numpy())
    return wilson(sum(longer), len(longer))


def reading(result: dict[str, Any]) -> str:
    """What the report says, in a few plain sentences.

    A run's report also has ``left_out`` and ``prompts_shortened``, in pairs, and ``max_length``, in tokens.
    """
    return " ".join(filter(None, [_verdict(result), _lengths(result)]))


def _lengths(result: dict[str, Any]) -> str:
    parts = []
    if result.get("left_out"):
        parts.append(
            f"{result['left_out']:,} pairs were left out: an answer is longer than {result['max_length']} tokens."
        )
    if result.get("prompts_shortened"):
        parts.append(
            f"In {result['prompts_shortened']:,} pairs the prompt lost its beginning to make room for the answer."
        )
    return " ".join(parts)


def is_convincing(result: dict[str, Any]) -> bool:
    """Whether it is clear that the model has learned more than which length people prefer."""
    longer = result["longer_wins"]["value"]
    return bool(result["n_pairs"] >= FEW_PAIRS and result["accuracy"]["low"] > max(longer, 1 - longer, 0.5))


def _verdict(result: dict[str, Any]) -> str:
    accuracy, longer = result["accuracy"], result["longer_wins"]["value"]
    length, share = ("longer", longer) if longer >= 0.5 else ("shorter", 1 - longer)
    pairs = "1 pair" if result["n_pairs"] == 1 else f"{result['n_pairs']:,} pairs"
    text = (
        f"On {pairs} it never saw, the model prefers the answer that people chose {accuracy['value']:.0%} of the time "
        f"(95 % sure of {accuracy['low']:.0%} to {accuracy['high']:.0%}). Always choosing the {length} answer would be "
        f"right {share:.0%} of the time"
    )
    if result.get("picked_as_best"):
        text += " (a little flattered: the step was picked by its loss on some of these pairs)"
    if result["n_pairs"] < FEW_PAIRS:
        return f"Too few pairs to tell. {text}. Hold out more, or annotate more."
    if is_convincing(result):
        return f"{text}, so it has learned more than length."
    return f"{text}: it is not yet clear that the model has learned more than that."


def evaluate_model(model: str | Path | RewardModel, pairs: pd.DataFrame) -> dict[str, Any]:
    """Score pairs with a reward model and report on it; raises as `load_reward_model` does."""
    opened = model if isinstance(model, RewardModel) else load_reward_model(model)
    prompts = pairs["prompt"].tolist()
    scores = opened.score(prompts * 2, pairs["chosen"].tolist() + pairs["rejected"].tolist())
    chosen, rejected = np.split(scores.values, 2)
    return {**report(pairs, chosen, rejected), "n_shortened": int(sum(scores.shortened))}


def wins(margins: Any) -> list[float]:
    """1 where the margin is positive, 0 where negative, ½ where there is none."""
    return [0.5 if margin == 0 else float(margin > 0) for margin in margins]


def _share(outcomes: list[float]) -> dict[str, float | int]:
    share: Share = wilson(sum(outcomes), len(outcomes))
    return share._asdict()
