"""An environment of its own for each peer, made once and kept in a cache folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from sides import Side

INSTALL_S = 1800.0


class SetupFailed(Exception):
    """Raised when a side cannot be started; the message is one line."""


def cache_folder() -> Path:
    """Return where environments are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ramify" / "peers"


def python_of(side: Side, folder: Path) -> Path:
    """Return the Python that runs a side, making its environment if there is none yet.

    Raises:
        SetupFailed: if it cannot be installed.
    """
    if not side.installs:
        return Path(sys.executable)
    # One product at two servers is one environment.
    home = folder / f"{side.name.partition(' ')[0]}-{side.version}"
    python, ready = home / "bin" / "python", home / "ready.json"
    wanted = [list(each) for each in side.installs]
    if ready.exists() and json.loads(ready.read_text("utf-8")) == wanted:
        return python
    shutil.rmtree(home, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(home)], side)
    for each in side.installs:
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *each], side)
    ready.write_text(json.dumps(wanted), encoding="utf-8")
    return python


def _run(command: list[str], side: Side) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        raise SetupFailed(f"installing {side.name} took more than {INSTALL_S:.0f} s") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise SetupFailed(f"{side.name} cannot be installed: {(errors or ['no reason given'])[-1][:300]}")
