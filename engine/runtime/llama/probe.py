"""Probe of llama.cpp's extra CPU buffer types: whether they work on this machine, tried once.

A processor may advertise AMX while its tile instructions fault (some virtual machines); llama.cpp then dies with
SIGSEGV at the first product with a quantized matrix. A child process tries a few tokens of a tiny model that has all
types with special kernels. If it dies, and a second one without extra buffer types does not, models are loaded without
them, or with the repacked ones alone if a third one can. The finding is kept per library build and processor.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from ramify.files import cache_folder, make_folder, read_bytes, write_text
from ramify.json_text import read_json

from .config import BufferWord
from .gguf_check import check_gguf
from .probe_model import TENSOR_TYPES, write_probe_model
from .processes import child_environment, python_command, signal_name

TIMEOUT_S = 120.0
_WORDS: tuple[BufferWord, ...] = get_args(BufferWord)
_FLOATS = frozenset({0, 1, 30})
"""Tensor types F32, F16 and BF16, which use no extra buffers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Finding of a probe: `works` is False if the child died, and `detail` says how. `buffers` are those to be used."""

    works: bool
    buffers: BufferWord
    detail: str
    tensor_types: tuple[int, ...]
    library: str
    processor: str


def usable_buffers(path: str) -> BufferWord:
    """Return the extra buffer types with which the model can be loaded; probes at the first call only.

    Raises:
        ModelLoadError: if the file is not a sound GGUF file.
    """
    types = check_gguf(path).tensor_types - _FLOATS
    if not types:
        return "all"
    file = _finding_file()
    found = _read(file)
    if found is None:
        found = _probe()
        if found is None:
            return "all"
        _write(file, found)
    return found.buffers


def findings() -> list[Finding]:
    """Return all findings on this machine, for `ramify doctor`."""
    folder = cache_folder() / "probes"
    read = (_read(file) for file in sorted(folder.glob("*.json"))) if folder.is_dir() else iter(())
    return [each for each in read if each is not None]


def _probe() -> Finding | None:
    """Try the probe's model; None if it cannot be written."""
    try:
        with tempfile.TemporaryDirectory(prefix="ramify-probe-") as folder:
            model = Path(folder) / "probe.gguf"
            write_probe_model(model)
            return _try(str(model))
    except OSError:
        return None


def _try(path: str) -> Finding | None:
    """Try a model in a child; None if that shows nothing about the processor.

    A child that ends with an error instead of a crash says nothing about the processor. Neither does one that crashes
    without extra buffers too.
    """
    code = _end_of_child(path, "all")
    if code is None or code > 0 or (code < 0 and _end_of_child(path, "none") != 0):
        return None
    buffers: BufferWord = "all"
    if code < 0:
        buffers = "repacked" if _end_of_child(path, "repacked") == 0 else "none"
    return Finding(
        works=code == 0,
        buffers=buffers,
        detail="works" if code == 0 else f"a child died of {signal_name(-code)}",
        tensor_types=tuple(sorted(TENSOR_TYPES)),
        library=_library(),
        processor=processor(),
    )


def _end_of_child(*arguments: str) -> int | None:
    """Return a child's exit code, negative for a signal, None if it does not end."""
    try:
        return subprocess.run(
            python_command("ramify.engine.runtime.llama.probe", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=child_environment(),
            timeout=TIMEOUT_S,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return None


def _finding_file() -> Path:
    key = json.dumps([_library(), processor(), sorted(TENSOR_TYPES)])
    return cache_folder() / "probes" / f"{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}.json"


def _library() -> str:
    """Name the library build: version, place and time of change."""
    folder = _library_folder()
    changed = max((file.stat().st_mtime_ns for file in folder.glob("*llama*")), default=0)
    return f"{version('llama-cpp-python')} {folder} {changed}"


@cache
def library_hash() -> str:
    """Name the library build by the content of its files, wherever they are."""
    made = hashlib.blake2b(version("llama-cpp-python").encode(), digest_size=16)
    for file in sorted(_library_folder().iterdir()):
        if file.suffix in (".so", ".dylib"):
            made.update(file.name.encode() + read_bytes(file))
    return made.hexdigest()


def _library_folder() -> Path:
    spec = find_spec("llama_cpp")
    places = spec.submodule_search_locations if spec is not None else None
    return Path(os.environ.get("LLAMA_CPP_LIB_PATH") or Path((places or ["."])[0]) / "lib")


def processor() -> str:
    """Name the kind of processor: its machine and the hash of its flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {hashlib.blake2b(flags.encode(), digest_size=8).hexdigest()}"


def _read(file: Path) -> Finding | None:
    try:
        data = read_json(read_bytes(file))
        types = tuple(int(each) for each in data.pop("tensor_types"))
        if data["buffers"] not in _WORDS:
            return None
        return Finding(tensor_types=types, **data)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _write(file: Path, finding: Finding) -> None:
    try:
        make_folder(file.parent)
        write_text(file, json.dumps(asdict(finding)) + "\n")
    except OSError:
        return  # Without a cache the probe is run again, which costs a second and nothing else.


def main() -> None:
    """Decode a few tokens of the model named by the first argument, with the buffers that the second one names."""
    from .config import ModelConfig
    from .native import Context, Model

    buffers: BufferWord = next(word for word in _WORDS if word == sys.argv[2])
    config = ModelConfig(path=sys.argv[1], context_tokens=256, extra_buffers=buffers)
    context = Context(Model(config), config)
    for start, count in ((0, 8), (8, 1), (9, 1)):
        places = list(range(start, start + count))
        context.decode([1] * count, places, [0] * count, [True] * count)


if __name__ == "__main__":
    main()
