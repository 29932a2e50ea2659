"""Fuzzing of every reader of foreign input: some seconds each here, longer by RAMIFY_FUZZ_SECONDS.

RAMIFY_FUZZ_SECONDS=600 pytest tests/fuzz takes ten minutes, shared out evenly.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .programs import TARGETS

SECONDS = float(os.environ.get("RAMIFY_FUZZ_SECONDS", "22"))
"""For all targets together."""
START_S = 120
"""Time that a child may take to start, on a busy machine, and to shrink a failure."""


@pytest.mark.timeout(SECONDS / len(TARGETS) + 2 * START_S)
@pytest.mark.parametrize("target", TARGETS)
def test_no_input_does_harm(target: str, tmp_path: Path) -> None:
    seconds = SECONDS / len(TARGETS)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("programs.py")), target, f"{seconds}"],
        env={**os.environ, "TMPDIR": str(tmp_path), "RAMIFY_DATA": str(tmp_path / "data")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=seconds + START_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout.split()[-2]) >= 1, done.stdout
