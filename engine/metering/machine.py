"""Division of the machine's energy and time among the runs that overlap in this process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..runtime.serve.processes import worker_processes
from .counters import RAPL, EnergyCounter, find_counter

MOST_AGE_S = 60.0
"""Seconds after which a reading is made in any case, so that no wrap of a counter is missed."""


@dataclass(frozen=True, slots=True)
class ProcessorSeconds:
    """Processor time so far: of this process with its workers, and of all processes of the machine."""

    own: float
    machine: float


def processor_seconds(root: Path = Path("/proc")) -> ProcessorSeconds | None:
    """Return the processor time so far, None where the system does not tell that of the machine."""
    try:
        words = (root / "stat").read_text("ascii", errors="replace").split("\n", 1)[0].split()
        ticks = [int(word) for word in words[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    if len(ticks) < 8:
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal
    busy = sum(ticks) - ticks[3] - ticks[4] - ticks[7]
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    own += sum(_of_process(root / str(each) / "stat") for each in worker_processes())
    return ProcessorSeconds(own, busy / _tick_rate())


def _of_process(file: Path) -> float:
    """Return the processor time of a process; 0.0 if it has ended."""
    try:
        # The name of the program stands in brackets and may hold anything.
        words = file.read_text("ascii", errors="replace").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / _tick_rate()
    except (OSError, ValueError, IndexError):
        return 0.0


@cache
def _tick_rate() -> int:
    return os.sysconf("SC_CLK_TCK")


@dataclass(eq=False, slots=True)
class Account:
    """Energy and time of the machine that one run has used.

    `joules` is None if no counter measures them, or a reading failed; `machine_s` are the run's seconds of the machine,
    where seconds of runs side by side are divided among them.
    """

    joules: float | None
    machine_s: float = 0.0
    source: str | None = None
    _work: Callable[[], float] = field(default=lambda: 0.0, repr=False)
    _worked: float = 0.0
    _meter: MachineMeter | None = field(default=None, repr=False)

    def refresh(self, max_age_s: float = MOST_AGE_S) -> None:
        """Read the counters if the last reading is older than `max_age_s`."""
        if self._meter is not None:
            self._meter.refresh(max_age_s)

    def close(self) -> None:
        """Read the counters a last time for this run."""
        if self._meter is not None:
            self._meter.close(self)
            self._meter = None

    def take_work(self) -> float:
        """Return the work of the run since the last call."""
        before, self._worked = self._worked, self._work()
        return max(0.0, self._worked - before)


class MachineMeter:
    """Reads a counter of energy when a run starts or ends, and divides the energy between two readings among open runs.

    The energy divided is that of the machine while runs were open: of processor packages the part that the
    processor time of this process and its workers has in that of all processes, of GPUs and estimates all of it. Runs
    share it by the work of their models since the last reading, in equal parts if there was none: a batch of many
    runs takes the processor for all of them at once, in proportion to the work for each. `counter` None
    divides the time alone.
    """

    def __init__(
        self,
        counter: EnergyCounter | None,
        *,
        processors: Callable[[], ProcessorSeconds | None] = processor_seconds,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counter = counter
        self._processors = processors
        self._clock = clock
        self._open = list[Account]()
        self._read_s = clock()
        self._energy = dict[str, float]()
        self._times: ProcessorSeconds | None = None

    @property
    def source(self) -> str | None:
        """Name of the counter that measures the energy, None without one."""
        return None if self._counter is None else self._counter.source

    def open(self, work: Callable[[], float]) -> Account:
        """Open the account of a run that starts; `work` returns the work of its models so far, in any unit."""
        self._settle()
        account = Account(
            joules=None if self._counter is None else 0.0, source=self.source, _work=work, _worked=work(), _meter=self
        )
        self._open.append(account)
        return account

    def close(self, account: Account) -> None:
        """Settle the account of a run that ends."""
        self._settle()
        self._open.remove(account)

    def refresh(self, max_age_s: float) -> None:
        """Read the counters if the last reading is older than `max_age_s`."""
        if self._clock() - self._read_s >= max_age_s:
            self._settle()

    def _settle(self) -> None:
        """Read the counters, and divide the energy and time since the last reading among the open runs."""
        now_s = self._clock()
        passed_s, self._read_s = now_s - self._read_s, now_s
        joules = self._joules()
        if not self._open:
            return
        works = [account.take_work() for account in self._open]
        total = sum(works)
        for account, work in zip(self._open, works, strict=True):
            share = work / total if total else 1 / len(self._open)
            account.machine_s += share * passed_s
            if joules is None or account.joules is None:
                account.joules = account.source = None
            else:
                account.joules += share * joules

    def _joules(self) -> float | None:
        """Return the energy since the last reading that is due to this process, None if it is not known."""
        if self._counter is None:
            return None
        before, times = self._energy, self._times
        try:
            self._energy = self._counter.read()
        except OSError:
            return None
        self._times = self._processors()
        found = 0.0
        for source, joules in self._energy.items():
            more = max(0.0, joules - before.get(source, 0.0))
            found += more * (_own_share(times, self._times) if source == RAPL else 1.0)
        return found


def _own_share(before: ProcessorSeconds | None, now: ProcessorSeconds | None) -> float:
    """Return the part of the machine's processor time that is this process's, 1.0 where that is not known."""
    if before is None or now is None:
        return 1.0
    machine, own = now.machine - before.machine, now.own - before.own
    return min(1.0, max(0.0, own / machine)) if machine > 0 else 1.0


@cache
def machine_meter(watts: float | None, *, gpu: bool) -> MachineMeter:
    """Return the meter that all engines of this process share whose energy is measured alike; see `find_counter`."""
    return MachineMeter(find_counter(watts=watts, gpu=gpu))


@cache
def time_meter() -> MachineMeter:
    """Return the meter of searches that use no model of this machine: it divides the time and knows no energy."""
    return MachineMeter(None)
