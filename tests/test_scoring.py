"""A saved model scores the same here, in a batch, one by one, and in plain transformers in a fresh process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rm_studio import evaluation, models, scoring
from rm_studio.encoding import choose_format, write_format

TEXTS = [
    ("What should I do?", "Try again."),
    ("Why?", "Because it rains a lot here in the winter, as you know."),
    ("", "x"),
]


@pytest.fixture(scope="module")
def saved(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    loaded = models.load(str(tiny_bert), for_training=True)
    loaded.model.config.problem_type = "regression"
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    write_format(folder, choose_format(loaded.tokenizer, loaded.model.config, 512))
    return folder


def test_one_by_one_and_in_batches_give_the_same_scores(saved: Path) -> None:
    model = scoring.load_reward_model(saved)
    prompts, answers = zip(*TEXTS, strict=True)
    together = model.score(prompts, answers).values
    alone = [model.score([prompt], [answer]).values[0] for prompt, answer in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_plain_pipeline_in_a_fresh_process_gives_the_same_scores(saved: Path) -> None:
    program = """
import json, sys
from transformers import AutoModelForSequenceClassification, pipeline
AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
pipe = pipeline("text-classification", model=sys.argv[1])
texts = [{"text": prompt, "text_pair": answer} for prompt, answer in json.loads(sys.argv[2])]
print(json.dumps([[result["score"] for result in pipe(texts, batch_size=size)] for size in (1, 3)]))
"""
    run = subprocess.run(
        [sys.executable, "-c", program, str(saved), json.dumps(TEXTS)], capture_output=True, text=True, check=True
    )
    prompts, answers = zip(*TEXTS, strict=True)
    ours = scoring.load_reward_model(saved).score(prompts, answers).values
    for theirs in json.loads(run.stdout.splitlines()[-1]):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_text_over_the_limit_is_shortened_and_said_never_an_index_error(saved: Path) -> None:
    scores = scoring.load_reward_model(saved).score(["word " * 500, "short"], ["answer " * 500, "short"])
    assert np.isfinite(scores.values).all()
    assert scores.shortened == [True, False]


def test_batches_hold_every_text_once_and_stay_within_their_size() -> None:
    lengths = [3, 900, 20, 5000, 900, 9000]
    batches = list(scoring.batches_by_length(lengths))
    assert sorted(index for batch in batches for index in batch) == list(range(6))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= scoring.TOKENS_A_BATCH


def test_a_text_that_comes_again_is_scored_once(saved: Path) -> None:
    model = scoring.load_reward_model(saved)
    asked: list[int] = []
    ids = model.encode(["a", "b", "a"], ["x", "y", "x"]).ids
    values = scoring.score_ids(model.model, ids, model.tokenizer.pad_token_id, lambda done, total: asked.append(total))
    assert asked[-1] == 2
    assert values[0] == values[2] != values[1]


def test_evaluate_model_reports_on_a_folder(saved: Path, pairs: object) -> None:
    report = evaluation.evaluate_model(saved, pairs)  # type: ignore[arg-type]
    assert report["n_pairs"] == 40
    assert set(report["groups"]) == {"even", "odd"}
