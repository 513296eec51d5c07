"""The virtual environment that the embedded Argilla lives in.

argilla-server pins old versions of fastapi and pydantic, which the app's own packages exclude; so it gets an
environment of its own, made once per workspace from pinned requirements with ``uv``.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from uv import find_uv_bin

from rm_studio.errors import ServerError
from rm_studio.workspace import atomic

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def interpreter(environment: Path) -> Path:
    """The Python inside a virtual environment."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def fingerprint() -> str:
    """Changes when the pinned packages or the Python version do."""
    content = REQUIREMENTS.read_bytes() + f"{sys.version_info[:2]}".encode()
    return hashlib.sha256(content).hexdigest()


def is_ready(environment: Path) -> bool:
    """Whether a whole environment of this version is there."""
    marker = environment / "complete"
    return interpreter(environment).exists() and marker.exists() and marker.read_text() == fingerprint()


def ensure(folder: Path, on_progress: Callable[[str], None]) -> Path:
    """Return the environment's interpreter, building the environment first if needed.

    It is built beside the old one and swapped in when whole, so that a build cut short leaves nothing that
    looks finished. Two apps on one workspace wait for each other.

    Raises:
        ServerError: the packages could not be fetched or installed.
    """
    environment = folder / "env"
    with FileLock(folder / ".env.lock"):
        if is_ready(environment):
            return interpreter(environment)
        fresh = folder / "env.new"
        shutil.rmtree(fresh, ignore_errors=True)
        on_progress("Preparing the annotation server: this happens once and needs the Internet …")
        _uv("venv", "--quiet", "--python", sys.executable, str(fresh))
        on_progress("Fetching the annotation server's packages (about 100 MB, once) …")
        _uv("pip", "install", "--quiet", "--python", str(interpreter(fresh)), "-r", str(REQUIREMENTS))
        _keep_offline(fresh)
        (fresh / "complete").write_text(fingerprint())
        shutil.rmtree(environment, ignore_errors=True)
        fresh.replace(environment)
    return interpreter(environment)


def _keep_offline(environment: Path) -> None:
    """Take the request for web fonts out of the labelling page, so that it asks nothing of the outside world."""
    for sheet in environment.rglob("argilla_server/static/_nuxt/*.css"):
        text = sheet.read_text(encoding="utf-8")
        cleaned = re.sub(r"@import url\(https?:[^)]*\);?", "", text)
        if cleaned != text:
            with atomic(sheet) as file:  # a new file: the old one may be shared with uv’s cache
                file.write(cleaned.encode())


def _uv(*arguments: str) -> None:
    result = subprocess.run(
        [find_uv_bin(), "--no-config", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    if result.returncode:
        offline = any(word in result.stderr.lower() for word in ("connect", "dns", "resolve host", "timed out"))
        reason = "the Internet could not be reached" if offline else "its packages could not be installed"
        raise ServerError(
            f"The annotation server could not be prepared: {reason}. It is needed once, to fetch about 100 MB. Check "
            "the connection (behind a company proxy, set HTTPS_PROXY) and press “Try again”, or use an Argilla server "
            "that you have. Everything but annotation works without it."
        ) from RuntimeError(result.stderr)
