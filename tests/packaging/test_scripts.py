from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").iterdir())


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
    assert (done.returncode, done.stderr) == (2, "usage: scripts/setup [dev]\n")


def test_the_readme_names_scripts_that_exist():
    text = (ROOT / "README.md").read_text("utf-8")
    for name in ("demo", "test"):
        assert f"scripts/{name}" in text
        assert name in SCRIPTS
