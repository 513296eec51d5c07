"""What is said about a run before it starts: the pairs, the presets, and a trial of a few real steps."""

import re
from pathlib import Path

import pandas as pd
import pytest

from rm_studio import flow, jobs, models
from rm_studio.config import DataSource
from rm_studio.errors import TrainingError
from rm_studio.training import checks, preflight, presets, queue, runs
from rm_studio.training.config import TrainConfig
from rm_studio.training.device import Device
from rm_studio.workspace import Project, Workspace

CPU = Device(kind="cpu", name="2 cores", memory=24 * 10**9, gflops=400)


def told(pairs: pd.DataFrame) -> str:
    return " ".join(finding.text for finding in checks.of_pairs(pairs, TrainConfig()))


def many(n: int = 300) -> pd.DataFrame:
    """Pairs with nothing wrong: over many prompts, the longer answer winning half of the time."""
    rows = [
        {"prompt": f"p{i}", "chosen": "good" + " x" * (i % 2), "rejected": f"bad{i}" * (2 - i % 2)} for i in range(n)
    ]
    return pd.DataFrame(rows)


def test_good_pairs_get_no_warning() -> None:
    assert [finding.level for finding in checks.of_pairs(many(), TrainConfig())] == ["good"]


def test_each_trouble_of_the_pairs_is_named_with_its_number() -> None:
    assert "Only 8 pairs are held out" in told(many(40))
    assert "1 pairs are there more than once" in told(pd.concat([many(), many()[:1]], ignore_index=True))
    turned = many()[:2].rename(columns={"chosen": "rejected", "rejected": "chosen"})
    assert "4 pairs contradict another one" in told(pd.concat([many(), turned], ignore_index=True))
    assert "The longer answer wins in 100%" in told(many().assign(chosen="a very long answer indeed, much longer"))
    same = many()[:2].assign(rejected=many()["chosen"])
    assert "2 pairs have two identical answers" in told(pd.concat([many(), same], ignore_index=True))
    (finding,) = checks.of_pairs(many(3).assign(prompt="the same"), TrainConfig())
    assert finding.level == "block" and "share one prompt" in finding.text


@pytest.mark.parametrize(("gigabytes", "level"), [(2, "good"), (9, "warn"), (20, "block")])
def test_memory_fits_is_tight_or_does_not_fit(gigabytes: int, level: str) -> None:
    trial = checks.Trial(
        n_train=1, n_test=1, left_out=0, shortened=0, max_length=1, parameters=1, learning=1, steps=1, seconds=1,
        pairs_per_s=1, memory=gigabytes * 10**9, memory_there=10 * 10**9, device="cpu", disk=1,
    )  # fmt: skip
    assert checks.of_memory(trial).level == level


def test_pairs_ask_for_the_losses_that_fit_them() -> None:
    assert checks.asks(many()) == {"use_strength": False, "learn_ties": False}
    assert checks.asks(many().assign(p_chosen=0.8)) == {"soft_labels": True}
    asked = checks.asks(many().assign(p_chosen=[0.5] * 5 + [1.0] * 295, strength=2.0))
    assert asked == {"use_strength": True, "learn_ties": True}


def test_presets_fit_the_model_the_pairs_and_the_machine() -> None:
    small, large = models.Facts(22_000_000, 11_000_000, 6, 384, 512), models.Facts(8 * 10**9, 7 * 10**9, 32, 4096, 8192)
    quick, balanced, best = (preset.config for preset in presets.presets("m", small, many(), CPU))
    assert (quick.method, balanced.method, best.epochs) == ("head", "full", 2)
    assert best.early_stopping and not balanced.early_stopping
    card = Device(kind="cuda", name="card", memory=80 * 10**9, gflops=400_000)
    _, balanced, _ = (preset.config for preset in presets.presets("m", large, many(), card))
    assert balanced.method == "lora" and balanced.gradient_checkpointing
    rates = [presets.learning_rate(size * 10**9, 5_000) for size in (0.02, 0.1, 0.3, 1, 7, 8)]
    assert rates == sorted(rates, reverse=True)
    times = [presets.outlook(config, small, many(), CPU).seconds for config in (quick, best)]
    assert times[0] < times[1]


def test_a_model_s_size_is_known_from_its_files_alone(tiny_bert: Path) -> None:
    found = models.facts(str(tiny_bert))
    assert found is not None and (found.layers, found.hidden, found.positions) == (2, 32, 64)
    assert found.parameters == sum(
        value.numel() for value in models.load(str(tiny_bert), True).model.base_model.parameters()
    )
    assert models.facts("no such model!") is None


def test_a_trial_foretells_what_the_run_then_takes(tiny_bert: Path, pairs: pd.DataFrame, tmp_path: Path) -> None:
    config = TrainConfig(base_model=str(tiny_bert), epochs=10, batch_size=4)
    said: list[str] = []
    trial = preflight.try_out(runs.prepare(tmp_path / "trial", config, pairs), said.append, lambda: False)
    assert not (tmp_path / "trial").exists() and "Timing a few steps …" in said
    assert (trial.n_train, trial.n_test, trial.left_out, trial.steps) == (32, 8, 0, 8)
    run = queue.train(pairs, tmp_path / "run", **config.model_dump())
    assert run.report is not None
    assert trial.memory == pytest.approx(run.report["memory_bytes"], rel=0.5)  # by far most of it the libraries
    too_long = pairs.assign(chosen=[*(pairs["chosen"][:20] + " more words" * 100), *pairs["chosen"][20:]])
    trial = preflight.try_out(runs.prepare(tmp_path / "trial", config, too_long), said.append, lambda: False)
    assert trial.left_out == 20
    assert any("20 of 40 pairs are left out" in finding.text for finding in checks.of_trial(trial, config))


@pytest.fixture
def project(workspace: Workspace, pairs: pd.DataFrame, tmp_path: Path) -> Project:
    found = workspace.create("Check")
    pairs[["prompt", "chosen", "rejected"]].to_csv(tmp_path / "judged.csv", index=False)
    flow.use_feedback(found, DataSource(kind="file", name="judged.csv"), tmp_path / "judged.csv")
    return found


def test_what_a_check_found_keeps_a_run_from_starting_that_could_not_succeed(
    workspace: Workspace, project: Project, tmp_path: Path
) -> None:
    config = TrainConfig(base_model=str(tmp_path))  # a folder without a model
    file = project.folder / "check_job.json"
    jobs.start(file, "Checking", lambda job: flow.check(project, config, job)).join()
    check = flow.last_check(project)
    assert check is not None and check.blocked and check.key == flow.check_key(project, config)
    with pytest.raises(TrainingError, match=r"no config\.json"):
        flow.start_training(workspace, project, config)
    assert runs.list_runs(project.runs) == []
    assert not list(project.folder.glob("cache/*"))


def test_ties_count_only_where_they_are_learned_from() -> None:
    tied = many(1200).assign(p_chosen=[0.5 if row % 2 else 1.0 for row in range(1200)])
    assert "960 pairs to learn from" in told(many(1200))
    assert re.search(r"4\d\d pairs to learn from", told(tied))


def test_a_model_of_unknown_size_is_not_trained_whole(pairs: pd.DataFrame) -> None:
    found = presets.presets(
        "owner/unknown", None, pairs, Device(kind="cuda", name="card", memory=24 * 10**9, gflops=1e5)
    )
    assert {preset.config.method for preset in found} == {"head", "lora"}
