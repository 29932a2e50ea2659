"""Counters of energy on a tree of powercap made by hand, and on a stand-in for NVML."""

from __future__ import annotations

import pytest

from ramify.engine.metering.counters import EstimatedEnergy, NvmlCounter, PowercapCounter, find_counter


def test_packages_are_added_and_what_lies_in_them_is_not(powercap):
    powercap.zone("intel-rapl:0", "package-0", 1_000_000)
    powercap.zone("intel-rapl:1", "package-1", 9_000_000)
    powercap.zone("intel-rapl:0:0", "core", 5)
    powercap.zone("intel-rapl:0:1", "dram", 5)
    powercap.zone("intel-rapl:2", "psys", 5)
    counter = PowercapCounter(powercap.root)
    assert counter.read() == {"rapl": 0.0}
    for name in ("intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl:2"):
        powercap.set(name, 80_000_000)
    powercap.set("intel-rapl:0", 3_500_000)
    powercap.set("intel-rapl:1", 9_250_000)
    assert counter.read() == {"rapl": pytest.approx(2.75)}


def test_a_counter_that_begins_again_at_zero_goes_on(powercap):
    powercap.zone("intel-rapl:0", "package-0", 9_000_000, range_uj=10_000_000)
    counter = PowercapCounter(powercap.root)
    for now, joules in ((1_000_000, 2.0), (4_000_000, 5.0), (500_000, 11.5)):
        powercap.set("intel-rapl:0", now)
        assert counter.read()["rapl"] == pytest.approx(joules)


def test_without_packages_or_the_right_to_read_them_there_is_no_counter(powercap):
    with pytest.raises(OSError, match="no package zones"):
        PowercapCounter(powercap.root)
    powercap.zone("intel-rapl:0", "package-0", 1)
    (powercap.root / "intel-rapl:0" / "energy_uj").unlink()
    with pytest.raises(OSError):
        PowercapCounter(powercap.root)
    (powercap.root / "intel-rapl:0" / "energy_uj").write_text("none")
    with pytest.raises(OSError, match="holds no number"):
        PowercapCounter(powercap.root)
    assert find_counter(watts=None, gpu=False, root=powercap.root) is None


def test_gpus_are_added(nvml):
    counter = NvmlCounter(nvml)
    nvml.millijoules = [1_002_000, 5_000_500]
    assert counter.read() == {"nvml": pytest.approx(2.5)}


@pytest.mark.parametrize(("visible", "joules"), [(["1"], 7.0), (["GPU-0"], 3.0), (["0", "1"], 10.0)])
def test_only_visible_gpus_count(nvml, visible, joules):
    counter = NvmlCounter(nvml, visible)
    nvml.millijoules = [1_003_000, 5_007_000]
    assert counter.read() == {"nvml": pytest.approx(joules)}


def test_gpus_without_a_counter_and_drivers_that_are_not_there_are_told(nvml):
    with pytest.raises(OSError, match="no GPU"):
        NvmlCounter(nvml, [""])
    nvml.millijoules[1] = None
    with pytest.raises(OSError, match="Not Supported"):
        NvmlCounter(nvml)
    nvml.driver = False
    with pytest.raises(OSError, match="Driver Not Loaded"):
        NvmlCounter(nvml)


def test_an_estimate_is_the_power_times_the_seconds(clock):
    counter = EstimatedEnergy(65.0, clock)
    clock.now += 4
    assert counter.read() == {"estimate": 260.0}


def test_the_users_power_takes_the_place_of_all_counters(powercap, nvml, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    powercap.zone("intel-rapl:0", "package-0", 1)
    sources = {
        (watts, gpu): found.source
        for watts in (None, 50.0)
        for gpu in (False, True)
        if (found := find_counter(watts=watts, gpu=gpu, root=powercap.root, nvml=nvml)) is not None
    }
    assert sources == {
        (None, False): "rapl",
        (None, True): "nvml+rapl",
        (50.0, False): "estimate",
        (50.0, True): "estimate",
    }


def test_of_models_on_gpus_the_processors_energy_alone_is_no_energy(powercap, nvml, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    powercap.zone("intel-rapl:0", "package-0", 1)
    nvml.driver = False
    assert find_counter(watts=None, gpu=True, root=powercap.root, nvml=nvml) is None
    nvml.driver = True
    (powercap.root / "intel-rapl:0" / "energy_uj").unlink()
    found = find_counter(watts=None, gpu=True, root=powercap.root, nvml=nvml)
    assert found is not None
    assert found.source == "nvml"
    nvml.millijoules = [1_001_000, 5_001_000]
    assert found.read() == {"nvml": pytest.approx(2.0)}
