"""Work of the readers of text: it grows with the length of a hostile text, never with its square."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load_benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "text_readers.py"
    spec = importlib.util.spec_from_file_location("text_readers", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["text_readers"] = module
    spec.loader.exec_module(module)
    return module


benchmark = load_benchmark()
SMALL, TIMES = 400, 32
KNOWN = (
    "starred '\\u2028'",
    "starred '~'",
    "starred ' '",
    "'\\\\[\\n\\n'",
    "nested \\boxed{}",
    "' '",
    "fenced 'a\\n\\n'",
)


@pytest.mark.parametrize("name", benchmark.READERS)
def test_the_work_grows_with_the_length(name: str) -> None:
    reader = benchmark.READERS[name]
    small, large = dict(benchmark.shapes(SMALL)), dict(benchmark.shapes(SMALL * TIMES))
    times = {shape: benchmark.seconds_of(reader, text) for shape, text in small.items()}
    slowest = sorted(times, key=times.__getitem__, reverse=True)[:6]
    for shape in {*slowest, *KNOWN}:
        before = min(times[shape], *(benchmark.seconds_of(reader, small[shape]) for _ in range(3)))
        # Quadratic work is 1024 times as much. Times below the clock's noise say nothing, and one reading in some
        # hundreds takes the time of a garbage collection with it.
        limit = max(before * TIMES * 5, 0.05)
        after = limit
        for _ in range(3):
            if after >= limit:
                after = benchmark.seconds_of(reader, large[shape])
        assert after < limit, f"{shape}: {before:.6f} s, then {after:.6f} s"
