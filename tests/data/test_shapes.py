"""Each tool's own form of data, on a small file of it: recognised, read, with the judgements that it carries."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rm_studio import data, preferences, tables
from rm_studio.config import ColumnMapping, Selection
from rm_studio.data import turns
from rm_studio.data.items import Item
from rm_studio.errors import DataError

USER = {"role": "user", "content": "Why is the sky blue?"}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def read(tmp_path: Path, rows: list[dict[str, Any]]) -> tuple[ColumnMapping, list[Item]]:
    """The rows written as JSON, read, recognised and understood."""
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows))
    frame = tables.read_file(path).frame
    found = data.recognise(frame)
    assert found is not None, "not recognised"
    return found.mapping, list(data.items([frame], found.mapping))


def texts(item: Item) -> list[str]:
    assert not item.problem, item.problem
    return [answer.text for answer in item.answers]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["instruction", "output_1", "output_2"], ("instruction", ("output_1", "output_2"))),
        (["id", "question", "answer a", "answer b", "category"], ("question", ("answer a", "answer b"))),
        (["Prompt", "chosen", "rejected", "score"], ("Prompt", ("chosen", "rejected"))),
        (["question", "polite answer", "rude answer"], ("question", ("polite answer", "rude answer"))),
        (["text", "label"], None),
    ],
)
def test_usual_column_names_are_known(columns: list[str], expected: tuple[str, tuple[str, ...]] | None) -> None:
    found = data.recognise(pd.DataFrame({column: ["some words"] for column in columns}))
    assert (found and (found.mapping.prompt, found.mapping.answers)) == expected


def test_trl_standard_with_the_prompt_apart(tmp_path: Path) -> None:
    mapping, (item,) = read(tmp_path, [{"prompt": "p", "chosen": "good", "rejected": "bad"}])
    assert mapping.shape == "chosen" and mapping.is_judged
    assert (item.prompt, texts(item), item.votes[0].ranks) == ("p", ["good", "bad"], [1, 2])


def test_trl_conversational_with_the_prompt_inside_or_apart(tmp_path: Path) -> None:
    inside = {"chosen": [USER, said("Light scatters.")], "rejected": [USER, said("Paint.")]}
    apart = {"prompt": [USER], "chosen": [said("Light scatters.")], "rejected": [said("Paint.")]}
    for row in (inside, apart):
        mapping, (item,) = read(tmp_path, [row])
        assert mapping.shape == "chosen"
        assert (item.prompt, texts(item)) == (USER["content"], ["Light scatters.", "Paint."])


def test_several_turns_and_a_system_prompt_are_written_with_who_says_what(tmp_path: Path) -> None:
    start = [{"role": "system", "content": "Be kind."}, USER, said("Guess!"), {"role": "user", "content": "No idea."}]
    _, (item,) = read(tmp_path, [{"chosen": [*start, said("Light.")], "rejected": [*start, said("Paint.")]}])
    assert item.prompt == "System: Be kind.\n\nUser: Why is the sky blue?\n\nAssistant: Guess!\n\nUser: No idea."
    assert texts(item) == ["Light.", "Paint."]


def test_hh_rlhf_transcripts_part_at_the_last_turn_that_differs(tmp_path: Path) -> None:
    start = "\n\nHuman: Hello\n\nAssistant: Hi!\n\nHuman: Tell me more\n\nAssistant:"
    rows = [
        {"chosen": f"{start} Gladly.\n\nReally.", "rejected": f"{start} No."},
        {"chosen": "\n\nHuman: a\n\nAssistant: x", "rejected": "\n\nHuman: b\n\nAssistant: y"},
    ]
    mapping, (item, other) = read(tmp_path, rows)
    assert mapping.shape == "chosen" and mapping.prompt is None
    assert item.prompt == "User: Hello\n\nAssistant: Hi!\n\nUser: Tell me more"
    assert texts(item) == ["Gladly.\n\nReally.", "No."]
    assert other.problem == "the conversations ask different things"


def test_sharegpt_as_llama_factory_keeps_it(tmp_path: Path) -> None:
    row = {
        "conversations": [{"from": "human", "value": "Hi"}],
        "chosen": {"from": "gpt", "value": "Hello!"},
        "rejected": {"from": "gpt", "value": "What?"},
    }
    mapping, (item,) = read(tmp_path, [row])
    assert mapping.prompt == "conversations"
    assert (item.prompt, texts(item)) == ("Hi", ["Hello!", "What?"])


def test_ultrafeedback_s_ratings_become_ranks_and_ties(tmp_path: Path) -> None:
    completions = [
        {"model": "alpaca", "response": "short", "overall_score": 3.0},
        {"model": "gpt-4", "response": "long", "overall_score": 9.0},
        {"model": "ours", "response": "fine", "overall_score": 3.0},
    ]
    rows = [{"source": "evol", "instruction": f"p{i}", "completions": completions} for i in range(2)]
    mapping, items = read(tmp_path, rows)
    assert (mapping.shape, mapping.verdict) == ("list", "rating")
    assert items[0].votes[0].ranks == [2, 1, 2]
    assert [answer.source for answer in items[0].answers] == ["alpaca", "gpt-4", "ours"]
    made = data.build(lambda: items, Selection(), 1)
    assert sorted(tuple(sorted(ranks)) for ranks in made.feedback["ranks"]) == [(1, 1)] * 2 + [(1, 2)] * 4


def test_a_list_of_answers_with_models_and_ratings_in_lists_beside_it(tmp_path: Path) -> None:
    row = {"input": "p", "generations": ["one", "two"], "models": ["m1", "m2"], "ratings": [2.0, 5.0]}
    mapping, items = read(tmp_path, [row, {**row, "input": "q"}])
    assert mapping.answers == ("generations",)
    assert [answer.source for answer in items[0].answers] == ["m1", "m2"]
    assert items[0].votes[0].ranks == [2, 1]


def test_one_answer_a_row_is_grouped_by_its_prompt(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "response": "one", "model": "m1", "helpfulness": 1},
        {"prompt": "q", "response": "three", "model": "m1", "helpfulness": 4},
        {"prompt": "p", "response": "two", "model": "m2", "helpfulness": 3},
    ]
    mapping, (item, other) = read(tmp_path, rows)
    assert mapping.shape == "rows"
    assert (texts(item), [answer.source for answer in item.answers]) == (["one", "two"], ["m1", "m2"])
    assert item.votes[0].ranks == [2, 1] and not other.votes


def test_helpsteer_with_its_strength_of_preference(tmp_path: Path) -> None:
    context = [{"role": "user", "content": "p"}]
    row = {"domain": "general", "context": context, "response1": "a", "response2": "b"}
    mapping, items = read(tmp_path, [{**row, "overall_preference": n} for n in (-3, 0, 2)])
    assert (mapping.prompt, mapping.verdict, mapping.category) == ("context", "strength", "domain")
    assert [(item.votes[0].ranks, item.votes[0].strength) for item in items] == [([1, 2], 3), ([1, 1], 0), ([2, 1], 2)]


def test_an_arena_s_conversations_with_their_winner(tmp_path: Path) -> None:
    row = {
        "model_a": "m1",
        "model_b": "m2",
        "conversation_a": [USER, said("Light.")],
        "conversation_b": [USER, said("Paint.")],
    }
    mapping, items = read(tmp_path, [{**row, "winner": winner} for winner in ("model_b", "tie (bothbad)")])
    assert mapping.sources == ("model_a", "model_b")
    assert [item.votes[0].ranks for item in items] == [[2, 1], [1, 1]]
    assert (items[0].prompt, texts(items[0])) == (USER["content"], ["Light.", "Paint."])


def test_orca_s_system_prompt_goes_before_the_question(tmp_path: Path) -> None:
    _, (item,) = read(tmp_path, [{"system": "Be brief.", "question": "p", "chosen": "a", "rejected": "b"}])
    assert item.prompt == "System: Be brief.\n\nUser: p"


def test_scores_beside_chosen_and_rejected_become_strength(tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 9.0, "score_rejected": 4.0}
    _, (item,) = read(tmp_path, [row])
    assert item.votes[0].strength == 5.0


def test_columns_without_known_names_are_not_guessed_at(tmp_path: Path) -> None:
    assert data.recognise(pd.DataFrame({"a": ["x"], "b": ["y"]})) is None


@pytest.mark.parametrize("cell", ["plain text", "[1, 2]", "{}", '[{"role": "wizard", "content": "x"}]', "[broken"])
def test_what_is_no_conversation_is_left_alone(cell: str) -> None:
    assert turns.parse(cell) is None


@pytest.mark.parametrize(
    "name", ["falcon_comparisons.csv", "judged_pairs.parquet", "hh_harmless.jsonl", "sharegpt_preferences.json"]
)
def test_real_files_need_no_correction(shared_data: Path, name: str) -> None:
    frame = tables.read_file(shared_data / name).frame
    found = data.recognise(frame)
    assert found is not None and found.sure == "sure"
    made = data.build(lambda: data.items([frame], found.mapping), Selection(), 42)
    assert made.ledger["kept"] > 0.97 * made.ledger["read"]
    assert found.mapping.is_judged == (name != "falcon_comparisons.csv")
    assert bool(len(made.feedback)) == found.mapping.is_judged


def test_labels_that_count_from_nought_follow_the_columns_names_or_are_not_guessed_at(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response_0": "a", "response_1": "b", "better": label} for label in (0, 1)]
    mapping, items = read(tmp_path, rows)
    assert mapping.verdict == "choice" and [item.votes[0].ranks for item in items] == [[1, 2], [2, 1]]
    rows = [{"prompt": "p", "answer x": "a", "answer y": "b", "label": label} for label in (0, 1)]
    assert read(tmp_path, rows)[0].verdict == "none"


def test_only_scores_make_a_strength_and_a_wrong_one_makes_none(tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b"}
    assert read(tmp_path, [{**row, "chosen_tokens": 500, "rejected_tokens": 20}])[0].verdict == "none"
    _, items = read(tmp_path, [{**row, "chosen_score": 1, "rejected_score": 9}])
    made = data.build(lambda: items, Selection(), 1)
    pairs = preferences.make_pairs(made.frame, made.feedback).frame
    assert pairs["strength"].tolist() == [0.0]


def test_one_answer_to_each_prompt_waits_for_a_second(tmp_path: Path) -> None:
    rows = [{"instruction": f"p{i}", "output": "a"} for i in range(3)]
    mapping, _ = read(tmp_path, rows)
    assert mapping.shape == "columns" and mapping.answers == ("output",)


@pytest.mark.parametrize("cell", ["[" * 5000, '{"value": 1}', "[null]", '[{"user_id": 1}]'])
def test_an_odd_cell_spoils_its_own_row_at_most(cell: str) -> None:
    frame = pd.DataFrame({"instruction": ["p", "q"], "response-1": ["a", cell], "response-2": ["b", "c"]})
    frame["choose-best"] = ["1", cell]
    found = data.recognise(frame)
    assert found is not None
    made = data.build(lambda: data.items([frame], found.mapping), Selection(), 1)
    assert len(made.frame) == 2


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"verdict": "rating", "verdict_in": ("r",)}, "for each of the 2 answers"),
        ({"answers": ("a", "b", "r"), "verdict": "strength", "verdict_in": ("p",)}, "about two answers"),
        ({"shape": "list", "answers": ("a",), "verdict": "choice", "verdict_in": ("r",)}, "side by side"),
        (
            {"shape": "rows", "answers": ("a",), "verdict": "strength", "verdict_in": ("r",)},
            "nly a rating",
        ),
    ],
)
def test_a_judgement_that_does_not_fit_the_shape_is_named(mapping: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        data.check(["p", "a", "b", "r"], ColumnMapping(**{"prompt": "p", "answers": ("a", "b"), **mapping}))
