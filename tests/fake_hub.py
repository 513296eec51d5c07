"""A Hugging Face Hub of one's own: folders served over the parts of its HTTP API that downloads use."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pandas as pd
import pytest

WRITER = "hf_plantedwritertoken"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """``repositories`` maps "models/owner/name" or "datasets/…" to a folder; ``requests`` is what was asked.

    With a folder ``pushed``, who has the token ``WRITER`` may make datasets, which then lie in it.
    """

    def __init__(self, repositories: dict[str, Path], pushed: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = repositories
        self.pushed = pushed
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_POST(self) -> None:
        content = self.body()
        path = unquote(urlsplit(self.path).path).strip("/")
        if self.server.pushed and (
            path == "api/repos/create" or path == "api/validate-yaml" or "/preupload/" in path or "/commit/" in path
        ):
            return self.write(path, content)
        self.answer(body=True)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def write(self, path: str, content: bytes) -> None:
        """Make a dataset, say how files are sent, take them: all within the commit itself."""
        assert self.server.pushed
        if self.headers.get("Authorization") != f"Bearer {WRITER}":
            return self.send(403, b'{"error": "Forbidden"}', {}, True)
        if path == "api/validate-yaml":
            answer: object = {"errors": [], "warnings": []}
        elif path == "api/repos/create":
            asked = json.loads(content)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.server.repositories[f"datasets/{name}"] = self.server.pushed
            answer = {"url": f"{self.server.url}/datasets/{name}"}
        elif "/preupload/" in path:
            files = json.loads(content)["files"]
            answer = {
                "files": [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                    for file in files
                ]
            }
        else:
            for line in content.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    target = self.server.pushed / entry["value"]["path"]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(base64.b64decode(entry["value"]["content"]))
            name = path.removeprefix("api/").partition("/commit/")[0]
            answer = {"success": True, "commitUrl": f"{self.server.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
        self.send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"}, True)

    def log_message(self, format: str, *args: object) -> None:
        return

    def answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.server.requests.append(f"{self.command} {path}")
        if path == "api/datasets":
            words = parse_qs(urlsplit(self.path).query).get("search", [""])[0]
            names = [
                name.removeprefix("datasets/") for name in self.server.repositories if name.startswith("datasets/")
            ]
            found = [{"id": name, "downloads": 7, "gated": False} for name in names if words in name]
            return self.send(200, json.dumps(found).encode(), {"Content-Type": "application/json"}, body)
        for name, folder in self.server.repositories.items():
            kind, _, repo = name.partition("/")
            if path.startswith(f"api/{name}"):
                return self.api(folder, path.removeprefix(f"api/{name}").strip("/"), repo, body)
            prefix = f"{repo}/resolve/" if kind == "models" else f"{name}/resolve/"
            if path.startswith(prefix):
                return self.file(folder / path.removeprefix(prefix).partition("/")[2], body)
        self.send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"}, body)

    def api(self, folder: Path, rest: str, repo: str, body: bool) -> None:
        if rest.startswith("tree/"):
            below = folder / rest.removeprefix("tree/").partition("/")[2]
            answer: object = [entry(path, folder) for path in sorted(below.iterdir())] if below.is_dir() else []
        elif rest.startswith("paths-info/"):
            answer = [entry(path, folder) for path in sorted(folder.rglob("*"))]
        else:
            files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            siblings = [{"rfilename": entry(path, folder)["path"]} for path in files]
            answer = {"id": repo, "sha": COMMIT, "siblings": siblings, "private": False, "tags": [], "downloads": 0}
            if "safetensors" in parse_qs(urlsplit(self.path).query).get("expand", []):
                from rm_studio.models import _count

                answer["safetensors"] = {"total": sum(map(_count, folder.glob("*.safetensors")))}
        self.send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"}, body)

    def file(self, path: Path, body: bool) -> None:
        if not path.is_file():
            return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, body)
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest(path)}"', "Accept-Ranges": "none"}
        self.send(200, path.read_bytes(), headers, body)

    def send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


def entry(path: Path, folder: Path) -> dict[str, object]:
    """A file or folder as the Hub lists it."""
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": COMMIT, "size": 0}
    return {"type": "file", "path": name, "oid": digest(path), "size": path.stat().st_size}


def digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@contextmanager
def serving(repositories: dict[str, Path], pushed: Path | None = None) -> Iterator[FakeHub]:
    """Serve until the block ends."""
    hub = FakeHub(repositories, pushed)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


def hub_dataset(folder: Path) -> Path:
    """Two rows, as a dataset's repository."""
    (folder / "data").mkdir(parents=True)
    frame = pd.DataFrame({"prompt": ["p", "q"], "response-1": ["a", "b"], "response-2": ["x", "y"]})
    frame.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return folder


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let the libraries ask this Hub; the cache must be the test's own."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr("huggingface_hub.hf_file_system.constants.ENDPOINT", url)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", url)
