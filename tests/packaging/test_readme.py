"""The README says what is so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ramify.cli.app import COMMANDS
from ramify.cli.config import known_settings
from ramify.engine.library.catalog import list_bundled
from ramify.errors import ExitCode
from ramify.search.registry import strategy_names, strategy_option_names

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference"
TEXT = (ROOT / "README.md").read_text("utf-8")


def test_the_python_session_runs():
    if {"demo-m", "demo-prm"} - {entry.name for entry in list_bundled()}:
        pytest.skip("the bundled models are not in this checkout")
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"\S+ expected: \d+ Usage\(", done.stdout)


def test_the_readme_is_short():
    assert len(TEXT.splitlines()) <= 100


def test_the_figures_are_those_of_the_results():
    data = json.loads((ROOT / "docs/results/default-reward.json").read_text("utf-8"))
    right = {name: f"{count / data['problems']:.3f}" for name, count in data["right"].items()}
    width = data["width"]
    assert " ".join(TEXT.split()).count(
        f"On {data['problems']} fresh arithmetic problems the bundled `{data['policy']}` is right on {right['greedy']} "
        f"with greedy decoding, {right['majority']} with a majority of {width} paths and {right['rebase']} with REBASE "
        f"of {width} paths."
    )


def test_every_command_is_in_the_reference():
    named = set(re.findall(r"^## ramify ([a-z]+)$", REFERENCE.joinpath("cli.md").read_text("utf-8"), re.MULTILINE))
    assert named == set(COMMANDS)


def test_every_exit_code_is_in_the_reference():
    listed = re.findall(r"^\| (\d+) \| ", REFERENCE.joinpath("errors.md").read_text("utf-8"), re.MULTILINE)
    assert [int(code) for code in listed] == sorted(ExitCode)


def test_every_extra_is_in_the_reference():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = REFERENCE.joinpath("install.md").read_text("utf-8")
    extras = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`[^|]*`) \| ", text, re.MULTILINE))))
    assert set(project["optional-dependencies"]) <= extras


def test_the_reference_is_of_today():
    subprocess.run([sys.executable, ROOT / "scripts" / "options.py", "--check"], check=True)


def test_every_option_of_a_search_is_explained():
    text = (ROOT / "docs/reference/options.md").read_text("utf-8")
    named = set(re.findall(r"`(?:-\w`, `)?(--[a-z-]+)", text))
    wanted = {name for each in known_settings().values() for name in each.opts if name.startswith("--")}
    assert wanted - named <= {"--save", "--keep-runs"}
    for strategy in strategy_names():
        for option in strategy_option_names(strategy):
            assert re.search(rf"`{option}[`=]", text) or option in {"width", "temperature"}, (strategy, option)


def test_links_between_the_documents_lead_somewhere():
    # The build of the site checks those within docs/, with their anchors.
    for source in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\(([^)#\s]+)\)", source.read_text("utf-8")):
            assert link.startswith("http") or (source.parent / link).exists(), f"{source.name}: {link}"
