"""Where ramify keeps what the user made with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

DATA_VARIABLE = "RAMIFY_DATA"
"""Environment variable that replaces the data folder."""


def data_folder() -> Path:
    """Return the folder of the user's data, which need not exist yet.

    RAMIFY_DATA, else `ramify` in XDG_DATA_HOME, else in the platform's place: `~/Library/Application Support` on
    macOS, LOCALAPPDATA on Windows, `~/.local/share` elsewhere. As the XDG specification has it, a relative
    XDG_DATA_HOME is ignored.
    """
    own = os.environ.get(DATA_VARIABLE)
    if own:
        return Path(own).expanduser()
    xdg = Path(os.environ.get("XDG_DATA_HOME") or "")
    return (xdg if xdg.is_absolute() else _platform_folder()) / "ramify"


def _platform_folder() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    local = os.environ.get("LOCALAPPDATA")
    if sys.platform == "win32" and local:
        return Path(local)
    return Path.home() / ".local" / "share"
