"""Energy and time of the machine are divided among the runs that overlap, and nothing is counted twice."""

from __future__ import annotations

import os

import pytest

from ramify.engine.metering.machine import MachineMeter, ProcessorSeconds, processor_seconds


class Work:
    """Work of a run, which a test sets."""

    def __init__(self) -> None:
        self.done = 0.0

    def __call__(self) -> float:
        return self.done


def test_one_run_has_all_that_came_while_it_was_open(counter, clock):
    meter = MachineMeter(counter, processors=lambda: None, clock=clock)
    counter.joules["rapl"], clock.now = 50.0, 105.0
    account = meter.open(Work())
    counter.joules["rapl"], clock.now = 58.0, 107.0
    account.close()
    counter.joules["rapl"], clock.now = 99.0, 120.0
    assert (account.joules, account.machine_s, account.source) == (8.0, 2.0, "rapl")


def test_runs_that_overlap_share_by_their_work(counter, clock):
    meter = MachineMeter(counter, processors=lambda: None, clock=clock)
    first, second = Work(), Work()
    one = meter.open(first)
    counter.joules["rapl"], clock.now, first.done = 10.0, 101.0, 5.0
    two = meter.open(second)
    counter.joules["rapl"], clock.now = 30.0, 105.0
    first.done, second.done = 8.0, 9.0
    one.close()
    counter.joules["rapl"], clock.now, second.done = 36.0, 106.0, 10.0
    two.close()
    # 10 J alone, then 20 J as 3 to 9, then 6 J for the second alone.
    assert (one.joules, two.joules) == (pytest.approx(15.0), pytest.approx(21.0))
    assert (one.machine_s, two.machine_s) == (pytest.approx(2.0), pytest.approx(4.0))


def test_without_any_work_the_shares_are_equal(counter, clock):
    meter = MachineMeter(counter, processors=lambda: None, clock=clock)
    accounts = [meter.open(Work()) for _ in range(4)]
    counter.joules["rapl"], clock.now = 8.0, 104.0
    meter.refresh(0)
    assert [each.joules for each in accounts] == [2.0] * 4
    assert sum(each.machine_s for each in accounts) == pytest.approx(4.0)


def test_of_a_package_the_share_of_the_processor_time_counts(counter, clock):
    times = ProcessorSeconds(1.0, 10.0)
    counter.joules = {"rapl": 0.0, "nvml": 0.0}
    meter = MachineMeter(counter, processors=lambda: times, clock=clock)
    account = meter.open(Work())
    # A quarter of what the machine computed was computed here; the GPU's energy counts in full.
    times = ProcessorSeconds(3.0, 18.0)
    counter.joules = {"rapl": 40.0, "nvml": 7.0}
    account.close()
    assert account.joules == pytest.approx(17.0)


@pytest.mark.parametrize("now", [None, ProcessorSeconds(1.0, 10.0), ProcessorSeconds(4.0, 12.0)])
def test_processor_times_that_cannot_be_compared_leave_all_of_it(counter, clock, now):
    times: list[ProcessorSeconds | None] = [ProcessorSeconds(1.0, 10.0)]
    meter = MachineMeter(counter, processors=lambda: times[0], clock=clock)
    account = meter.open(Work())
    times[0], counter.joules = now, {"rapl": 5.0}
    account.close()
    assert account.joules == 5.0


def test_after_a_failed_reading_the_energy_of_open_runs_is_not_known(counter, clock):
    meter = MachineMeter(counter, processors=lambda: None, clock=clock)
    lost = meter.open(Work())
    counter.broken, clock.now = True, 101.0
    meter.refresh(0)
    counter.broken, counter.joules = False, {"rapl": 9.0}
    kept = meter.open(Work())
    clock.now, counter.joules = 103.0, {"rapl": 11.0}
    lost.close()
    kept.close()
    assert (lost.joules, lost.source, lost.machine_s) == (None, None, 2.0)
    assert (kept.joules, kept.source) == (1.0, "rapl")


def test_a_reading_is_repeated_only_when_it_is_old(counter, clock):
    meter = MachineMeter(counter, processors=lambda: None, clock=clock)
    account = meter.open(Work())
    counter.joules, clock.now = {"rapl": 3.0}, 100.05
    account.refresh(0.1)
    assert account.joules == 0.0
    clock.now = 100.2
    account.refresh(0.1)
    assert account.joules == 3.0


def test_an_account_closes_once(counter, clock):
    meter = MachineMeter(counter, processors=lambda: None, clock=clock)
    account = meter.open(Work())
    account.close()
    counter.joules, clock.now = {"rapl": 3.0}, 200.0
    account.close()
    account.refresh(0)
    assert (account.joules, account.machine_s) == (0.0, 0.0)


def test_processor_time_is_read_from_proc(tmp_path, monkeypatch):
    tick = os.sysconf("SC_CLK_TCK")
    (tmp_path / "stat").write_text("cpu  300 0 100 900 50 0 10 90 0 0\ncpu0 1 2 3\n")
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "stat").write_text(f"77 (a (b) c) S {' '.join(['0'] * 10)} {3 * tick} {2 * tick} 0 0 20\n")
    monkeypatch.setattr("ramify.engine.metering.machine.worker_processes", list)
    alone = processor_seconds(tmp_path)
    monkeypatch.setattr("ramify.engine.metering.machine.worker_processes", lambda: [77, 78])
    found = processor_seconds(tmp_path)
    assert alone is not None
    assert found is not None
    assert found.machine == pytest.approx(410 / tick)
    assert found.own - alone.own == pytest.approx(5.0, abs=1.0)
    assert processor_seconds(tmp_path / "nowhere") is None
    (tmp_path / "stat").write_text("cpu\n")
    assert processor_seconds(tmp_path) is None
