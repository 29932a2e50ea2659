"""What `ramify doctor` finds out about this machine and this installation."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..errors import RamifyError
from .build_advice import build_command

PACKAGES = ("ramify", "llama-cpp-python", "numpy", "networkx", "anyio", "pydantic", "math-verify")
OPTIONAL_PACKAGES = ("torch", "tokenizers", "gguf")
NOTED_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "asimd", "sve")
QUESTION = "Tom has 3 apples. Tom buys 4 more apples. How many apples does Tom have now?"


def examine(*, run: bool, model: str) -> dict[str, Any]:
    """Return everything there is to know, in plain JSON types.

    `run` loads `model` and solves a tiny problem with it. `problems` in the result lists what is wrong.
    """
    from ramify.engine.library.catalog import list_bundled
    from ramify.engine.runtime.llama.native import available_threads

    from ..files import cache_folder, models_folder

    bundled = [entry.name for entry in list_bundled()]
    report: dict[str, Any] = {
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in (*PACKAGES, *OPTIONAL_PACKAGES)},
        "processor": {"threads": available_threads(), "flags": _processor_flags()},
        "llama_cpp": _library(),
        "bundled_models": bundled,
        "folders": {"cache": str(cache_folder()), "models": str(models_folder())},
    }
    trouble = [] if bundled else ["the bundled models are missing; reinstall ramify"]
    if "error" in report["llama_cpp"]:
        trouble.append(f"llama.cpp cannot be loaded ({report['llama_cpp']['error']}); reinstall llama-cpp-python")
    elif run:
        report["run"] = _try_model(model)
        if "error" in report["run"]:
            trouble.append(report["run"]["error"])
    report["probes"] = _probes()
    report["problems"] = trouble
    return report


def describe(report: dict[str, Any]) -> Iterator[str]:
    """Yield the report as lines of text."""
    yield f"ramify      {report['packages']['ramify']} on Python {report['python']['version']}, {report['platform']}"
    for group in (PACKAGES[1:], OPTIONAL_PACKAGES):
        yield "            " + ", ".join(f"{name} {report['packages'][name] or 'not installed'}" for name in group)
    processor = report["processor"]
    yield f"processor   {processor['threads']} threads available; {' '.join(processor['flags']) or 'no known flags'}"
    library = report["llama_cpp"]
    yield f"llama.cpp   {library.get('error') or library['path']}"
    if "system_info" in library:
        yield f"            {library['system_info']}"
        yield f"            GPU offload: {'yes' if library['gpu_offload'] else 'no'}"
    yield from _describe_probes(report["probes"])
    yield f"models      {', '.join(report['bundled_models']) or 'none bundled'}; yours in {report['folders']['models']}"
    yield f"cache       {report['folders']['cache']}"
    yield from _describe_run(report.get("run"))


_INSTEAD = {"none": "without them", "repacked": "with repacked weights, which work, alone"}


def _describe_probes(probes: list[dict[str, Any]]) -> Iterator[str]:
    if not probes:
        yield "CPU probe   not run yet; it runs when a quantized model is first loaded"
    for probe in probes:
        kinds = ",".join(map(str, probe["tensor_types"]))
        if probe["works"]:
            yield f"CPU probe   tensor types {kinds}: the processor's special buffers work"
        else:
            yield (
                f"CPU probe   tensor types {kinds}: llama.cpp crashed ({probe['detail']}) with the processor's "
                f"special buffers, such as AMX; models are loaded {_INSTEAD[probe['buffers']]}"
            )
    command = None if all(probe["works"] for probe in probes) else build_command(_every_flag())
    if command is not None:
        yield "            quantized models may be faster with a build that leaves AMX out:"
        yield f"            {command}"


def _describe_run(run: dict[str, Any] | None) -> Iterator[str]:
    if run is None:
        yield "test run    skipped"
    elif "error" in run:
        yield f"test run    failed: {run['error']}"
    else:
        yield (
            f"test run    {run['model']} in a {run['isolation']} of its own wrote {run['generated_tokens']} tokens "
            f"in {run['seconds']:.2f} s after {run['load_seconds']:.2f} s of loading"
        )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor_flags() -> list[str]:
    found = _every_flag()
    return [flag for flag in NOTED_FLAGS if flag in found]


def _every_flag() -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "").split()


def _library() -> dict[str, Any]:
    try:
        from ramify.engine.runtime.llama.native import library

        lib: Any = library()
        info = lib.llama_print_system_info().decode("utf-8", "replace").strip()
        return {
            "path": str(Path(os.environ.get("LLAMA_CPP_LIB_PATH") or Path(lib.__file__).parent / "lib")),
            "system_info": " ".join(info.split()),
            "gpu_offload": bool(lib.llama_supports_gpu_offload()),
        }
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _probes() -> list[dict[str, Any]]:
    from dataclasses import asdict

    from ramify.engine.runtime.llama.probe import findings

    return [asdict(finding) for finding in findings()]


def _try_model(model: str) -> dict[str, Any]:
    import time

    import anyio

    from ramify.engine.engine import Engine
    from ramify.search.budget import Budget
    from ramify.search.strategies.greedy import Greedy

    async def attempt() -> dict[str, Any]:
        started_s = time.monotonic()
        async with Engine(model=model, reward=None) as engine:
            loaded_s = time.monotonic()
            solution = await engine.solve(QUESTION, strategy=Greedy(), budget=Budget(generated_tokens=64, seconds=60.0))
            return {
                "model": model,
                "isolation": engine.config.isolation,
                "load_seconds": loaded_s - started_s,
                "seconds": solution.usage.seconds,
                "generated_tokens": solution.usage.policy.generated_tokens,
                "answer": solution.answer,
            }

    try:
        return anyio.run(attempt)
    except RamifyError as error:
        return {"model": model, "error": str(error)}
