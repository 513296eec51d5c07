"""Answers written by models: by a really running ``transformers serve``, stopped and gone on with, refused."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from chat_server import Served

from rm_studio import flow, generation, jobs, tables
from rm_studio.config import DataSource
from rm_studio.errors import DataError, GenerationError
from rm_studio.jobs import Job
from rm_studio.workspace import Project, Workspace
from rm_studio.writers import Contender, check_address, writer_of

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture
def project(workspace: Workspace, tmp_path: Path) -> Project:
    """Six prompts, one of them a conversation, and no answers."""
    talk = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Bye"},
    ]
    rows = [{"prompt": f"Question {i}?", "topic": "x"} for i in range(5)] + [{"prompt": talk, "topic": "x"}]
    (tmp_path / "prompts.json").write_text(json.dumps(rows))
    made = workspace.create("Generate")
    flow.load_table(made, DataSource(name="prompts.json"), tmp_path / "prompts.json")
    return made


@pytest.fixture
def job(workspace: Workspace) -> Job:
    return Job(workspace.root / "job.json", "Writing answers")


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


def column(project: Project, name: str) -> list[Any]:
    return pd.concat(list(tables.batches(project.table)))[name].tolist()


def test_two_models_answer_and_people_can_compare_them(project: Project, job: Job, served: Served) -> None:
    contenders = [Contender(address=served.address, model=name, system="Be kind.") for name in ("one", "two")]
    said = generation.generate(project, contenders, job, token="secret-token")
    assert said == "12 answers are there, in 2 columns of the table."
    assert column(project, "one")[0] == "Answer to Question 0? by one"
    assert column(project, "two")[5] == "Answer to Bye by two"
    talk = next(call for call in served.calls if len(call["messages"]) == 4)
    assert [message["role"] for message in talk["messages"]] == ["system", "user", "assistant", "user"]
    mapping = project.info.mapping
    assert mapping is not None and mapping.answers == ("one", "two")
    flow.save_comparisons(project, mapping)
    assert set(flow.require_comparisons(project)["sources"][0]) == {"one", "two"}
    assert set(served.headers) == {"Bearer secret-token"}
    assert not any(b"secret-token" in file.read_bytes() for file in project.folder.rglob("*") if file.is_file())


def test_what_was_stopped_goes_on_and_nothing_is_asked_for_twice(project: Project, job: Job, served: Served) -> None:
    contender = Contender(address=served.address, model="one", answers=3)

    def stop_at_the_fifth(call: int) -> int:
        if call == 5:
            job.stopping.set()
        return 0

    served.fail = stop_at_the_fifth
    said = generation.generate(project, [contender], job)
    assert said.startswith("Stopped with") and 5 <= len(served.calls) < 5 + generation.AT_ONCE
    job.stopping.clear()
    assert generation.generate(project, [contender], job) == "18 answers are there, in 3 columns of the table."
    assert len(served.calls) == 18
    generation.generate(project, [contender], job)
    assert len(served.calls) == 18
    assert len({json.dumps([call["messages"], call["seed"]]) for call in served.calls}) == 18
    assert None not in column(project, "one (3)")


def test_failures_are_counted_and_asked_for_again(project: Project, job: Job, served: Served) -> None:
    served.fail = lambda call: 500 if call in (2, 4) else 0
    contender = Contender(address=served.address, model="one")
    assert "2 failed; press the button again" in generation.generate(project, [contender], job)
    assert sum(answer is None for answer in column(project, "one")) == 2
    assert generation.generate(project, [contender], job).startswith("6 answers are there")


@pytest.mark.parametrize(("status", "words"), [(401, "refused the token"), (404, "knows no such model"), (500, "500")])
def test_when_everything_fails_the_reason_is_given(
    project: Project, job: Job, served: Served, status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "GIVE_UP_AFTER", 3)
    served.fail = lambda call: status
    with pytest.raises(GenerationError, match=words):
        generation.generate(project, [Contender(address=served.address, model="one")], job)
    assert len(served.calls) <= 3 + generation.AT_ONCE


def test_a_redirect_is_not_followed_wherever_it_leads(
    project: Project, job: Job, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "GIVE_UP_AFTER", 1)
    other = Served()
    served.fail, served.elsewhere = lambda call: 307, f"{other.address}/chat/completions"
    with pytest.raises(GenerationError, match="which is not followed"):
        generation.generate(project, [Contender(address=served.address, model="one")], job)
    other.close()
    assert served.calls and not other.calls


def test_an_address_that_speaks_something_else_is_said_to(
    project: Project, job: Job, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "GIVE_UP_AFTER", 1)
    served.reply = {"response": "hello"}
    with pytest.raises(GenerationError, match="does not answer as OpenAI"):
        generation.generate(project, [Contender(address=served.address, model="one")], job)


FORBIDDEN = [
    "file:///etc/passwd",
    "http://169.254.169.254/v1",
    "zip::http://x/y",
    "http://[fe80::1]/v1",
    "http://[::ffff:169.254.169.254]/",
    "ftp://x/v1",
    "http://0.0.0.0",
    "x",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_an_address_that_must_not_be_asked_is_refused(address: str) -> None:
    with pytest.raises(GenerationError, match="not an address that can be asked"):
        check_address(address)


@pytest.mark.parametrize("address", ["http://[::1]:8000/v1", "http://127.0.0.1:11434/v1", "http://192.168.1.5/v1"])
def test_a_model_on_this_machine_or_network_may_be_asked(address: str) -> None:
    check_address(address)


def test_a_column_of_one_s_own_is_not_overwritten_and_a_system_prompt_is_sent(
    workspace: Workspace, tmp_path: Path, job: Job, served: Served
) -> None:
    (tmp_path / "x.csv").write_text("prompt,system,one\np,Be brief.,mine\nq,Be kind.,mine\n")
    made = workspace.create("Own")
    flow.load_table(made, DataSource(name="x.csv"), tmp_path / "x.csv")
    mapping = made.info.mapping
    assert mapping is not None and mapping.system == "system"
    generation.generate(made, [Contender(address=served.address, model="one")], job)
    assert column(made, "one") == ["mine", "mine"] and column(made, "one, again 2")[0] == "Answer to p by one"
    generation.generate(made, [Contender(address=served.address, model="one")], job)
    assert len(served.calls) == 2
    assert {call["messages"][0]["content"] for call in served.calls} == {"Be brief.", "Be kind."}


def test_a_table_that_was_replaced_meanwhile_is_left_alone(
    project: Project, tmp_path: Path, job: Job, served: Served
) -> None:
    (tmp_path / "other.csv").write_text("prompt,a,b\nz,1,2\n")

    def replace(call: int) -> int:
        if call == 2:
            flow.load_table(project, DataSource(name="other.csv"), tmp_path / "other.csv")
        return 0

    served.fail = replace
    with pytest.raises(DataError, match="replaced meanwhile"):
        generation.generate(project, [Contender(address=served.address, model="one")], job)
    assert tables.n_rows(project.table) == 1


def test_no_server_of_that_name_is_said() -> None:
    with pytest.raises(GenerationError, match="no server called"):
        check_address("http://nowhere.invalid/v1")


def test_judged_data_in_another_shape_is_not_answered_again(workspace: Workspace, tmp_path: Path, job: Job) -> None:
    (tmp_path / "x.csv").write_text("prompt,chosen,rejected\np,a,b\n")
    made = workspace.create("Judged")
    flow.load_table(made, DataSource(name="x.csv"), tmp_path / "x.csv")
    with pytest.raises(DataError, match="side by side"):
        generation.generate(made, [Contender(model="one")], job)


def test_a_model_is_run_here(project: Project, job: Job, tiny_decoder: Path) -> None:
    contender = Contender(kind="here", model=str(tiny_decoder), max_tokens=8)
    generation.generate(project, [contender], job)
    history = generation.History(project.folder / generation.HISTORY)
    assert len(history.answers) >= 5, "random weights may write nothing but spaces"
    with pytest.raises(GenerationError, match="could not be loaded"):
        writer_of(Contender(kind="here", model=str(project.folder))).__enter__()


@pytest.fixture
def serving(tiny_decoder: Path, tmp_path: Path) -> Iterator[str]:
    """A really running ``transformers serve``; gives its address."""
    (tiny_decoder / "chat_template.jinja").write_text(TEMPLATE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", "--port", str(port), "--host", "127.0.0.1"]
    with (tmp_path / "serve.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    deadline = time.monotonic() + 90
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health", timeout=1)
            break
        except httpx.HTTPError:
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "serve.log").read_text()
            time.sleep(0.2)
    yield f"http://127.0.0.1:{port}/v1"
    process.terminate()
    process.wait(20)
    (tiny_decoder / "chat_template.jinja").unlink()


def test_transformers_serve_is_asked_for_real(project: Project, serving: str, tiny_decoder: Path) -> None:
    file = project.folder / "generate.json"
    contender = Contender(address=serving, model=str(tiny_decoder), max_tokens=8)
    jobs.start(file, "Writing answers", lambda job: generation.generate(project, [contender], job)).join()
    status = jobs.read(file)
    assert status.state == "done", status.message
    assert len(generation.History(project.folder / generation.HISTORY).answers) >= 5


def test_the_same_model_with_other_settings_stands_beside_itself(project: Project, job: Job, served: Served) -> None:
    generation.generate(project, [Contender(address=served.address, model="one", system="Be brief.")], job)
    generation.generate(project, [Contender(address=served.address, model="one", system="Be long.")], job)
    calls = len(served.calls)
    assert all(column(project, "one")) and all(column(project, "one, again 2"))
    generation.generate(project, [Contender(address=served.address, model="one", system="Be brief.")], job)
    assert len(served.calls) == calls and project.info.mapping is not None
    assert len([name for name in project.info.mapping.answers if name.startswith("one")]) == 2


def test_an_answer_that_was_cut_off_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "generated.jsonl"
    path.write_text('{"key": "a", "answer": "A"}\n{"key": "b", "ans', encoding="utf-8")
    history = generation.History(path)
    history.add(generation.Wanted(generation.Prompt("p", ""), 0, "c"), "one", "C")
    assert generation.History(path).answers == {"a": "A", "c": "C"}
