"""How a worker is started: here, on several cards with accelerate, or by files to copy for a cluster.

The same worker runs everywhere; accelerate's own launcher does the rest.
"""

import sys

from rm_studio.training.runs import Run


def command(run: Run) -> list[str]:
    """What starts the run's worker on this machine."""
    config = run.config
    worker = ["-m", "rm_studio.training.worker", str(run.folder)]
    if config.processes == 1:
        return [sys.executable, *worker]
    return [sys.executable, "-m", "accelerate.commands.launch", *accelerate_options(run), *worker]


def accelerate_options(run: Run) -> list[str]:
    config = run.config
    return ["--num_processes", str(config.processes * config.nodes), "--num_machines", str(config.nodes)]
