"""FAULTS 30: a pull of 100,000 records is complete, and its memory bounded. Minutes: run with -m slow -s."""

import time
import tracemalloc

import pandas as pd
import pytest

from rm_studio import annotation, data
from rm_studio.config import ColumnMapping
from rm_studio.workspace import Workspace, write_frame

N = 100_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_records_come_back_whole(argilla: Workspace) -> None:
    project = argilla.create("Many")
    text = " ".join(["word"] * 60)
    rows = [(f"Question {number}? {text}", f"Good {number} {text}", f"Bad {number} {text}") for number in range(N)]
    mapping = ColumnMapping(prompt="prompt", answers=("good", "bad"))
    comparisons, *_ = data.build_comparisons(pd.DataFrame(rows, columns=["prompt", "good", "bad"]), mapping, seed=1)
    write_frame(project.comparisons, comparisons)
    seen: list[int] = []
    with annotation.connect(argilla) as connection:
        begun = time.monotonic()
        reference = annotation.publish(connection, project, comparisons)
        published = time.monotonic() - begun
        assert reference.n_records == N
        tracemalloc.start()
        begun = time.monotonic()
        annotation.pull(
            connection, reference, comparisons, project.info.question, lambda done, total: seen.append(done)
        )
        taken = time.monotonic() - begun
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    print(f"published {N / published:,.0f}/s, pulled {N / taken:,.0f}/s (traced), peak {peak / 1e6:,.0f} MB")
    assert seen[-1] == N
    assert peak < 200e6
