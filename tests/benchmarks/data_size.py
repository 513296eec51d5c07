"""How long and how much memory it takes to load, look at and compare tables of growing size; run by hand.

``python tests/benchmarks/data_size.py [ROWS …]`` writes JSON lines of about a kilobyte each, and reads them as the
Data tab does: into the project, recognised, the first rows and three examples shown, then made into comparisons. Each
size is measured in a process of its own; memory is the most that it held beyond what importing took.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = "The quick brown fox jumps over the lazy dog while somebody reads a long answer to a short question. " * 3


def write(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for row in range(rows):
            entry = {
                "prompt": f"Question {row}: {WORDS}",
                "response-1": f"{WORDS} One {row}",
                "response-2": f"{WORDS} Two {row}",
                "category": f"c{row % 7}",
            }
            file.write(json.dumps(entry) + "\n")


def measure(rows: int) -> dict[str, float]:
    from rm_studio import data, flow, tables
    from rm_studio.config import DataSource, Selection
    from rm_studio.workspace import Workspace

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write(path, rows)
        project = Workspace(Path(folder) / "home").create("Size")
        before = _peak()
        begun = time.perf_counter()
        flow.load_table(project, DataSource(name="rows.jsonl"), path)
        loaded = time.perf_counter() - begun
        first = flow.require_first_rows(project)
        tables.preview(first)
        mapping = project.info.mapping
        assert mapping is not None
        next(iter(data.items([first], mapping)))
        shown = time.perf_counter() - begun - loaded
        memory = _peak() - before
        begun = time.perf_counter()
        flow.save_comparisons(project, mapping, Selection(limit=1000))
        return {
            "rows": rows,
            "megabytes": path.stat().st_size / 1e6,
            "load_s": loaded,
            "preview_s": shown,
            "load_gb": memory,
            "thousand_drawn_s": time.perf_counter() - begun,
            "all_gb": _peak() - before,
        }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(int(sys.argv[2]))))
        return
    sizes = [int(size) for size in sys.argv[1:]] or [1_000, 100_000, 1_000_000]
    print("| rows | file, MB | load, s | preview, s | memory, GB | 1,000 comparisons drawn, s | memory in all, GB |")
    print("|---|---|---|---|---|---|---|")
    for size in sizes:
        said = subprocess.run(
            [sys.executable, __file__, "--one", str(size)], stdout=subprocess.PIPE, text=True, check=True
        )
        found = json.loads(said.stdout.splitlines()[-1])
        print(
            f"| {size:,} | {found['megabytes']:,.0f} | {found['load_s']:.1f} | {found['preview_s']:.2f} | "
            f"{found['load_gb']:.2f} | {found['thousand_drawn_s']:.1f} | {found['all_gb']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
