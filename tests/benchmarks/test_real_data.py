"""How good a model real comparison data gives, end to end. Slow: ``pytest -m slow -s tests/benchmarks``."""

import random
from pathlib import Path

import pytest

from rm_studio import annotation, data, evaluation, flow, judged, models, tables
from rm_studio.config import DataSource
from rm_studio.jobs import Job
from rm_studio.training import queue, runs
from rm_studio.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def say(title: str, run: runs.Run) -> None:
    report = run.report
    assert report is not None
    print(f"\n{title}: {evaluation.reading(report)} Trained in {report['train_seconds']:.0f} s.")


@pytest.mark.skipif(not models.builtin_available(), reason="needs the built-in model")
def test_the_tutorial_from_publishing_to_accuracy(argilla: Workspace, shared_data: Path, tmp_path: Path) -> None:
    """The tutorial's set, answered by a scripted annotator that prefers the human answer nine times in ten."""
    project = argilla.create("Tutorial")
    flow.load_table(project, DataSource(kind="file", name="falcon.csv"), shared_data / "falcon_comparisons.csv")
    flow.save_comparisons(project, data.TUTORIAL.mapping)
    comparisons = flow.require_comparisons(project)
    print("\n" + flow.publish(argilla, project, Job(project.folder / "publish.json", "Publishing")))
    chance = random.Random(1)
    originals = {
        row["id"]: row["responses"][list(row["sources"]).index("original_response")]
        for row in comparisons.to_dict("records")
    }
    with annotation.connect(argilla) as connection:
        dataset = connection.client.datasets(name=project.slug, workspace=connection.workspace)
        assert dataset is not None
        path = f"/api/v1/datasets/{dataset.id}/records"
        records = connection.http.get(path, params={"limit": 1000}).json()["items"]
        assert len(records) == len(comparisons)
        for record in records:
            human = 1 if record["fields"]["response-1"] == escaped(originals[record["external_id"]]) else 2
            value = human if chance.random() < 0.9 else 3 - human
            body = {"status": "submitted", "values": {"choose-best": {"value": value}}}
            connection.http.post(f"/api/v1/records/{record['id']}/responses", json=body).raise_for_status()
    print(flow.pull(argilla, project, Job(project.folder / "pull.json", "Pulling")))
    run = queue.train(flow.require_pairs(project), tmp_path / "run", epochs=2)
    say("Falcon-7B against the human answer", run)
    assert run.report is not None and run.report["accuracy"]["low"] > 0.5


@pytest.mark.skipif(not models.builtin_available(), reason="needs the built-in model")
def test_judged_pairs_against_the_longer_answer(shared_data: Path, tmp_path: Path) -> None:
    """7,401 judged pairs, split by prompt."""
    pairs = judged.pairs_of(tables.read_file(shared_data / "judged_pairs.parquet").frame).frame
    run = queue.train(pairs, tmp_path / "run")
    say("Judged pairs", run)
    assert run.report is not None and run.report["accuracy"]["low"] > run.report["longer_wins"]["high"]


def escaped(text: str) -> str:
    from rm_studio.annotation.dataset import shown

    return shown(text)
