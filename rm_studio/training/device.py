"""What a run will be computed on. ``python -m rm_studio.training.device`` says it as JSON.

The app asks in a process of its own, because finding out means importing torch.
"""

import json
import subprocess
import sys
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import psutil

from rm_studio.settings import Frozen

TOKENS_AT_ONCE = {"cpu": 16_384, "mps": 16_384, "cuda": 65_536}  # computed at one time, unless told


class Device(Frozen):
    """``kind`` is cuda, mps or cpu; ``name`` is for people; memory in bytes, and how much of it others use now.

    ``gflops`` is what products of matrices reach in the precision that training uses; ``count`` is the number of cards.
    """

    kind: str
    name: str
    memory: int
    others: int = 0
    gflops: float = 100.0
    count: int = 1

    @property
    def sentence(self) -> str:
        gigabytes = f"{self.memory / 1024**3:.0f} GB of memory"
        if self.kind == "cpu":
            return f"Training will run on this machine’s processor ({self.name}, {gigabytes})."
        used = f", {self.others / 1024**3:.1f} GB of it used by other programs" if self.others > 2**29 else ""
        many = f" There are {self.count} cards; “Advanced” lets them train together." if self.count > 1 else ""
        return f"Training will run on the graphics card ({self.name}, {gigabytes}{used}).{many}"


def detect() -> Device:
    """Ask torch, in this process."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info(0)
        name, count = torch.cuda.get_device_properties(0).name, torch.cuda.device_count()
        return Device(kind="cuda", name=name, memory=total, others=total - free, gflops=_speed("cuda"), count=count)
    memory = psutil.virtual_memory()
    total = min(memory.total, _limit() or memory.total)
    if torch.backends.mps.is_available():
        return Device(kind="mps", name="Apple silicon", memory=total, gflops=_speed("mps"))
    cores = psutil.cpu_count(logical=True) or 1
    name = f"{cores} cores" if cores > 1 else "1 core"
    return Device(kind="cpu", name=name, memory=total, others=min(memory.used, total), gflops=_speed("cpu"))


def _limit() -> int | None:
    """What a container may use of the machine's memory, in bytes, where it is in one (Linux control groups 2 and 1)."""
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            return int(Path(file).read_text())
    return None


def has_fast_bfloat16() -> bool:
    """Whether this machine multiplies in bfloat16 faster than in float32: elsewhere it is emulated, and slower."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _speed(kind: str) -> float:
    """Billions of operations a second in products of matrices, measured for a moment."""
    import torch

    # One thread by its own clock, so that a run which keeps the other cores busy does not make this machine look slow.
    threads, on_cpu = torch.get_num_threads(), kind == "cpu"
    clock = time.thread_time if on_cpu else time.perf_counter
    if on_cpu:
        torch.set_num_threads(1)
    dtype = torch.bfloat16 if has_fast_bfloat16() else torch.float32
    n = 512 if on_cpu else 4096
    one = torch.randn(n, n, dtype=dtype, device=kind)
    for _ in range(3):
        product = one @ one
    times, begun = 0, clock()
    while clock() - begun < 0.2:
        product = one @ one
        times += 1
        float(product[0, 0])  # waits for the card
    return times * 2 * n**3 / (clock() - begun) / 1e9 * (threads if on_cpu else 1)


@lru_cache(maxsize=1)
def describe() -> Device | None:
    """The same, found in another process, once; None where torch cannot be loaded."""
    result = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True)
    return Device.model_validate_json(result.stdout) if result.returncode == 0 else None


if __name__ == "__main__":
    print(json.dumps(detect().model_dump()))
