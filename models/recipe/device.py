"""Number type and threads for training on this machine."""

from __future__ import annotations

import os
import subprocess
import sys

import torch

_PROBE = "import torch; a = torch.ones(64, 64, dtype=torch.bfloat16); (a @ a).sum().item()"


def prepare(threads: int | None = None) -> torch.dtype:
    """Set the number of threads and return bfloat16 where its kernels work, else float32.

    Some virtual machines announce AMX but fault on it, so a child process tries first.
    """
    torch.set_num_threads(threads or os.cpu_count() or 1)
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, check=False)
    return torch.bfloat16 if probe.returncode == 0 else torch.float32
