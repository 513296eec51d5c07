"""Processes that outlive us, known by pid and start time."""

import subprocess
import sys
import time
from pathlib import Path

from rm_studio import processes
from rm_studio.processes import ProcessId

SLEEP = [sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(60)"]


def test_a_spawned_process_is_found_logs_and_ends(tmp_path: Path) -> None:
    process_id = processes.spawn(SLEEP, tmp_path / "log.txt")
    assert processes.find(process_id) is not None
    deadline = time.monotonic() + 20
    while "hello" not in (tmp_path / "log.txt").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "hello" in (tmp_path / "log.txt").read_text()
    processes.end(process_id)
    assert processes.find(process_id) is None


def test_a_pid_that_another_process_has_now_is_not_touched() -> None:
    with subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL) as other:
        stale = ProcessId(other.pid, started=1.0)
        assert processes.find(stale) is None
        processes.end(stale)
        assert other.poll() is None
        other.kill()


def test_our_own_identity_is_ours() -> None:
    assert processes.find(processes.own_identity()) is not None
