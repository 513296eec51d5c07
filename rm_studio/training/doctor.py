"""What the curves of a run mean now, in plain words, and what would help. Pure; no torch, no Gradio."""

import math
from typing import Any, Literal

import numpy as np
import pandas as pd

from rm_studio.preferences import wilson
from rm_studio.settings import Frozen
from rm_studio.training.config import TrainConfig

COIN_TOSS = math.log(2)  # the loss of a model that gives every answer the same score: 0.693
RISES = 2  # measurements in a row above the best
FEW = 30

Action = Literal["", "best", "slower", "faster", "resume", "smaller", "annotate"]


class Advice(Frozen):
    """What is seen and what it means; ``action`` names the button that helps, if one does."""

    kind: Literal["good", "info", "warn", "bad"]
    title: str
    text: str
    action: Action = ""


def diagnose(
    rows: pd.DataFrame,
    config: TrainConfig,
    state: str,
    reason: str = "",
    longer_wins: float | None = None,
    ceiling: float | None = None,
) -> list[Advice]:
    """Read a run's metrics.

    Args:
        rows: As `metrics.read` gives them.
        config: The run's settings.
        state: The run's state.
        reason: Why it failed, if it did (`Status.reason`).
        longer_wins: How often the longer answer wins among the held-out pairs (0 … 1).
        ceiling: How often two annotators agree (0 … 1), if that is known.
    """
    if reason == "diverged":
        return [_diverged(config)]
    if reason == "memory":
        text = "Even a few pairs at once need more memory than there is."
        return [Advice(kind="bad", title="Not enough memory", text=text, action="smaller")]
    measured = rows[rows["split"] == "eval"]
    if len(measured) < 2:
        return []
    found = [
        *_learning(rows, measured, config, state),
        *_against_baselines(measured, longer_wins, ceiling),
        *_scores(measured),
    ]
    return sorted(found, key=lambda advice: ["bad", "warn", "good", "info"].index(advice.kind))


def best_step(measured: pd.DataFrame) -> int:
    """The step with the lowest held-out loss."""
    return int(measured["step"].to_numpy()[int(np.argmin(measured["loss"].to_numpy()))])


def _diverged(config: TrainConfig) -> Advice:
    text = (
        f"The numbers grew beyond all bounds. The learning rate ({config.learning_rate:g}) is too high for this "
        "model; a "
        "tenth of it is a good next try."
    )
    return Advice(kind="bad", title="Diverged", text=text, action="slower")


def _learning(rows: pd.DataFrame, measured: pd.DataFrame, config: TrainConfig, state: str) -> list[Advice]:
    """Whether the losses fall, and which."""
    held_out = measured["loss"].to_numpy()
    steps = measured["step"].to_numpy()
    best = int(np.argmin(held_out))
    training = rows.loc[rows["split"] == "train", "loss"].dropna().to_numpy()
    few = max(3, len(training) // 5)
    # Margins, ties and centring raise the loss: then it is held against its own start.
    is_plain = not (config.use_strength or config.learn_ties or config.centering)
    start = COIN_TOSS if is_plain or not len(training) else float(np.median(training[:few]))
    learned = len(training) >= 5 and float(np.median(training[-few:])) < start - 0.05
    since = held_out[best + 1 :]
    if held_out[-1] > 1.5 * COIN_TOSS and held_out[-1] > 1.3 * held_out[0] and not learned:
        text = (
            f"The held-out loss is {held_out[-1]:.2f}, worse than a coin toss (0.69), and the training loss does "
            "not fall "
            "either. The learning rate is too high."
        )
        return [Advice(kind="bad", title="Learning rate too high", text=text, action="slower")]
    if len(since) >= RISES and learned and bool((since > held_out[best] * 1.02 + 0.005).all()):
        text = (
            f"Since step {steps[best]:,} the loss on held-out pairs rises while the training loss falls: the "
            "model learns "
            "its pairs by heart. Go back to that step; more pairs or fewer epochs help next time."
        )
        title = f"Overfitting since step {steps[best]:,}"
        return [Advice(kind="warn", title=title, text=text, action="best" if steps[best] else "")]
    share = float(rows["epoch"].max()) / config.epochs
    if held_out[best] > COIN_TOSS - 0.01 and not learned and share > 0.4:
        text = (
            f"The loss stays at {held_out[-1]:.3f}; 0.693 is a coin toss. Either the learning rate "
            f"({config.learning_rate:g}) is too low, or the pairs hold nothing that this model can see: look at a few."
        )
        return [Advice(kind="warn", title="Stuck at a coin toss", text=text, action="faster")]
    if held_out[best] < COIN_TOSS - 0.01:
        text = f"The loss on held-out pairs fell from {held_out[0]:.2f} to {held_out[best]:.2f} (0.69 is a coin toss)."
        going = state in ("training", "stopping")
        return [Advice(kind="good", title="Learning" if going else "It has learned", text=text)]
    return []


def _against_baselines(measured: pd.DataFrame, longer_wins: float | None, ceiling: float | None) -> list[Advice]:
    """Whether the accuracy means anything: against chance, length and people."""
    last = measured.iloc[-1]
    n = int(last.get("pairs", 0) or 0)
    if not n:
        return []
    share = wilson(float(last["accuracy"]) * n, n)
    found = []
    if n < FEW:
        text = (
            f"Held-out accuracy is {share.value:.0%}, but on {n} pairs: anything from {share.low:.0%} to "
            f"{share.high:.0%} "
            "would fit. Annotate more before you rely on it."
        )
        return [Advice(kind="warn", title="Too few pairs to tell", text=text, action="annotate")]
    baseline = max(longer_wins, 1 - longer_wins) if longer_wins is not None else None
    if baseline and share.low > 0.5 and share.low <= baseline:
        kind = "longer" if longer_wins and longer_wins >= 0.5 else "shorter"
        text = (
            f"Accuracy {share.value:.0%} is not clearly above what “always the {kind} answer” reaches "
            f"({baseline:.0%}). "
            "Compare answers of like length on the Try tab."
        )
        found.append(Advice(kind="warn", title="Only as good as length so far", text=text))
    if ceiling and share.value > ceiling:
        text = f"It agrees with the annotators more often ({share.value:.0%}) than they agree with each other."
        found.append(Advice(kind="info", title="At the human ceiling", text=text))
    return found


def _scores(measured: pd.DataFrame) -> list[Advice]:
    last = measured.iloc[-1]
    highest: Any = last.get("max_reward")
    if highest is not None and highest < 0:
        text = "Scores have no zero that means anything: only differences between answers to one prompt count."
        return [Advice(kind="info", title="Negative scores are normal", text=text)]
    return []
