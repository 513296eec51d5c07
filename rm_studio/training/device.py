"""What a run will be computed on. ``python -m rm_studio.training.device`` says it as JSON.

The app asks in a process of its own, because finding out means importing torch.
"""

import json
import subprocess
import sys
from functools import lru_cache

import psutil

from rm_studio.config import Frozen


class Device(Frozen):
    """``kind`` is cuda, mps or cpu; ``name`` is for people; memory in bytes."""

    kind: str
    name: str
    memory: int

    @property
    def sentence(self) -> str:
        gigabytes = self.memory / 1024**3
        if self.kind == "cpu":
            return f"Training will run on this machine’s processor ({self.name}, {gigabytes:.0f} GB of memory)."
        return f"Training will run on the graphics card ({self.name}, {gigabytes:.0f} GB of memory)."


def detect() -> Device:
    """Ask torch, in this process."""
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Device(kind="cuda", name=properties.name, memory=properties.total_memory)
    memory = psutil.virtual_memory().total
    if torch.backends.mps.is_available():
        return Device(kind="mps", name="Apple silicon", memory=memory)
    cores = psutil.cpu_count(logical=True) or 1
    return Device(kind="cpu", name=f"{cores} cores" if cores > 1 else "1 core", memory=memory)


@lru_cache(maxsize=1)
def describe() -> Device | None:
    """The same, found in another process, once; None where torch cannot be loaded."""
    result = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True)
    return Device.model_validate_json(result.stdout) if result.returncode == 0 else None


if __name__ == "__main__":
    print(json.dumps(detect().model_dump()))
