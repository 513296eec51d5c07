"""Settings: each with a label and help, and a sentence a person understands when one does not fit."""

import pytest

from rm_studio.config import ColumnMapping, Question
from rm_studio.errors import StudioError
from rm_studio.settings import parse_settings
from rm_studio.training.config import TrainConfig


@pytest.mark.parametrize("model", [TrainConfig, ColumnMapping])
def test_each_field_of_a_form_has_its_label_and_help(model: type) -> None:
    for name, field in model.model_fields.items():  # type: ignore[attr-defined]
        assert field.title, name
        assert field.description, name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "“Epochs” must be more than 0"),
        ({"epochs": 21}, "“Epochs” must be at most 20"),
        ({"learning_rate": "fast"}, "“Learning rate” must be a number"),
        ({"learning_rate": None}, "“Learning rate” must be a number"),
        ({"batch_size": 1.5}, "“Batch size” must be a whole number"),
        ({"batch_size": 16, "processes": 3}, "“Batch size” must be a multiple of 3"),
        ({"base_model": ""}, "“Base model” must not be empty"),
    ],
)
def test_what_does_not_fit_is_said_in_plain_words(settings: dict[str, object], words: str) -> None:
    with pytest.raises(StudioError, match=words):
        parse_settings(TrainConfig, settings)


def test_numbers_may_come_as_text_as_the_command_line_gives_them() -> None:
    config = parse_settings(TrainConfig, {"epochs": "0.5", "batch_size": "4", "learning_rate": "1e-5"})
    assert (config.epochs, config.batch_size, config.learning_rate) == (0.5, 4, 1e-5)


def test_a_question_needs_a_text_and_has_our_guidelines() -> None:
    with pytest.raises(StudioError, match="“Question” must not be empty"):
        parse_settings(Question, {"title": ""})
    assert "Discard the record" in Question().guidelines
