"""What is said about the data before anybody reads it."""

import pandas as pd
import pytest

from rm_studio.data import look


def comparisons(**columns: object) -> pd.DataFrame:
    base = {
        "prompt": ["p", "q"],
        "responses": [["one two three four", "one"]] * 2,
        "sources": [["long", "short"]] * 2,
        "category": ["a", "a"],
    }
    return pd.DataFrame({**base, **columns})


def notices(frame: pd.DataFrame) -> str:
    return " ".join(chart.notice for chart in look.charts(frame))


def test_a_source_that_writes_less_is_named_with_how_much() -> None:
    assert "Answers from “short” are 4.0 times shorter than those from “long”" in notices(comparisons())
    assert "about equally long" in notices(comparisons(responses=[["one two", "one two"]] * 2))


def test_prompts_that_come_again_and_categories_are_counted() -> None:
    assert "Each of the 2 prompts is compared once" in notices(comparisons())
    assert "2 comparisons over 1 prompts" in notices(comparisons(prompt=["p", "p"]))
    frame = pd.concat([comparisons()] * 5 + [comparisons(category=["b", "b"])], ignore_index=True)
    assert "“a” makes 83% of the comparisons" in notices(frame)
    assert "about equally large" in notices(comparisons(category=["a", "b"]))


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello", "Latin"),
        ("Привет", "Cyrillic"),
        ("你好", "Chinese or Japanese"),
        ("שלום", "Hebrew"),
        ("42", "no"),
    ],
)
def test_the_script_of_a_prompt_is_known(text: str, script: str) -> None:
    assert look.script(text) == script


def test_other_scripts_are_pointed_out() -> None:
    assert "50% of the prompts are in Latin letters" in notices(comparisons(prompt=["Hello", "Привет"]))
