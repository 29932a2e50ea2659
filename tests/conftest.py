"""What every test shares: a history and settings of its own, so that none meets those of the user."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("RAMIFY_DATA", str(folder / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.delenv("RAMIFY_CONFIG", raising=False)


def pytest_unconfigure() -> None:
    # llama_cpp opens these when it is imported and never closes them, which would be warned of at the end.
    opened = sys.modules.get("llama_cpp._utils")
    for name in ("outnull_file", "errnull_file"):
        if file := getattr(opened, name, None):
            file.close()
