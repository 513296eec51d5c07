"""Background work: watched through its file, stopped, and never lost in silence."""

import threading
from pathlib import Path

import pytest

from rm_studio import jobs
from rm_studio.errors import AnnotationError, StudioError
from rm_studio.jobs import Job
from rm_studio.workspace import write_json


def test_a_job_reports_its_progress_and_its_end(tmp_path: Path) -> None:
    file = tmp_path / "job.json"

    def work(job: Job) -> str:
        job.progress(5, 10)
        job.progress(10, 10)
        return "All ten."

    jobs.start(file, "Counting", work).join()
    status = jobs.read(file)
    assert (status.state, status.message, status.done, status.total) == ("done", "All ten.", 10, 10)


def test_a_studio_error_is_told_and_another_is_not_shown(tmp_path: Path) -> None:
    def refuse(job: Job) -> str:
        raise AnnotationError("The name is taken.")

    def crash(job: Job) -> str:
        raise RuntimeError("/secret/path")

    jobs.start(tmp_path / "a.json", "A", refuse).join()
    jobs.start(tmp_path / "b.json", "B", crash).join()
    assert jobs.read(tmp_path / "a.json").message == "The name is taken."
    assert "/secret" not in jobs.read(tmp_path / "b.json").message


def test_the_same_job_cannot_run_twice_and_can_be_stopped(tmp_path: Path) -> None:
    file, going = tmp_path / "job.json", threading.Event()

    def work(job: Job) -> str:
        going.set()
        job.stopping.wait(10)
        return "Stopped half-way."

    thread = jobs.start(file, "Publishing", work)
    going.wait(10)
    with pytest.raises(StudioError, match="already under way"):
        jobs.start(file, "Publishing", work)
    jobs.stop(file)
    thread.join()
    assert jobs.read(file).state == "stopped"


def test_a_job_whose_app_died_reads_as_interrupted(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    write_json(file, {"title": "Publishing", "state": "running", "pid": 999_999, "started": 1.0})
    status = jobs.read(file)
    assert status.state == "interrupted"
    assert "goes on where it was" in status.message


def test_before_a_folder_goes_its_jobs_are_ended(tmp_path: Path) -> None:
    def work(job: Job) -> str:
        job.stopping.wait(20)
        return "Stopped in the middle."

    jobs.start(tmp_path / "one" / "load.json", "Reading", work)
    other = jobs.start(tmp_path / "two" / "load.json", "Reading", work)
    jobs.stop_all(tmp_path / "one")
    assert jobs.read(tmp_path / "one" / "load.json").state == "stopped"
    assert jobs.read(tmp_path / "two" / "load.json").state == "running"
    jobs.stop(tmp_path / "two" / "load.json")
    other.join()

    deaf = threading.Event()
    jobs.start(tmp_path / "three" / "load.json", "Reading", lambda job: str(deaf.wait(20)))
    with pytest.raises(StudioError, match="still under way"):
        jobs.stop_all(tmp_path / "three", wait_s=0.2)
    deaf.set()
