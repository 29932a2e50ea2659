"""Counters of energy: Linux powercap (RAPL), NVML, their sum, and an estimate from a power that the user gives."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

POWERCAP = Path("/sys/class/powercap")
RAPL = "rapl"
"""Source of energy that the counters of processor packages have measured."""
NVML = "nvml"
"""Source of energy that the counters of NVIDIA GPUs have measured."""
ESTIMATE = "estimate"
"""Source of energy that was computed from a power given by the user."""


class EnergyCounter(Protocol):
    """A counter of energy that only grows."""

    @property
    def source(self) -> str:
        """Name of the counter."""
        ...

    def read(self) -> dict[str, float]:
        """Return joules by source since the counter was made.

        Raises:
            OSError: if a counter cannot be read.
        """
        ...


class PowercapCounter:
    """Energy of the processor packages from Linux powercap; `root` is its folder in sysfs.

    Each package zone counts microjoules and begins at 0 again after `max_energy_range_uj`. A wrap is noticed if the
    counter is read once in its range, which is at least some minutes long. Zones inside a package and the zone of the
    whole platform are left out, since they count the same energy again.

    Raises:
        OSError: if there are no packages, or their counters cannot be read (most systems let only root read them).
    """

    source = RAPL

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = [_Zone(each) for each in sorted(root.glob("*:*")) if _is_package(each)]
        if not self._zones:
            raise FileNotFoundError(f"there are no package zones in {root}")

    def read(self) -> dict[str, float]:
        """Return the joules of all packages since the counter was made."""
        return {RAPL: sum(zone.read() for zone in self._zones) / 1e6}


class _Zone:
    """One package: microjoules since it was first read, over all wraps."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self._range_uj = _number(folder / "max_energy_range_uj")
        self._last_uj = _number(self._file)
        self._total_uj = 0

    def read(self) -> int:
        now_uj = _number(self._file)
        more_uj = now_uj - self._last_uj
        self._total_uj += more_uj if more_uj >= 0 else more_uj + self._range_uj
        self._last_uj = now_uj
        return self._total_uj


def _is_package(folder: Path) -> bool:
    try:
        return (folder / "name").read_text("ascii", errors="replace").strip().startswith("package")
    except OSError:
        return False


def _number(file: Path) -> int:
    try:
        return int(file.read_text("ascii", errors="replace"))
    except ValueError:
        raise OSError(f"{file} holds no number") from None


class NvmlCounter:
    """Energy of NVIDIA GPUs from NVML's counter, which counts millijoules since the driver was loaded.

    `nvml` is the module `pynvml` (package nvidia-ml-py) or a stand-in. `visible` are the GPUs that count, by
    number or UUID as in CUDA_VISIBLE_DEVICES; None means all. The whole energy of each of them counts, that of other
    programs included.

    Raises:
        OSError: if there is no driver, no GPU, or one without a counter (before Volta).
    """

    source = NVML

    def __init__(self, nvml: Any, visible: Sequence[str] | None = None) -> None:
        self._nvml = nvml
        try:
            nvml.nvmlInit()
            places = range(nvml.nvmlDeviceGetCount())
            handles = [nvml.nvmlDeviceGetHandleByIndex(place) for place in places]
            named = [(str(place), _uuid(nvml, handle)) for place, handle in zip(places, handles, strict=True)]
        except nvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from None
        chosen = [True] * len(handles) if visible is None else [_is_visible(names, visible) for names in named]
        self._handles = [handle for handle, wanted in zip(handles, chosen, strict=True) if wanted]
        if not self._handles:
            raise OSError("NVML finds no GPU")
        self._first_mj = [self._millijoules(handle) for handle in self._handles]

    def read(self) -> dict[str, float]:
        """Return the joules of all GPUs since the counter was made."""
        now_mj = [self._millijoules(handle) for handle in self._handles]
        return {NVML: sum(now - first for now, first in zip(now_mj, self._first_mj, strict=True)) / 1e3}

    def _millijoules(self, handle: Any) -> int:
        try:
            return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        except self._nvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from None


def _uuid(nvml: Any, handle: Any) -> str:
    uuid = nvml.nvmlDeviceGetUUID(handle)
    return uuid.decode() if isinstance(uuid, bytes) else str(uuid)


def _is_visible(names: tuple[str, str], visible: Sequence[str]) -> bool:
    place, uuid = names
    return any(each == place or (each != "" and uuid.startswith(each)) for each in visible)


class EstimatedEnergy:
    """Energy at a constant power of `watts`, which the user states; nothing is measured."""

    source = ESTIMATE

    def __init__(self, watts: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._watts = watts
        self._clock = clock
        self._start_s = clock()

    def read(self) -> dict[str, float]:
        """Return the power times the seconds since the counter was made."""
        return {ESTIMATE: self._watts * (self._clock() - self._start_s)}


@dataclass(frozen=True, slots=True)
class Counters:
    """Several counters read as one; `source` joins theirs with `+`."""

    parts: tuple[EnergyCounter, ...]

    @property
    def source(self) -> str:
        """The sources of all parts."""
        return "+".join(part.source for part in self.parts)

    def read(self) -> dict[str, float]:
        """Return joules by source."""
        found = dict[str, float]()
        for part in self.parts:
            found |= part.read()
        return found


def find_counter(*, watts: float | None, gpu: bool, root: Path = POWERCAP, nvml: Any = None) -> EnergyCounter | None:
    """Return the counter of this machine's energy, None if there is none to be read.

    `watts` is the user's estimate, which takes the place of all counters. With `gpu` models run on GPUs: their energy
    has to be measured, since that of the processor would pass for all, and the processor's is added where it can be
    read. `nvml` stands in for the module pynvml, None for itself.
    """
    if watts is not None:
        return EstimatedEnergy(watts)
    parts = list[EnergyCounter]()
    try:
        if gpu:
            parts.append(NvmlCounter(find_pynvml() if nvml is None else nvml, visible_gpus()))
    except OSError:
        return None
    with suppress(OSError):
        parts.append(PowercapCounter(root))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else Counters(tuple(parts))


def find_pynvml() -> Any:
    """Return the module pynvml of the package nvidia-ml-py.

    Raises:
        OSError: if it is not installed.
    """
    if find_spec("pynvml") is None:
        raise OSError("pynvml is not installed")
    return import_module("pynvml")


def visible_gpus() -> list[str] | None:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names, None if it is not set."""
    text = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if text is None else [each.strip() for each in text.split(",")]
