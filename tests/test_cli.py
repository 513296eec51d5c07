"""The command line, as a person types it: the same journey without a page."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from rm_studio import scoring
from rm_studio.workspace import Workspace


def rm_studio(*arguments: object, home: Path | None = None) -> "subprocess.CompletedProcess[str]":
    import os

    environment = {**os.environ, **({"RM_STUDIO_HOME": str(home)} if home else {})}
    command = [sys.executable, "-m", "rm_studio", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture(scope="module")
def trained(tiny_bert: Path, pairs: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    pairs.to_json(folder / "pairs.jsonl", orient="records", lines=True)
    result = rm_studio(
        "train", folder / "pairs.jsonl", "--base-model", tiny_bert, "--output", folder / "run",
        "--set", "epochs=3", "--set", "learning_rate=5e-3", "--set", "batch_size=8",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "40 preference pairs" in result.stdout
    assert "it never saw" in result.stdout
    return folder


def test_train_leaves_an_ordinary_model_folder(trained: Path) -> None:
    names = {file.name for file in (trained / "run" / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names


def test_score_adds_a_score_to_each_row(trained: Path) -> None:
    table = pd.DataFrame(
        {"prompt": ["What should I do?"] * 2, "response": ["Thank you. Try it.", "Go away."], "own": [1, 2]}
    )
    table.to_csv(trained / "in.csv", index=False)
    result = rm_studio("score", trained / "run" / "model", trained / "in.csv", "--out", trained / "out.csv")
    assert result.returncode == 0, result.stderr
    scored = pd.read_csv(trained / "out.csv")
    expected = scoring.load_reward_model(trained / "run" / "model").score(table["prompt"], table["response"]).values
    np.testing.assert_allclose(scored["score"], expected, atol=1e-5)
    assert list(scored.columns) == ["prompt", "response", "own", "score"]
    assert scored["score"][0] > scored["score"][1]


def test_a_csv_holds_no_formula_that_a_spreadsheet_would_run(trained: Path) -> None:
    (trained / "f.csv").write_text('prompt,response\np,"=HYPERLINK(""http://x"")"\n')
    assert (
        rm_studio("score", trained / "run" / "model", trained / "f.csv", "--out", trained / "new" / "o.csv").returncode
        == 0
    )
    assert pd.read_csv(trained / "new" / "o.csv")["response"][0].startswith("'=")


def test_an_output_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("prompt,response\np,a\n")
    result = rm_studio("score", "no-model", tmp_path / "in.csv", "--out", tmp_path / "o.txt")
    assert result.returncode == 1 and "must end in" in result.stderr


def test_evaluate_writes_the_report(trained: Path) -> None:
    result = rm_studio("evaluate", trained / "run" / "model", trained / "pairs.jsonl", "--out", trained / "report.json")
    assert result.returncode == 0, result.stderr
    report = json.loads((trained / "report.json").read_text())
    assert report["n_pairs"] == 40
    assert report["accuracy"]["value"] > 0.9
    assert "Accuracy" in result.stdout


def test_the_embedded_argilla_is_found_by_its_command(argilla: Workspace) -> None:
    started = rm_studio("argilla", "start", home=argilla.root)
    assert started.returncode == 0, started.stderr
    credentials = json.loads((argilla.argilla_folder / "credentials.json").read_text())
    assert credentials["api_url"] in rm_studio("argilla", "status", home=argilla.root).stdout
    me = httpx.get(f"{credentials['api_url']}/api/v1/me", headers={"X-Argilla-Api-Key": credentials["api_key"]})
    assert me.json()["username"] == credentials["username"]
    assert credentials["password"] not in started.stdout + started.stderr


def test_the_owner_s_login_is_shown_and_stays(tmp_path: Path) -> None:
    first, again = (rm_studio("login", home=tmp_path).stdout for _ in range(2))
    assert first == again
    assert re.fullmatch(r"Name: owner\nPassword: \S{12,}\n", first)


def test_backups_are_made_listed_and_put_back_by_command(argilla: Workspace, tmp_path: Path) -> None:
    assert "nothing to back up" in rm_studio("argilla", "backup", home=tmp_path).stderr
    assert "no copy of this name" in rm_studio("argilla", "restore", "x.db", home=tmp_path).stderr
    name = rm_studio("argilla", "backup", home=argilla.root).stdout.split(":")[0]
    assert name in rm_studio("argilla", "backups", home=argilla.root).stdout
    folder = tmp_path / "argilla" / "backups"
    folder.mkdir(parents=True)
    shutil.copy(argilla.argilla_folder / "backups" / name, folder)
    assert "Put back" in rm_studio("argilla", "restore", name, home=tmp_path).stdout
    assert (tmp_path / "argilla" / "argilla.db").exists()


def test_stop_says_when_there_is_nothing_to_stop(tmp_path: Path) -> None:
    assert "not running" in rm_studio("argilla", "stop", home=tmp_path).stdout
    assert "not running" in rm_studio("argilla", "status", home=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "missing.csv", "--output", "x"], "could not be opened"),
        (["score", "no such model!", "in.csv", "--out", "x.csv"], "could not be opened"),
    ],
)
def test_what_a_person_can_mend_is_one_plain_line_and_code_1(arguments: list[str], words: str) -> None:
    result = rm_studio(*arguments)
    assert result.returncode == 1
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [["nonsense"], ["train"], ["train", "x.csv", "--output", "y", "--set", "epochs"]])
def test_wrong_usage_is_code_2(arguments: list[str]) -> None:
    assert rm_studio(*arguments).returncode == 2


def test_an_unknown_setting_is_named(pairs: pd.DataFrame, tmp_path: Path) -> None:
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    result = rm_studio("train", tmp_path / "pairs.csv", "--output", tmp_path / "run", "--set", "speed=11")
    assert result.returncode == 1
    assert "no setting called “speed”" in result.stderr
