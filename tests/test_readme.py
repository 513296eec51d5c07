"""What the README says is what is there."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"^rm-studio (\w+)", README, re.MULTILINE)))


def test_the_file_map_has_one_line_for_each_module_and_no_other() -> None:
    block = README.split("## The files")[1].split("```")[1]
    named, folders = set(), [""]
    for line in block.splitlines():
        if match := re.match(r"^( *)(\S+)", line):
            depth = len(match[1]) // 2
            name = match[2]
            folders = [*folders[: depth + 1]]
            if name.endswith("/"):
                folders.append(folders[depth] + name)
            elif name.endswith(".py"):
                named.add(folders[depth] + name)
    present = {path.relative_to(ROOT).as_posix() for path in (ROOT / "rm_studio").rglob("*.py")}
    assert {name for name in named if name.startswith("rm_studio/")} == present
    assert all((ROOT / name).is_file() for name in named)


def test_both_one_line_commands_name_extras_that_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lines = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        named = re.search(r"\[([\w,]+)\]", line)
        assert named is not None
        assert set(named[1].split(",")) <= set(extras)


def test_each_picture_is_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(pictures) >= 5
    assert all((ROOT / picture).is_file() for picture in pictures)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_known_and_its_options_too(command: str) -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "rm_studio", command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    for line in re.findall(rf"^rm-studio {command} .*$", README, re.MULTILINE):
        for option in re.findall(r"(--[\w-]+)", line.split("#")[0]):
            assert option in help_text


def test_the_wheel_carries_the_assets() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {"assets": "rm_studio/assets"}
    assert not re.search(r"https?://(?!docs\.argilla\.io|huggingface\.co|pytorch\.org|argilla\.example\.org)", README)
