"""The probe of the processor: a crash is remembered, an error is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ramify.engine.runtime.llama import probe
from ramify.engine.runtime.llama.gguf_check import check_gguf
from ramify.engine.runtime.llama.probe import findings, usable_buffers
from ramify.engine.runtime.llama.probe_model import TENSOR_TYPES, write_probe_model
from ramify.engine.runtime.llama.repack import repackable

from .tiny_gguf import Shape, write_tiny


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny(tmp_path_factory.mktemp("probe") / "q8.gguf", Shape(), quantized="Q8_0"))


class Child:
    """Stands for the child; counts how often it was started. It does `code`, or `others` with the buffers named."""

    def __init__(self, code: str, **others: str) -> None:
        self.code = code
        self.others = {"none": "pass", "repacked": "pass", **others}
        self.started = 0

    def __call__(self, module: str, *arguments: str) -> list[str]:
        assert module == "ramify.engine.runtime.llama.probe"
        self.started += 1
        return [sys.executable, "-c", self.others.get(arguments[1], self.code)]


@pytest.mark.parametrize(
    ("code", "works", "kept"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", False, True),
        ("import os; os.abort()", False, True),
        ("pass", True, True),
        ("raise SystemExit(1)", True, False),
        ("import time; time.sleep(60)", True, False),
    ],
)
def test_a_probe_is_made_once(
    quantized: str, monkeypatch: pytest.MonkeyPatch, code: str, works: bool, kept: bool
) -> None:
    child = Child(code)
    monkeypatch.setattr(probe, "python_command", child)
    if "sleep" in code:
        monkeypatch.setattr(probe, "TIMEOUT_S", 0.2)
    assert usable_buffers(quantized) == ("all" if works else "repacked")
    assert usable_buffers(quantized) == ("all" if works else "repacked")
    rounds = 1 if kept else 2
    # What has crashed is tried again without extra buffers, and with some.
    assert child.started == rounds * (1 if works else 3)
    assert [each.works for each in findings()] == ([works] if kept else [])


def test_a_probe_stands_for_all_files(quantized: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child("pass")
    monkeypatch.setattr(probe, "python_command", child)
    usable_buffers(quantized)
    usable_buffers(str(write_tiny(tmp_path / "q4.gguf", quantized="Q4_0")))
    assert child.started == 1


def test_a_probe_that_crashes_either_way_says_nothing_about_the_processor(
    quantized: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = "import os; os.abort()"
    monkeypatch.setattr(probe, "python_command", Child(crash, none=crash))
    assert usable_buffers(quantized) == "all"
    assert findings() == []


@pytest.mark.parametrize(("repacked", "buffers"), [("pass", "repacked"), ("import os; os.abort()", "none")])
def test_weights_that_can_be_repacked_are_tried_that_way(
    quantized: str, monkeypatch: pytest.MonkeyPatch, repacked: str, buffers: str
) -> None:
    child = Child("import os; os.abort()", repacked=repacked)
    monkeypatch.setattr(probe, "python_command", child)
    assert usable_buffers(quantized) == buffers
    assert usable_buffers(quantized) == buffers
    assert child.started == 3
    assert [(each.works, each.buffers) for each in findings()] == [(False, buffers)]


def test_a_crash_is_named(quantized: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "python_command", Child("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    usable_buffers(quantized)
    assert "SIGSEGV" in findings()[0].detail


def test_a_damaged_finding_is_made_again(quantized: str, monkeypatch: pytest.MonkeyPatch, cache_folder: Path) -> None:
    child = Child("pass")
    monkeypatch.setattr(probe, "python_command", child)
    usable_buffers(quantized)
    for file in (cache_folder / "probes").iterdir():
        file.write_text("{")
    assert findings() == []
    assert usable_buffers(quantized) == "all"
    assert child.started == 2


def test_a_cache_that_cannot_be_written_does_no_harm(
    quantized: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAMIFY_CACHE_DIR", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(probe, "python_command", Child("pass"))
    assert usable_buffers(quantized) == "all"
    assert findings() == []


def test_models_without_quantized_tensors_need_no_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child("pass")
    monkeypatch.setattr(probe, "python_command", child)
    assert usable_buffers(str(write_tiny(tmp_path / "float.gguf"))) == "all"
    assert child.started == 0


def test_the_real_probe_comes_to_a_finding(quantized: str) -> None:
    answer = usable_buffers(quantized)
    assert [each.buffers for each in findings()] == [answer]


@pytest.mark.parametrize("buffers", ["none", "repacked", "all"])
def test_the_probes_model_can_be_decoded(tmp_path: Path, buffers: str) -> None:
    path = tmp_path / "probe.gguf"
    write_probe_model(path)
    summary = check_gguf(path)
    assert summary.tensor_types - {0} == TENSOR_TYPES
    assert repackable(summary)
    if buffers != "all" or usable_buffers(str(path)) == "all":
        command = [sys.executable, "-m", "ramify.engine.runtime.llama.probe", str(path), buffers]
        assert subprocess.run(command, check=False).returncode == 0
