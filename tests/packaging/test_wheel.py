from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "docs", "runs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """Build in a copy, as a build leaves files behind."""
    copy = tmp_path_factory.mktemp("wheel") / "ramify"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", str(copy / "out"), str(copy)], check=True, capture_output=True)
    (file,) = (copy / "out").glob("ramify-*.whl")
    return zipfile.Path(file)


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
