"""The soak of `benchmarks/soak.py` in small: nothing is held between searches, and what it reports can be read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soak.py"


def test_dozens_of_searches_leave_no_sequence_and_no_cell(tmp_path: Path) -> None:
    words = "--problems 24 --every 8 --width 3 --tokens 80 --cancel-every 4 --limit 1".split()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words, "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["problems"], found["sequences"], found["cells"]) == (24, 0, 0)
    data = json.loads((tmp_path / "soak.json").read_text("utf-8"))
    assert [each["problems"] for each in data["looks"]] == [0, 8, 16, 24]
    # Both processes were read: a model and a Python program are never smaller.
    assert min(each["worker_mib"] for each in data["looks"]) > 10 < min(each["own_mib"] for each in data["looks"])
    assert (tmp_path / "soak.svg").read_text("utf-8").lstrip().startswith("<?xml")
