#!/usr/bin/env python3
"""Builds the site of the documentation in build/site; warnings are errors.

Arguments go to `mkdocs build`. `--serve` serves the site on this machine instead and builds it again after changes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / "build" / "docs-packages"


def link_packages() -> None:
    """Make a tree of links in which the packages lie as they are imported, for the reference of the Python API."""
    shutil.rmtree(PACKAGES, ignore_errors=True)
    top = PACKAGES / "ramify"
    top.mkdir(parents=True)
    for each in (ROOT / "ramify").iterdir():
        (top / each.name).symlink_to(each)
    folders: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"][
        "package-dir"
    ]
    for name, folder in folders.items():
        if name != "ramify":
            (top / name.removeprefix("ramify.")).symlink_to(ROOT / folder)


def main() -> int:
    """Build or serve the site and return the exit code of mkdocs."""
    link_packages()
    given = [each for each in sys.argv[1:] if each != "--serve"]
    command = ["serve"] if "--serve" in sys.argv[1:] else ["build", "--strict"]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", *command, *given], cwd=ROOT, env=quiet, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
