"""Process that quantizes a model file; llama.cpp writes its progress to this process's own stdout."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

STDOUT = 1


def main() -> int:
    """Write the file argv[1] to argv[2] as type argv[3], with argv[4] threads; argv[5] is 1 to requantize.

    Returns llama.cpp's code, 0 if the file was written.
    """
    source, target, kind, threads, requantize = sys.argv[1:6]
    import llama_cpp.llama_cpp as lib

    native: Any = lib

    @native.llama_log_callback
    def write(level: int, text: bytes, data: object) -> None:
        os.write(STDOUT, text)

    native.llama_log_set(write, ctypes.c_void_p(0))
    native.llama_backend_init()
    parameters = native.llama_model_quantize_default_params()
    parameters.ftype = getattr(native, f"LLAMA_FTYPE_{kind}")
    parameters.nthread = int(threads)
    parameters.allow_requantize = requantize == "1"
    return int(native.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(parameters)))


if __name__ == "__main__":
    sys.exit(main())
