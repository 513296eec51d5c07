"""The losses, against their formulas."""

import math

import pytest
import torch

from rm_studio.errors import StudioError
from rm_studio.settings import parse_settings
from rm_studio.training.config import TrainConfig
from rm_studio.training.objective import Objective


def loss(config: TrainConfig, margin: float, p: float = 1.0, strength: float = 0.0, ties: float = 0.0) -> float:
    values = [torch.tensor([value]) for value in (margin, 0.0, p, strength)]
    return float(Objective.of(config, ties).losses(*values))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_each_loss_is_its_formula() -> None:
    assert loss(TrainConfig(), 0.7) == pytest.approx(-math.log(sigmoid(0.7)))
    soft = loss(TrainConfig(soft_labels=True), 0.7, p=0.8)
    assert soft == pytest.approx(-0.8 * math.log(sigmoid(0.7)) - 0.2 * math.log(sigmoid(-0.7)))
    assert loss(TrainConfig(use_strength=True), 0.7, strength=2.0) == pytest.approx(-math.log(sigmoid(-1.3)))
    smooth = loss(TrainConfig(label_smoothing=0.1), 0.7)
    assert smooth == pytest.approx(-0.9 * math.log(sigmoid(0.7)) - 0.1 * math.log(sigmoid(-0.7)))
    assert loss(TrainConfig(centering=0.01), 0.7) == pytest.approx(-math.log(sigmoid(0.7)) + 0.01 * 0.49)


def test_what_nobody_asked_for_changes_nothing() -> None:
    assert loss(TrainConfig(), 0.7, p=0.6, strength=3.0) == loss(TrainConfig(), 0.7)


@pytest.mark.parametrize("margin", [-1.0, 0.0, 2.0])
def test_a_win_a_loss_and_a_tie_are_all_that_can_happen(margin: float) -> None:
    config = TrainConfig(learn_ties=True)
    win, lost = (math.exp(-loss(config, sign * margin, ties=0.3)) for sign in (1, -1))
    tie = math.exp(-loss(config, margin, p=0.5, ties=0.3))
    assert win + lost + tie == pytest.approx(1.0, abs=1e-5)


def test_equal_scores_tie_as_often_as_the_training_pairs() -> None:
    assert math.exp(-loss(TrainConfig(learn_ties=True), 0.0, p=0.5, ties=0.3)) == pytest.approx(0.3, abs=1e-5)


def test_two_answers_to_the_same_doubt_are_refused_in_plain_words() -> None:
    with pytest.raises(StudioError, match="“Learn from doubt” cannot go together"):
        parse_settings(TrainConfig, {"soft_labels": True, "label_smoothing": 0.1})
