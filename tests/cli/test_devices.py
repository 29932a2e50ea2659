"""Settings of GPUs, KV cache and workers: as options, in the file and the environment, on their way to the engine."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ramify.batch.store.identity import configuration
from ramify.config import EngineConfig, RunConfig
from ramify.engine.engine import Engine
from ramify.sampling_params import UNFILTERED
from ramify.search.strategies.sampling import MajorityVote
from ramify.testing import ScriptedModel

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[EngineConfig]:
    """Collect the configuration of each engine that a command opens."""
    found: list[EngineConfig] = []

    def engine(model: str, reward: str | None, **options: Any) -> Engine:
        made = Engine(model=ScriptedModel(lambda question, path: "The answer is 7."), reward=None, **options)
        found.append(made.config)
        return made

    monkeypatch.setattr("ramify.cli.searching.Engine", engine)
    return found


def test_the_options_reach_the_engine(ramify, settings):
    words = "--gpu-layers 3 --tensor-split 3,1 --flash-attention on --kv-type q8_0,q4_0 --context-tokens 4k --workers 2"
    assert ramify("-r", "none", "-s", "greedy", *words.split(), "q").code == 0
    [config] = settings
    assert (config.gpu_layers, config.main_gpu, config.tensor_split) == (3, None, "3,1")
    assert (config.flash_attention, config.kv_type, config.context_tokens, config.workers) == (
        *("on", "q8_0,q4_0"),
        *(4000, 2),
    )


def test_the_file_and_the_environment_reach_the_engine(ramify, settings, monkeypatch, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('main_gpu = 1\nkv_type = "q8_0"\nflash_attention = "off"\nreward = "none"\nstrategy = "greedy"\n')
    monkeypatch.setenv("RAMIFY_CONFIG", str(file))
    monkeypatch.setenv("RAMIFY_WORKERS", "3")
    monkeypatch.setenv("RAMIFY_FLASH_ATTENTION", "on")
    assert ramify("q").code == 0
    [config] = settings
    assert (config.main_gpu, config.kv_type, config.flash_attention, config.workers) == (1, "q8_0", "on", 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--main-gpu", "-1"], "--main-gpu"),
        (["--main-gpu", "99"], "--main-gpu"),
        (["--tensor-split", "3,x"], "such as 3,1"),
        (["--tensor-split", "0"], "such as 3,1"),
        (["--flash-attention", "maybe"], "--flash-attention"),
        (["--kv-type", "q9"], "q8_0"),
        (["--context-tokens", "0"], "--context-tokens"),
        (["--context-tokens", "10"], "--context-tokens': 10 is not in the range (use a number from 256 to 16777216)"),
        (["--workers", "0"], "--workers"),
        (["--workers", "1.5"], "--workers"),
        (["--gpu-layers", "-1"], "--gpu-layers"),
    ],
)
def test_wrong_values_are_one_line_and_exit_code_2(ramify, arguments, words):
    result = ramify(*arguments, "q")
    assert (result.code, result.out) == (2, "")
    assert words in result.error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--main-gpu", "0", "--tensor-split", "1,1"], "both main_gpu and tensor_split are set"),
        (["--kv-type", "q8_0", "--flash-attention", "off"], "flash attention is off"),
    ],
)
def test_values_that_do_not_go_together_are_one_line_and_exit_code_2(ramify, bundled, arguments, words):
    result = ramify(*arguments, "q")
    assert (result.code, result.out) == (2, "")
    assert words in result.error


def test_a_gpu_that_is_not_there_is_one_line_and_exit_code_2(ramify, bundled):
    result = ramify("-q", "--main-gpu", "15", "q")
    assert (result.code, result.out) == (2, "")
    assert "main_gpu is 15 and llama.cpp finds" in result.error


def test_only_the_kv_type_makes_another_item_of_a_batch():
    def hashed(**engine: Any) -> dict[str, Any]:
        return configuration(
            model={"sha256": "a", "name": "m"},
            reward=None,
            engine=EngineConfig(**engine),
            strategy=MajorityVote(width=1),
            run=RunConfig(),
            sampling=UNFILTERED,
        )

    plain = hashed()
    assert "kv_type" not in plain["engine"]
    for same in ({"workers": 2}, {"main_gpu": 1}, {"tensor_split": "1,1"}, {"flash_attention": "off"}):
        assert hashed(**same) == plain
    assert hashed(kv_type="q8_0") != plain


def test_the_archive_for_a_gpu_machine_is_trimmed_to_what_its_build_needs(tmp_path: Path):
    script = ROOT / "benchmarks" / "gpu" / "cuda.py"
    llama = "vendor/llama.cpp"
    names = {
        "CMakeLists.txt": True,
        "llama_cpp/llama_cpp.py": True,
        "docs/index.md": False,
        f"{llama}/CMakeLists.txt": True,
        f"{llama}/src/models/llama.cpp": True,
        f"{llama}/models/ggml-vocab.gguf": False,
        f"{llama}/ggml/src/ggml.c": True,
        f"{llama}/ggml/src/ggml-cuda/mmq.cu": True,
        f"{llama}/ggml/src/ggml-vulkan/shader.comp": False,
        f"{llama}/tools/server/server.cpp": False,
        f"{llama}/tools/batched-bench/main.cpp": True,
    }
    source, target = tmp_path / "package.tar.gz", tmp_path / "small.tar.xz"
    with tarfile.open(source, "w:gz") as package:
        for name in names:
            file = tmp_path / "file"
            file.write_text(name)
            package.add(file, f"llama_cpp_python-9.9/{name}")
    done = subprocess.run([sys.executable, str(script), "trim", str(source), str(target)], check=False)
    assert done.returncode == 0
    with tarfile.open(target) as small:
        found = {name.partition("/")[2] for name in small.getnames()}
        tools = small.extractfile(f"llama_cpp_python-9.9/{llama}/tools/CMakeLists.txt")
        assert tools is not None and b"batched-bench" in tools.read()
    assert found == {name for name, kept in names.items() if kept} | {f"{llama}/tools/CMakeLists.txt"}
    help_ = subprocess.run([sys.executable, str(script), "run", "--help"], capture_output=True, text=True, check=True)
    assert "--steps" in help_.stdout
