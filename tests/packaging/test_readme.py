"""The README says what is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ramify.cli.app import COMMANDS
from ramify.cli.config import known_settings
from ramify.engine.library.catalog import list_bundled
from ramify.errors import ExitCode
from ramify.search.registry import strategy_names, strategy_option_names

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")


def test_the_python_session_runs():
    if {"demo-m", "demo-prm"} - {entry.name for entry in list_bundled()}:
        pytest.skip("the bundled models are not in this checkout")
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"\S+ expected: \d+ Usage\(", done.stdout)


def test_every_command_is_in_the_table():
    named = set(re.findall(r"`ramify ([a-z]+)", TEXT))
    assert named == set(COMMANDS)


def test_the_exit_codes_of_the_commands_that_exist_are_in_the_table():
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert listed == set(ExitCode)


def test_every_option_of_a_search_is_explained():
    text = (ROOT / "docs" / "reference" / "options.md").read_text("utf-8")
    named = set(re.findall(r"`(?:-\w`, `)?(--[a-z-]+)", text))
    wanted = {name for each in known_settings().values() for name in each.opts if name.startswith("--")}
    assert wanted - named <= {"--save", "--keep-runs"}
    for strategy in strategy_names():
        for option in strategy_option_names(strategy):
            assert re.search(rf"`{option}[`=]", text) or option in {"width", "temperature"}, (strategy, option)


def test_the_settings_are_explained_as_they_are_declared():
    subprocess.run([sys.executable, ROOT / "scripts" / "options.py", "--check"], check=True)


def test_links_between_the_documents_lead_somewhere():
    for source in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\(([^)#\s]+)\)", source.read_text("utf-8")):
            assert link.startswith("http") or (source.parent / link).exists(), f"{source.name}: {link}"
