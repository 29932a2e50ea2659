"""Tests of `ramify doctor`: builds of llama.cpp without AMX, and the plan of a search."""

from __future__ import annotations

from typing import Any

import pytest

from ramify.cli import doctor
from ramify.cli.doctor import build_command

SAPPHIRE = "avx2 avx512f avx512bw avx512vl avx512dq avx512vbmi avx512_vnni avx512_bf16 amx_tile amx_int8".split()


def test_the_build_has_everything_but_amx() -> None:
    command = build_command(SAPPHIRE)
    assert command is not None
    assert "-DGGML_NATIVE=OFF" in command
    assert "AMX" not in command
    for name in ("AVX2", "AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16"):
        assert f"-DGGML_{name}=ON" in command


def test_a_switch_needs_all_that_it_stands_for() -> None:
    command = build_command(["avx2", "avx512f", "amx_tile"])
    assert command is not None
    assert "-DGGML_AVX2=ON" in command
    assert "AVX512" not in command


def test_without_amx_there_is_nothing_to_leave_out() -> None:
    assert build_command([flag for flag in SAPPHIRE if not flag.startswith("amx")]) is None


@pytest.mark.parametrize(("works", "said"), [(True, False), (False, True)])
def test_doctor_says_so_after_a_crash_alone(monkeypatch: pytest.MonkeyPatch, works: bool, said: bool) -> None:
    monkeypatch.setattr(doctor, "_every_flag", lambda: SAPPHIRE)
    report: dict[str, Any] = doctor.examine(run=False, model="demo-m")
    report["probes"] = [
        {
            "tensor_types": [8],
            "works": works,
            "buffers": "all" if works else "none",
            "detail": "a child died of SIGSEGV",
        }
    ]
    assert ("CMAKE_ARGS" in "\n".join(doctor.report_lines(report))) is said


def test_the_plan_of_a_search_is_shown() -> None:
    report = doctor.examine(run=True, model="demo-m")
    lines = "\n".join(doctor.report_lines(report))
    for part in (
        "<|user|>Tom has",
        "preset      plain",
        "step ends   line",
        "path ends   the first answer",
        "s to a first answer, ",
        " s for 16 paths of 256 tokens",
        "temperature 1",
        "head:demo-l * arithmetic:exact * totals",
    ):
        assert part in lines
    assert report["run"]["plan"]["sampling"] == {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def test_a_long_prompt_is_shown_without_its_middle() -> None:
    shown = doctor._shortened("a" * 300 + "\n" + "b" * 300)  # pyright: ignore[reportPrivateUsage]
    assert len(shown) < 420 and shown.startswith("aaa") and shown.endswith("bbb") and " ... " in shown
