"""Builds llama.cpp with CUDA from a trimmed archive, and tests and measures ramify with it.

    python benchmarks/gpu/cuda.py trim llama_cpp_python-0.3.36.tar.gz llama-cuda.tar.xz
    python benchmarks/gpu/cuda.py check llama-cuda.tar.xz
    python benchmarks/gpu/cuda.py run llama-cuda.tar.xz --work build/gpu --out results [--steps build,test,measure]

`trim` takes the source package of llama-cpp-python (`pip download --no-binary :all: --no-deps llama-cpp-python`) and
keeps what a build for CUDA, the Python binding and `llama-batched-bench` need, so that it is small to carry. `check`
configures the trimmed sources for processors alone and compiles a few files, which finds what was dropped by mistake.
`run` belongs on the machine with the GPU, which needs Python with ramify's dependencies, the CUDA toolkit, CMake and a
compiler, and no network: it builds, runs tests/runtime with the build, and runs benchmarks/native.py. The steps can be
taken one by one; a build goes on where it was stopped. The binding is taken from the archive, not installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
LLAMA = "vendor/llama.cpp"
KEPT = (
    *("LICENSE.md", "README.md", "PKG-INFO", "pyproject.toml", "CMakeLists.txt", "llama_cpp"),
    *(f"{LLAMA}/{name}" for name in ("CMakeLists.txt", "LICENSE", "cmake", "licenses", "include", "src", "common")),
    *(f"{LLAMA}/vendor", f"{LLAMA}/tools/batched-bench"),
    *(f"{LLAMA}/ggml/{name}" for name in ("CMakeLists.txt", "cmake", "include", "src")),
)
"""Files and folders kept of the source package."""
BACKENDS = frozenset({"ggml-cpu", "ggml-cuda"})
"""Folders of ggml/src that are kept; all others there are other backends."""
DROPPED = (f"{LLAMA}/vendor/miniaudio/miniaudio.h", f"{LLAMA}/vendor/stb/stb_image.h")
"""Large headers for sound and pictures."""
TOOLS = "llama_add_compile_flags()\nadd_subdirectory(batched-bench)\n"
"""Replacement of tools/CMakeLists.txt."""
PROBE_OBJECTS = ("batched-bench.cpp.o", "/arg.cpp.o", "/download.cpp.o", "/llama-arch.cpp.o", "/ggml-backend.cpp.o")
STEPS = ("build", "test", "measure")


def kept(name: str) -> bool:
    """Tell whether a file of the source package, named without the package's own folder, is kept."""
    if name in DROPPED or not any(name == each or name.startswith(f"{each}/") for each in KEPT):
        return False
    parts = PurePosixPath(name).parts
    inside = parts[4:] if parts[:4] == ("vendor", "llama.cpp", "ggml", "src") else ()
    return len(inside) < 2 or inside[0] in BACKENDS


def trim(source: Path, target: Path) -> dict[str, int]:
    """Write the trimmed archive; return sizes in bytes and the number of files."""
    count = 0
    with tarfile.open(source) as package, tarfile.open(target, "w:xz") as small:
        for member in package:
            top, _, name = member.name.partition("/")
            if not (member.isfile() and kept(name)):
                continue
            small.addfile(member, package.extractfile(member))
            count += 1
        entry = tarfile.TarInfo(f"{top}/{LLAMA}/tools/CMakeLists.txt")
        entry.size = len(TOOLS)
        small.addfile(entry, BytesIO(TOOLS.encode()))
    return {"source_bytes": source.stat().st_size, "trimmed_bytes": target.stat().st_size, "files": count + 1}


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack into a folder, once, and return the folder of the package, which Python can import from."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as package:
        top = PurePosixPath(package.getnames()[0]).parts[0]
        if not (folder / top).is_dir():
            package.extractall(folder, filter="data")
    package_folder = folder / top
    # Importing from the folder is not enough for whoever asks for the version of the package.
    note = package_folder / f"{top}.dist-info" / "METADATA"
    note.parent.mkdir(exist_ok=True)
    shutil.copy(package_folder / "PKG-INFO", note)
    return package_folder


def configure(package: Path, build: Path, *, cuda: bool, architectures: str = "native") -> None:
    """Run CMake for the libraries and the native benchmark."""
    off = ("LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_SERVER", "LLAMA_BUILD_APP", "LLAMA_OPENSSL")
    settings = {
        "CMAKE_BUILD_TYPE": "Release",
        "BUILD_SHARED_LIBS": "ON",
        "LLAMA_BUILD_COMMON": "ON",
        "LLAMA_BUILD_TOOLS": "ON",
        "GGML_CUDA": "ON" if cuda else "OFF",
        **dict.fromkeys(off, "OFF"),
        **({"CMAKE_CUDA_ARCHITECTURES": architectures} if cuda else {}),
    }
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    words = [f"-D{name}={value}" for name, value in settings.items()]
    call(["cmake", "-S", str(package / LLAMA), "-B", str(build), *generator, *words])


def check(archive: Path, jobs: int) -> None:
    """Configure for processors alone, and compile what includes most of what might be missing."""
    with tempfile.TemporaryDirectory() as folder:
        package, build = unpack(archive, Path(folder)), Path(folder) / "build"
        configure(package, build, cuda=False)
        wanted = [each for each in _objects(build) if any(probe in each for probe in PROBE_OBJECTS)]
        if wanted:
            call(["cmake", "--build", str(build), "-j", str(jobs), "--target", *wanted])
        environment = {**os.environ, "PYTHONPATH": str(package)}
        code = "from importlib.metadata import version; print('binding', version('llama-cpp-python'))"
        call([sys.executable, "-c", code], environment)
        sys.stdout.write(f"configured, and compiled {len(wanted)} files\n")


def _objects(build: Path) -> list[str]:
    """Return the object files that a build makes; none without Ninja, which alone lists them."""
    if not (build / "build.ninja").is_file():
        return []
    listed = subprocess.run(
        ["ninja", "-C", str(build), "-t", "targets", "all"], capture_output=True, text=True, check=True
    )
    names = (line.split(":")[0].strip() for line in listed.stdout.splitlines())
    return [name for name in names if name.endswith(".o")]


def run(options: argparse.Namespace) -> None:
    """Take the steps on the machine with the GPU; results go to `options.out`."""
    work, out = options.work.resolve(), options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    package, build = unpack(options.archive, work), work / "build"
    environment = {
        **os.environ,
        "LLAMA_CPP_LIB_PATH": str(build / "bin"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")])),
    }

    def build_all() -> None:
        configure(package, build, cuda=True, architectures=options.architectures)
        call(["cmake", "--build", str(build), "-j", str(options.jobs)])

    def test() -> None:
        code = (
            "from ramify.engine.runtime.llama.devices import gpu_count; "
            "from ramify.engine.runtime.llama.library import library; "
            "n = gpu_count(library()); print('GPUs:', n); raise SystemExit(n == 0)"
        )
        call([sys.executable, "-c", code], environment)
        call([sys.executable, "-m", "pytest", "-q", "tests/runtime", f"--junit-xml={out / 'runtime.xml'}"], environment)

    def measure() -> None:
        script = ROOT / "benchmarks" / "native.py"
        words = ["--native", str(build / "bin" / "llama-batched-bench"), "--out", str(out / "native.json")]
        call([sys.executable, str(script), *words, *options.native], environment)

    work_on: Mapping[str, Callable[[], None]] = {"build": build_all, "test": test, "measure": measure}
    seconds = dict[str, float]()
    for step in options.steps.split(","):
        started = time.monotonic()
        work_on[step]()
        seconds[step] = round(time.monotonic() - started, 1)
        (out / "steps.json").write_text(json.dumps(seconds, indent=1) + "\n", encoding="utf-8")


def call(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a command in the checkout, and end with its exit code if it fails."""
    sys.stdout.write(f"$ {' '.join(command)}\n")
    sys.stdout.flush()
    done = subprocess.run(command, env=environment, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def main(arguments: Sequence[str] | None = None) -> None:
    """Take one of the commands."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    smaller = commands.add_parser("trim", help="write the trimmed archive")
    smaller.add_argument("source", type=Path)
    smaller.add_argument("target", type=Path, help="ends in .tar.xz")
    whole = commands.add_parser("check", help="configure the archive without CUDA")
    whole.add_argument("archive", type=Path)
    whole.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    real = commands.add_parser("run", help="build, test and measure on a machine with a GPU")
    real.add_argument("archive", type=Path)
    real.add_argument("--work", type=Path, default=Path("build/gpu"), help="folder for sources and build")
    real.add_argument("--out", type=Path, required=True, help="folder for what comes out")
    real.add_argument("--steps", default=",".join(STEPS), help="any of build,test,measure")
    real.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    real.add_argument("--architectures", default="native", help="CUDA architectures, such as 90")
    real.add_argument("native", nargs="*", help="options for benchmarks/native.py, after --")
    options = parser.parse_args(arguments)
    if options.command == "trim":
        sys.stdout.write(json.dumps(trim(options.source, options.target)) + "\n")
    elif options.command == "check":
        check(options.archive, options.jobs)
    else:
        unknown = set(options.steps.split(",")) - set(STEPS)
        if unknown:
            parser.error(f"there are no steps {', '.join(sorted(unknown))}; use any of {', '.join(STEPS)}")
        run(options)


if __name__ == "__main__":
    main()
