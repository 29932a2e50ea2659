"""What every test shares: a history and settings of its own, so that none meets those of the user."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("RAMIFY_DATA", str(folder / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.delenv("RAMIFY_CONFIG", raising=False)
