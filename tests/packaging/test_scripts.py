from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").iterdir() if path.is_file())


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_executable(name):
    script = ROOT / "scripts" / name
    assert os.access(script, os.X_OK)
    if script.suffix == ".py":
        compile(script.read_text("utf-8"), name, "exec")
        return
    assert script.read_text("utf-8").startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", str(script)], check=True)


def test_setup_refuses_unknown_arguments():
    done = subprocess.run(["sh", str(ROOT / "scripts/setup"), "nonsense"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: scripts/setup [dev | locked]\n")


@pytest.mark.slow
def test_the_demonstration_shows_what_it_is_for():
    command = [sys.executable, ROOT / "scripts/demonstration.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "A fixed example: " in done.stdout
    assert re.search(r"^greedy decoding +\d+ .*: wrong$", done.stdout, re.MULTILINE)
    assert re.search(r"^majority of 16 .*: (undecided|wrong)$", done.stdout, re.MULTILINE)
    assert re.search(r"^REBASE +24 .*: right$", done.stdout, re.MULTILINE)
    assert "pruned, false equation" in done.stdout
    data = json.loads((ROOT / "docs/results/default-reward.json").read_text("utf-8"))
    share = data["right"]["rebase"] / data["problems"]
    assert f"On {data['problems']} such problems: " in done.stdout and f"REBASE of 16 {share:.2f} right." in done.stdout
    assert done.stderr == ""


def test_the_demonstration_names_a_missing_file():
    command = [sys.executable, ROOT / "scripts/demonstration.py", "--model", "/nowhere/x.gguf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)


def test_the_readme_names_scripts_that_exist():
    text = (ROOT / "README.md").read_text("utf-8")
    for name in ("demo", "test"):
        assert f"scripts/{name}" in text
        assert name in SCRIPTS


def locked(name):
    """Return the versions of a file of `requirements`, by package; each is pinned and has a hash."""
    found = {}
    for entry in (ROOT / "requirements" / name).read_text("utf-8").replace("\\\n", " ").splitlines():
        if entry.startswith("#"):
            continue
        requirement, *hashes = entry.split(" --hash=")
        parsed = Requirement(requirement)
        (pin,) = parsed.specifier
        assert pin.operator == "==" and hashes and all(each.strip().startswith("sha256:") for each in hashes), entry
        found.setdefault(canonicalize_name(parsed.name), []).append(pin.version)
    return found


def test_the_locked_versions_are_those_that_the_project_wants():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    run, build = locked("run.txt"), locked("build.txt")
    for text in project["project"]["dependencies"]:
        wanted = Requirement(text)
        versions = run[canonicalize_name(wanted.name)]
        assert all(wanted.specifier.contains(each) for each in versions), f"{text}: {versions}; make the file anew"
    extra = locked("mcp.txt")
    for text in project["project"]["optional-dependencies"]["mcp"]:
        wanted = Requirement(text)
        assert all(wanted.specifier.contains(each) for each in extra[canonicalize_name(wanted.name)]), text
    assert extra.items() >= run.items(), "both are installed into one environment"
    tools = [*project["build-system"]["requires"], *(ROOT / "requirements/build.in").read_text("utf-8").splitlines()]
    for text in tools:
        if not text.startswith("#"):
            wanted = Requirement(text)
            assert all(wanted.specifier.contains(each) for each in build[canonicalize_name(wanted.name)]), text


def copied(requirement, target):
    """Run the script that copies an installed llama-cpp-python; return what it says it took."""
    command = [sys.executable, str(ROOT / "scripts/installed_llama.py"), requirement, str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_an_installed_llama_cpp_python_that_fits_is_copied_and_can_be_loaded(tmp_path):
    assert copied("llama-cpp-python>=0.3.36,<0.4", tmp_path).startswith("llama-cpp-python 0.3")
    code = "import sys; from importlib.metadata import version; print(version('llama-cpp-python'), sys.path[0])"
    found = [sys.executable, "-S", "-c", code]
    done = subprocess.run(found, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tmp_path)})
    assert done.stdout.startswith("0.3")
    assert list((tmp_path / "llama_cpp" / "lib").glob("*llama*"))


def test_one_that_does_not_fit_is_left_alone(tmp_path):
    assert copied("llama-cpp-python>=99", tmp_path) == ""
    assert not list(tmp_path.iterdir())
