"""How fast is the embedded Argilla beside the stock server code on the same file? Prints a table.

    python tests/benchmarks/annotation_server.py [--sizes 1000,10000,100000] [--annotators 1,5,20] [--seconds 20]

Both answer on the same SQLite file with the same search engine (there is no Elasticsearch to compare with), one after
the other. Annotators are programs that ask what the labelling page asks: a page of ten pending records, then for each
an answer, the team's progress and their own, with a pause of 2.5 to 7.5 s before each answer, for the reading. While
they work, a publish goes on.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from rm_studio.embedded import environment, server
from rm_studio.workspace import Workspace

STOCK = Path(__file__).parents[1] / "stock_server.py"
BATCH = 50
WORDS = "what should a person say when the answer is long and the question was short but fair to all"


class Api:
    """A server's API, as its owner."""

    def __init__(self, workspace: Workspace, url: str) -> None:
        owner = server.credentials(workspace)
        assert owner is not None
        self.owner = owner
        self.url = url
        self.http = httpx.Client(base_url=url, headers={"X-Argilla-Api-Key": owner.api_key}, timeout=120)

    def call(self, method: str, path: str, **options: Any) -> Any:
        answer = self.http.request(method, path, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def dataset(self, name: str) -> str:
        workspace = self.call("GET", "/api/v1/me/workspaces")["items"][0]["id"]
        made = self.call("POST", "/api/v1/datasets", json={"name": name, "workspace_id": workspace})["id"]
        for field in ("instruction", "response-1", "response-2"):
            body = {"name": field, "title": field, "required": True, "settings": {"type": "text"}}
            self.call("POST", f"/api/v1/datasets/{made}/fields", json=body)
        settings = {"type": "rating", "options": [{"value": 1}, {"value": 2}]}
        body = {"name": "choose-best", "title": "Best", "required": True, "settings": settings}
        self.call("POST", f"/api/v1/datasets/{made}/questions", json=body)
        self.call("PUT", f"/api/v1/datasets/{made}/publish")
        return str(made)

    def publish(self, dataset: str, numbers: Iterator[int]) -> float:
        """Publish one record a number; returns the seconds it took."""
        begun = time.perf_counter()
        for batch in itertools.batched(numbers, BATCH) if sys.version_info >= (3, 12) else _batched(numbers):
            items = [record(number) for number in batch]
            self.call("PUT", f"/api/v1/datasets/{dataset}/records/bulk", json={"items": items})
        return time.perf_counter() - begun

    def pull(self, dataset: str) -> tuple[float, int]:
        begun, offset = time.perf_counter(), 0
        while True:
            params = {"offset": offset, "limit": 1000, "include": "responses"}
            page = self.call("GET", f"/api/v1/datasets/{dataset}/records", params=params)["items"]
            offset += len(page)
            if len(page) < 1000:
                return time.perf_counter() - begun, offset

    def people(self, count: int) -> list[str]:
        workspace = self.call("GET", "/api/v1/me/workspaces")["items"][0]["id"]
        keys = []
        for _ in range(count):
            name = f"annotator{random.randrange(10**12)}"
            body = {"first_name": name, "username": name, "password": "password-123", "role": "annotator"}
            user = self.call("POST", "/api/v1/users", json=body)
            self.call("POST", f"/api/v1/workspaces/{workspace}/users", json={"user_id": user["id"]})
            keys.append(user["api_key"])
        return keys


def _batched(numbers: Iterator[int]) -> Iterator[tuple[int, ...]]:
    while batch := tuple(itertools.islice(numbers, BATCH)):
        yield batch


def record(number: int) -> dict[str, Any]:
    """A comparison of usual length: 20 words of prompt, 100 of each answer."""
    pick = random.Random(number)
    texts = [" ".join(pick.choices(WORDS.split(), k=length)) for length in (20, 100, 100)]
    fields = dict(zip(("instruction", "response-1", "response-2"), texts, strict=True))
    return {"external_id": f"record-{number}", "fields": fields, "metadata": {"order": "0,1"}}


async def annotate(url: str, key: str, dataset: str, until: float, times: dict[str, list[float]]) -> None:
    pending = {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["pending"]}
    open_ = {"type": "terms", "scope": {"entity": "record", "property": "status"}, "values": ["pending"]}
    body = {"filters": {"and": [pending, open_]}}
    # The stock server closes a connection that is idle for 5 s.
    options = {
        "headers": {"X-Argilla-Api-Key": key},
        "timeout": 120,
        "limits": httpx.Limits(keepalive_expiry=1),
        "verify": False,
    }
    async with httpx.AsyncClient(base_url=url, **options) as http:

        async def timed(kind: str, method: str, path: str, **options: Any) -> Any:
            begun = time.perf_counter()
            answer = await http.request(method, path, **options)
            times.setdefault(kind, []).append((time.perf_counter() - begun) * 1000)
            assert answer.status_code < 300, answer.text
            return answer.json()

        await asyncio.sleep(random.uniform(0, 5))
        while time.monotonic() < until:
            search = f"/api/v1/me/datasets/{dataset}/records/search?include=responses&include=suggestions&limit=10"
            page = (await timed("search", "POST", search, json=body))["items"]
            for item in page:
                await asyncio.sleep(random.uniform(2.5, 7.5))
                if time.monotonic() > until:
                    return
                answer = {"status": "submitted", "values": {"choose-best": {"value": random.choice((1, 2))}}}
                await timed("submit", "POST", f"/api/v1/records/{item['record']['id']}/responses", json=answer)
                await timed("progress", "GET", f"/api/v1/datasets/{dataset}/progress")
                await timed("progress", "GET", f"/api/v1/me/datasets/{dataset}/metrics")
                await timed("search", "POST", search, json=body)


def work(api: Api, dataset: str, annotators: int, seconds: float, extra: Iterator[int]) -> dict[str, str]:
    """Let people work while a publish goes on; returns what is to be printed of it."""
    times: dict[str, list[float]] = {}
    published = 0

    async def publish_meanwhile(until: float) -> None:
        nonlocal published
        headers = {"X-Argilla-Api-Key": api.owner.api_key}
        async with httpx.AsyncClient(base_url=api.url, headers=headers, timeout=120, verify=False) as http:
            while time.monotonic() < until:
                items = [record(number) for number in itertools.islice(extra, BATCH)]
                answer = await http.put(f"/api/v1/datasets/{dataset}/records/bulk", json={"items": items})
                answer.raise_for_status()
                published += BATCH

    async def all_together() -> None:
        until = time.monotonic() + seconds
        crew = [annotate(api.url, key, dataset, until, times) for key in api.people(annotators)]
        await asyncio.gather(publish_meanwhile(until), *crew)

    asyncio.run(all_together())
    latencies = {kind: _quantiles(values) for kind, values in sorted(times.items())}
    every = [value for values in times.values() for value in values]
    return {**latencies, "all": _quantiles(every), "published/s": f"{published / seconds:.0f}"}


def _quantiles(values: list[float]) -> str:
    if len(values) < 2:
        return "–"
    return f"{statistics.median(values):.0f} / {statistics.quantiles(values, n=20)[-1]:.0f}"


@contextmanager
def running(workspace: Workspace, stock: bool) -> Iterator[Api]:
    if not stock:
        owner = server.start(workspace)
        yield Api(workspace, owner.api_url)
        server.stop(workspace)
        return
    python = environment.interpreter(workspace.argilla_folder / "env")
    port = server._free_port(6990)
    with (workspace.argilla_folder / "stock.log").open("ab") as log:
        process = psutil.Popen(
            [str(python), str(STOCK), str(workspace.argilla_folder), str(port)], stdout=log, stderr=log
        )
    api = Api(workspace, f"http://127.0.0.1:{port}")
    while not server._answers(api.url):
        assert process.poll() is None
        time.sleep(0.2)
    yield api
    process.terminate()
    process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--annotators", default="1,5,20")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--sample", type=int, default=1000, help="records of one timed publish")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    crews = [int(crew) for crew in options.annotators.split(",")]
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        with running(workspace, stock=False) as api:
            datasets = {size: api.dataset(f"size-{size}") for size in sizes}
            for size, dataset in datasets.items():
                taken = api.publish(dataset, itertools.islice(numbers, size))
                print(f"made {size:,} records in {taken:.0f} s ({size / taken:.0f}/s)", flush=True)
        print("| server | records | published/s | pulled/s | annotators | search | submit | progress | all |")
        print("|---|---|---|---|---|---|---|---|---|   (ms, median / 95th percentile)", flush=True)
        for size, dataset in datasets.items():
            for stock in (True, False):
                with running(workspace, stock) as api:
                    api.publish(dataset, itertools.islice(numbers, 4 * BATCH))  # warm
                    published = options.sample / api.publish(dataset, itertools.islice(numbers, options.sample))
                    taken, count = api.pull(dataset)
                    for crew in crews:
                        shown = work(api, dataset, crew, options.seconds, numbers)
                        cells = [shown.get(kind, "–") for kind in ("search", "submit", "progress", "all")]
                        name = "stock" if stock else "ours"
                        row = [name, f"{size:,}", f"{published:.0f}", f"{count / taken:.0f}", str(crew), *cells]
                        print(f"| {' | '.join(row)} |  while publishing {shown['published/s']}/s", flush=True)


if __name__ == "__main__":
    main()
