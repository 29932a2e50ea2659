"""The probe of the processor: a crash is remembered, an error is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ramify.engine.runtime import probe
from ramify.engine.runtime.probe import PLAIN, extra_buffers_work, findings

from .tiny_gguf import Shape, write_tiny


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny(tmp_path_factory.mktemp("probe") / "q8.gguf", Shape(), quantized=True))


class Child:
    """Stands for the child; counts how often it was started. `plain` is what it does without extra buffers."""

    def __init__(self, code: str, plain: str = "pass") -> None:
        self.code = code
        self.plain = plain
        self.started = 0

    def __call__(self, module: str, *arguments: str) -> list[str]:
        assert module == "ramify.engine.runtime.probe"
        self.started += 1
        return [sys.executable, "-c", self.plain if PLAIN in arguments else self.code]


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
    monkeypatch.setattr(probe, "TIMEOUT_S", 1.0)
    assert extra_buffers_work(quantized) is works
    assert extra_buffers_work(quantized) is works
    rounds = 1 if kept else 2
    # What has crashed is tried again without extra buffers.
    assert child.started == rounds * (1 if works else 2)
    assert [each.works for each in findings()] == ([works] if kept else [])


def test_a_file_that_crashes_either_way_says_nothing_about_the_processor(
    quantized: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = "import os; os.abort()"
    monkeypatch.setattr(probe, "python_command", Child(crash, plain=crash))
    assert extra_buffers_work(quantized)
    assert findings() == []


def test_a_crash_is_named(quantized: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "python_command", Child("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    extra_buffers_work(quantized)
    assert "SIGSEGV" in findings()[0].detail


def test_a_damaged_finding_is_made_again(quantized: str, monkeypatch: pytest.MonkeyPatch, cache_folder: Path) -> None:
    child = Child("pass")
    monkeypatch.setattr(probe, "python_command", child)
    extra_buffers_work(quantized)
    for file in (cache_folder / "probes").iterdir():
        file.write_text("{")
    assert findings() == []
    assert extra_buffers_work(quantized)
    assert child.started == 2


def test_a_cache_that_cannot_be_written_does_no_harm(
    quantized: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAMIFY_CACHE_DIR", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(probe, "python_command", Child("pass"))
    assert extra_buffers_work(quantized)
    assert findings() == []


def test_models_without_quantized_tensors_need_no_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child("pass")
    monkeypatch.setattr(probe, "python_command", child)
    assert extra_buffers_work(str(write_tiny(tmp_path / "float.gguf")))
    assert child.started == 0


def test_the_real_probe_comes_to_a_finding(quantized: str) -> None:
    answer = extra_buffers_work(quantized)
    assert [each.works for each in findings()] == [answer]
