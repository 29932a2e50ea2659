"""llama.cpp's C API as it is loaded: once in a process, with its log lines in `logging`."""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
from collections import deque
from importlib.util import find_spec, module_from_spec
from typing import Any

log = logging.getLogger(__name__)

LOG_ERROR = 4
"""GGML_LOG_LEVEL_ERROR."""

_thread = threading.local()
_library_lock = threading.Lock()
_kept_alive: list[Any] = []


def native_lines() -> deque[tuple[int, str]]:
    """Return llama.cpp's last lines in this thread, each with its level; models may load in several threads."""
    if not hasattr(_thread, "lines"):
        _thread.lines = deque[tuple[int, str]](maxlen=200)
    return _thread.lines


def leave_out_high_level_binding() -> None:
    """Let `library` import the low-level binding alone, for a process that runs nothing else.

    The rest of the package, chat formats and a template engine among it, takes as long as the low-level part.
    """
    spec = find_spec("llama_cpp")
    if spec is not None and spec.name not in sys.modules:
        sys.modules[spec.name] = module_from_spec(spec)


def library() -> Any:
    """Return the low-level binding, loaded once; native log lines go to `logging` only."""
    import llama_cpp.llama_cpp as lib

    with _library_lock:
        if not _kept_alive:

            @lib.llama_log_callback
            def write(level: int, text: bytes, data: object) -> None:
                line = text.decode("utf-8", "replace").rstrip("\n")
                if line:
                    native_lines().append((level, line))
                    log.debug("%s", line)

            lib.llama_log_set(write, ctypes.c_void_p(0))
            lib.llama_backend_init()
            _kept_alive.append(write)
    return lib


def has_avx512() -> bool:
    """Tell whether llama.cpp computes with AVX-512, with which its flash attention is fast."""
    return b"AVX512 = 1" in library().llama_print_system_info()


def failure_reason() -> str:
    """Return llama.cpp's reason for the last failure."""
    telling = [line for level, line in native_lines() if level == LOG_ERROR]
    if not telling:
        return "llama.cpp gave no reason"
    # The first error is the cause; it starts with the name of a function.
    return telling[0].split(": ", 1)[-1].strip().splitlines()[0]
