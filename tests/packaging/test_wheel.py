from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "docs", "runs")


def built_wheel(source: Path, out: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", str(out), str(source)], check=True, capture_output=True)
    (file,) = out.glob("ramify-*.whl")
    return file


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, as a build leaves files behind."""
    copy = tmp_path_factory.mktemp("wheel") / "ramify"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    return copy


@pytest.fixture(scope="module")
def wheel_file(source: Path) -> Path:
    return built_wheel(source, source / "out")


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> zipfile.Path:
    return zipfile.Path(wheel_file)


@pytest.mark.slow
def test_a_wheel_from_the_sdist_has_the_same_files(source, wheel_file, tmp_path):
    build = "from setuptools.build_meta import build_sdist; import sys; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True)
    (archive,) = tmp_path.glob("ramify-*.tar.gz")
    with tarfile.open(archive) as sdist:
        sdist.extractall(tmp_path, filter="data")
    again = built_wheel(tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path / "out")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel_file).namelist())


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_of_its_own(wheel_file, tmp_path):
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    place = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*place, str(wheel_file)], check=True, capture_output=True)
    # The dependencies are those of this environment; its own .pth files, such as that of the checkout, are not read.
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    found = [each for each in sys.path if each.endswith(("site-packages", "dist-packages"))]
    (packages / "dependencies.pth").write_text("\n".join(found))
    own = {"HOME": str(tmp_path), "PATH": str(python.parent), "RAMIFY_MAX_GENERATED_TOKENS": "8192"}
    run = {"cwd": tmp_path, "env": own, "capture_output": True, "text": True, "check": True}
    place = subprocess.run([python, "-c", "import ramify; print(ramify.__file__)"], **run).stdout.strip()
    assert Path(place) == packages / "ramify" / "__init__.py"
    ramify = str(python.parent / "ramify")
    assert subprocess.run([ramify, "--version"], **run).stdout.startswith("ramify ")
    question = "Tom has 3 apples. Tom buys 4 more apples. How many apples does Tom have?"
    assert subprocess.run([ramify, question], **run).stdout == "7\n"


def test_the_wheel_holds_one_top_level_package(wheel):
    assert {entry.name for entry in wheel.iterdir() if not entry.name.endswith(".dist-info")} == {"ramify"}


def test_the_wheel_holds_all_code(wheel):
    tops = {"ramify": ROOT / "ramify"} | {
        f"ramify/{name}": ROOT / name for name in ("engine", "models", "reward", "search")
    }
    for place, source in tops.items():
        for file in source.rglob("*.py"):
            assert (wheel / place / str(file.relative_to(source))).is_file(), file


def test_the_wheel_holds_the_bundled_models_and_their_cards(wheel):
    for pattern in ("weights/*.gguf", "weights/*.json", "cards/*.md", "tokenizer.json"):
        for file in (ROOT / "models").glob(pattern):
            packed = wheel / "ramify/models" / str(file.relative_to(ROOT / "models"))
            assert packed.read_bytes() == file.read_bytes()


def test_the_wheel_holds_the_template_of_reports(wheel):
    assert (wheel / "ramify/batch/report/page.html.j2").is_file()


def test_the_wheel_holds_the_files_of_the_viewer(wheel):
    for file in (ROOT / "viewer" / "assets").iterdir():
        assert (wheel / "ramify/viewer/assets" / file.name).is_file(), file


def test_the_wheel_is_typed_and_licensed(wheel):
    assert (wheel / "ramify/py.typed").is_file()
    (info,) = (entry for entry in wheel.iterdir() if entry.name.endswith(".dist-info"))
    assert "Apache License" in (info / "licenses/LICENSE").read_text("utf-8")
    assert "ramify = ramify.cli:main" in (info / "entry_points.txt").read_text("utf-8")
