"""How to build llama.cpp for a processor whose AMX tiles crash it: with everything else that the processor has."""

from __future__ import annotations

from collections.abc import Collection

_SWITCHES = (
    ({"avx2"}, ("AVX", "AVX2", "BMI2", "FMA", "F16C", "SSE42")),
    ({"avx512f", "avx512bw", "avx512vl", "avx512dq"}, ("AVX512",)),
    ({"avx512vbmi"}, ("AVX512_VBMI",)),
    ({"avx512_vnni"}, ("AVX512_VNNI",)),
    ({"avx512_bf16"}, ("AVX512_BF16",)),
)
"""What /proc/cpuinfo calls the features that are needed together, and the switches of llama.cpp for them."""


def build_command(flags: Collection[str]) -> str | None:
    """Return the command that builds llama-cpp-python without AMX; None for a processor that has none.

    `flags` are those of /proc/cpuinfo.
    """
    if not any(flag.startswith("amx") for flag in flags):
        return None
    switches = ["-DGGML_NATIVE=OFF"]
    for names, built in _SWITCHES:
        if names <= set(flags):
            switches += [f"-DGGML_{name}=ON" for name in built]
    return (
        f'CMAKE_ARGS="{" ".join(switches)}" pip install --force-reinstall --no-deps --no-cache-dir '
        "--no-binary llama-cpp-python llama-cpp-python"
    )
