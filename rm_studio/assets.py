"""Where the files that ship with the package lie: the one place that knows."""

from pathlib import Path


def path(name: str) -> Path:
    """An asset's path: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "assets" / name
    return installed if installed.exists() else package.parent / "assets" / name
