"""The package as users install it: an sdist, a wheel built from it, and the wheel in an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "docs", "runs")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
OF_THE_CHECKOUT = ("ramify", "__editable__")
"""How the names of files begin that install the checkout into this environment."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, as a build leaves files behind."""
    copy = tmp_path_factory.mktemp("wheel") / "ramify"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    return copy


@pytest.fixture(scope="module")
def wheel_file(source: Path) -> Path:
    """The wheel that is built from the sdist."""
    above = source.parent
    build = "from setuptools.build_meta import build_sdist; import sys; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(above)], cwd=source, check=True, capture_output=True)
    (archive,) = above.glob("ramify-*.tar.gz")
    with tarfile.open(archive) as sdist:
        sdist.extractall(above, filter="data")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    unpacked = above / archive.name.removesuffix(".tar.gz")
    subprocess.run([*pip, "--wheel-dir", str(above / "index"), str(unpacked)], check=True, capture_output=True)
    (file,) = (above / "index").glob("ramify-*.whl")
    return file


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> zipfile.Path:
    return zipfile.Path(wheel_file)


def folder_of(package: str) -> Path:
    """Return the folder of a listed package below the root."""
    top = ".".join(package.split(".")[:2])
    return Path(SETUPTOOLS["package-dir"].get(top, "ramify/" + top.partition(".")[2]), *package.split(".")[2:])


def dependencies_without_ramify(folder: Path) -> None:
    """Fill `folder` with links to the installed packages, without those of the checkout."""
    folder.mkdir()
    for place in (Path(each) for each in sys.path if each.endswith(("site-packages", "dist-packages"))):
        for entry in place.iterdir():
            link = folder / entry.name
            if not entry.name.startswith(OF_THE_CHECKOUT) and entry.suffix != ".pth" and not link.exists():
                link.symlink_to(entry)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pip_installs_the_wheel_by_its_name_into_an_environment_of_its_own(wheel_file: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    dependencies_without_ramify(tmp_path / "dependencies")
    (packages / "dependencies.pth").write_text(str(tmp_path / "dependencies"))
    # The index is a folder with this wheel alone, so pip fails if a dependency is missing or does not fit.
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile", "--no-index"]
    subprocess.run([*pip, "--find-links", str(wheel_file.parent), "ramify"], check=True, capture_output=True)
    own = {"HOME": str(tmp_path), "PATH": str(python.parent), "RAMIFY_MAX_GENERATED_TOKENS": "8192"}

    def output(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, check=True)
        return done.stdout

    place = output(str(python), "-c", "import ramify; print(ramify.__file__)").strip()
    assert Path(place) == packages / "ramify" / "__init__.py"
    ramify = str(python.parent / "ramify")
    assert output(ramify, "--version").startswith("ramify ")
    assert output(ramify, "Tom has 3 apples. Tom buys 4 more apples. How many apples does Tom have?") == "7\n"


def test_the_wheel_holds_one_top_level_package(wheel):
    assert {entry.name for entry in wheel.iterdir() if not entry.name.endswith(".dist-info")} == {"ramify"}


def test_the_wheel_holds_the_code_and_the_files_that_the_project_lists_and_no_others(wheel_file: Path) -> None:
    wanted = set[str]()
    for package in SETUPTOOLS["packages"]:
        folder = ROOT / folder_of(package)
        data = (file for pattern in SETUPTOOLS["package-data"].get(package, []) for file in folder.glob(pattern))
        wanted |= {f"{package.replace('.', '/')}/{file.relative_to(folder)}" for file in (*folder.glob("*.py"), *data)}
    found = {name for name in zipfile.ZipFile(wheel_file).namelist() if ".dist-info/" not in name}
    assert found == wanted


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
