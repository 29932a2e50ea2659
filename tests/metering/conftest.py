"""Stand-ins for the counters of the hardware."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Powercap:
    """A powercap tree in a folder, as the kernel shows it."""

    root: Path

    def zone(self, name: str, label: str, energy_uj: int, range_uj: int = 262_143_328_850) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(f"{label}\n")
        (folder / "energy_uj").write_text(f"{energy_uj}\n")
        (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        return folder

    def set(self, name: str, energy_uj: int) -> None:
        (self.root / name / "energy_uj").write_text(f"{energy_uj}\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Powercap:
    return Powercap(tmp_path / "powercap")


class NVMLError(Exception):
    pass


@dataclass
class Nvml:
    """What of pynvml is used; `millijoules` by GPU, None for one without a counter."""

    millijoules: list[int | None] = field(default_factory=lambda: [1_000_000, 5_000_000])
    NVMLError: type[Exception] = NVMLError
    driver: bool = True

    def nvmlInit(self) -> None:
        if not self.driver:
            raise NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        return len(self.millijoules)

    def nvmlDeviceGetHandleByIndex(self, place: int) -> int:
        return place

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}-aa"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        found = self.millijoules[handle]
        if found is None:
            raise NVMLError("Not Supported")
        return found


@pytest.fixture
def nvml() -> Nvml:
    return Nvml()


@dataclass
class Counter:
    """A counter that a test sets."""

    joules: dict[str, float] = field(default_factory=lambda: {"rapl": 0.0})
    source: str = "rapl"
    broken: bool = False

    def read(self) -> dict[str, float]:
        if self.broken:
            raise OSError("gone")
        return dict(self.joules)


@pytest.fixture
def counter() -> Counter:
    return Counter()


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def price_file(tmp_path: Path) -> Callable[[str], Any]:
    def write(text: str) -> Path:
        path = tmp_path / "prices.toml"
        path.write_text(text, "utf-8")
        return path

    return write
