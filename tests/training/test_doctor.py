"""The doctor reads curves as a person who knows them would."""

import pandas as pd
import pytest

from rm_studio.training.config import TrainConfig
from rm_studio.training.doctor import diagnose


def curves(
    held_out: list[float], training: list[float], accuracy: float = 0.7, pairs: int = 200, **last: float
) -> pd.DataFrame:
    n = len(held_out)
    rows = [
        {"split": "eval", "step": i * 100, "epoch": i / (n - 1), "loss": loss, "accuracy": accuracy, "pairs": pairs}
        for i, loss in enumerate(held_out)
    ]
    rows[-1] |= last
    steps = range(1, len(training) + 1)
    rows += [
        {"split": "train", "step": step * 10, "epoch": step / len(training), "loss": loss}
        for step, loss in zip(steps, training, strict=True)
    ]
    return pd.DataFrame(rows)


FALLING = [0.69, 0.66, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25]
FLAT = [0.693, 0.694, 0.692, 0.693, 0.695, 0.693]


@pytest.mark.parametrize(
    ("rows", "title", "action"),
    [
        (curves([0.693, 0.65, 0.6, 0.55], FALLING), "It has learned", ""),
        (curves([0.693, 0.693, 0.692, 0.694], FLAT, accuracy=0.5), "Stuck at a coin toss", "faster"),
        (curves([0.693, 0.6, 0.55, 0.6, 0.7], FALLING), "Overfitting since step 200", "best"),
        (curves([0.693, 1.4, 2.5, 3.0], [0.7, 2.0, 3.0, 2.0, 2.5, 3.0]), "Learning rate too high", "slower"),
        (curves([0.693, 0.6, 0.5], FALLING, pairs=12), "Too few pairs to tell", "annotate"),
        (curves([0.693, 0.6, 0.5], FALLING, max_reward=-0.1), "Negative scores are normal", ""),
    ],
)
def test_each_shape_of_curve_gets_its_name_and_its_button(rows: pd.DataFrame, title: str, action: str) -> None:
    found = {advice.title: advice for advice in diagnose(rows, TrainConfig(), "completed")}
    assert title in found
    assert found[title].action == action


def test_accuracy_is_held_against_length_and_against_people() -> None:
    rows = curves([0.693, 0.6, 0.55], FALLING, accuracy=0.72)
    titles = [advice.title for advice in diagnose(rows, TrainConfig(), "completed", longer_wins=0.7, ceiling=0.68)]
    assert "Only as good as length so far" in titles and "At the human ceiling" in titles
    titles = [advice.title for advice in diagnose(rows, TrainConfig(), "completed", longer_wins=0.5, ceiling=0.9)]
    assert titles == ["It has learned"]


@pytest.mark.parametrize(("reason", "action"), [("diverged", "slower"), ("memory", "smaller")])
def test_a_failure_has_its_button_too(reason: str, action: str) -> None:
    (advice,) = diagnose(pd.DataFrame(columns=["split"]), TrainConfig(), "failed", reason)
    assert advice.kind == "bad" and advice.action == action


def test_nothing_is_said_before_there_is_something_to_say() -> None:
    assert diagnose(curves([0.693, 0.69], [0.7])[:1], TrainConfig(), "training") == []


def test_with_margins_the_training_loss_is_held_against_its_own_start() -> None:
    rows = curves([0.69, 0.6, 0.75, 0.9, 1.1], [3.05, 3.0, 2.8, 2.5, 2.2, 1.9, 1.6, 1.4, 1.2, 1.15])
    titles = [advice.title for advice in diagnose(rows, TrainConfig(use_strength=True), "completed")]
    assert "Overfitting since step 100" in titles and "Learning rate too high" not in titles
