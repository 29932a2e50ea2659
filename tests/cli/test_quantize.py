from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ramify.engine.library.catalog import list_bundled, resolve_model
from ramify.engine.library.quantize import QUANTIZATIONS, plan_quantization, quantization_named, quantize
from ramify.engine.runtime.llama.gguf_check import check_gguf
from ramify.errors import UsageError

pytestmark = pytest.mark.usefixtures("bundled")

QUESTION = "Tom has 3 apples. Tom buys 4 more apples. How many apples does Tom have now?"
F16, Q4_0, Q8_0 = 1, 2, 8
"""Tensor types in ggml.h."""


@pytest.fixture
def folder(monkeypatch, tmp_path) -> Path:
    path = tmp_path / "models"
    monkeypatch.setenv("RAMIFY_MODELS_DIR", str(path))
    return path


@pytest.fixture
def source(tmp_path) -> Path:
    return Path(shutil.copy(weights("demo-m", "f16"), tmp_path / "mine-F16.gguf"))


def weights(name: str, kind: str) -> Path:
    return next(entry for entry in list_bundled() if entry.name == name).files[kind]


@pytest.mark.parametrize(("kind", "tensor_type"), [("q8_0", Q8_0), ("q4_0", Q4_0)])
def test_a_bundled_model_is_quantized_and_solves_a_problem(ramify, folder, kind, tensor_type):
    result = ramify("models", "quantize", "demo-m:f16", kind)
    target = folder / f"demo-m.{kind}.gguf"
    assert (result.code, result.out) == (0, f"{target}\n"), result.err
    assert result.err.splitlines()[-1].startswith("2.1 MB before, ")
    types = check_gguf(target).tensor_types
    assert tensor_type in types
    assert F16 not in types
    assert target.stat().st_size < 0.6 * weights("demo-m", "f16").stat().st_size
    assert [path.name for path in folder.iterdir()] == [target.name]
    solved = ramify("--model", f"demo-m.{kind}", "--strategy", "majority", "--seed", "0", "--json", QUESTION)
    assert json.loads(solved.out)["answer"] == "7"


def test_the_type_of_a_named_file_is_read_from_its_name(ramify, folder, source, tmp_path):
    out = tmp_path / "small" / "small-Q8_0.gguf"
    assert ramify("models", "quantize", str(source), str(out)).out == f"{out}\n"
    assert Q8_0 in check_gguf(out).tensor_types
    plain = tmp_path / "small.gguf"
    result = ramify("models", "quantize", str(source), str(plain))
    assert (result.code, "add --type" in result.error) == (2, True)
    assert ramify("models", "quantize", str(source), str(plain), "--type", "Q8_0").code == 0
    assert plain.read_bytes() == out.read_bytes()


def test_with_a_type_alone_the_file_lies_beside_one_that_is_a_path(ramify, folder, source):
    result = ramify("models", "quantize", str(source), "q8_0")
    assert result.out == f"{source.with_name('mine-q8_0.gguf')}\n"


def test_shapes_that_a_type_cannot_have_are_told(ramify, folder):
    result = ramify("models", "quantize", "demo-m:f16", "q4_k")
    assert result.code == 0
    assert "tensors have a shape that q4_k_m cannot have and got another type" in result.err


def test_an_existing_file_is_replaced_only_by_force(ramify, folder, source):
    target = source.with_name("mine-q8_0.gguf")
    target.write_bytes(b"old")
    result = ramify("models", "quantize", str(source), "q8_0")
    assert (result.code, target.read_bytes()) == (2, b"old")
    assert "name another file or pass --force" in result.error
    assert ramify("models", "quantize", str(source), "q8_0", "--force").code == 0
    assert Q8_0 in check_gguf(target).tensor_types


def test_the_input_is_never_replaced(ramify, folder, source):
    before = source.read_bytes()
    result = ramify("models", "quantize", str(source), str(source), "--type", "q8_0", "--force")
    assert (result.code, "is the input itself" in result.error) == (2, True)
    assert source.read_bytes() == before


def test_a_quantized_file_is_taken_only_if_that_is_wanted(ramify, folder):
    result = ramify("models", "quantize", "demo-m:q8_0", "q4_0")
    assert result.code == 2
    assert "is quantized already" in result.error
    assert "--allow-requantize" in result.error
    result = ramify("models", "quantize", "demo-m:q8_0", "q4_0", "--allow-requantize")
    assert (result.code, result.out) == (0, f"{folder / 'demo-m.q4_0.gguf'}\n")
    assert result.err.startswith("note: demo-m.q8_0.gguf is quantized already; the result is worse")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["demo-m:f16", "q4_k_n"], 2, "did you mean q4_k_"),
        (["demo-m:f16", "tiny"], 2, "the types are q2_k, "),
        (["demo-m:f16", "q8_0", "--type", "q4_0"], 2, "give the type once"),
        (["demo-m:f16", "./x.bin"], 2, "does not end in .gguf"),
        (["demo-n:f16", "q8_0"], 3, "did you mean 'demo-"),
        ([__file__, "q8_0"], 3, "is not a GGUF file"),
        (["demo-m:f16", "/dev/null/x.gguf", "--type", "q8_0"], 3, "cannot be written"),
    ],
)
def test_mistakes_are_told_apart(ramify, folder, arguments, code, message):
    result = ramify("models", "quantize", *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.err.splitlines()[-1]
    assert not folder.exists()


def test_a_torn_input_is_refused(ramify, folder, source):
    with source.open("r+b") as stream:
        stream.truncate(source.stat().st_size // 2)
    result = ramify("models", "quantize", str(source), "q8_0")
    assert result.code == 3
    assert "truncated" in result.error


def test_a_failure_of_llama_cpp_leaves_nothing_behind(ramify, folder):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
        result = ramify("models", "quantize", "demo-m:f16", "q8_0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert (result.code, result.out) == (3, "")
    error = result.err.splitlines()[-1]
    assert "failed to quantize" in error
    assert "check that the disk has room" in error
    assert list(folder.iterdir()) == []


def test_a_death_of_the_child_is_told(ramify, folder, monkeypatch):
    monkeypatch.setitem(QUANTIZATIONS, "q8_0", "MOSTLY_NONE")
    result = ramify("models", "quantize", "demo-m:f16", "q8_0")
    assert result.code == 3
    assert "AttributeError" in result.err
    assert list(folder.iterdir()) == []


def test_native_output_stays_out_of_both_streams(process, folder):
    result = process("models", "quantize", "demo-m:f16", "q8_0")
    assert (result.code, result.out) == (0, f"{folder / 'demo-m.q8_0.gguf'}\n")
    assert len(result.err.splitlines()) == 2, result.err


def test_a_reward_models_head_goes_along(ramify, folder, tmp_path):
    source = Path(shutil.copy(weights("demo-prm", "f16"), tmp_path / "prm.gguf"))
    head = source.with_suffix(".head.safetensors")
    head.write_bytes(b"head")
    out = tmp_path / "out" / "prm-q8_0.gguf"
    assert ramify("models", "quantize", str(source), str(out)).out.splitlines() == [
        str(out),
        str(out.parent / head.name),
    ]
    assert (out.parent / head.name).read_bytes() == b"head"


def test_every_type_is_one_of_the_library():
    native = pytest.importorskip("llama_cpp.llama_cpp")
    assert [kind for kind, name in QUANTIZATIONS.items() if not hasattr(native, f"LLAMA_FTYPE_{name}")] == []


def test_every_type_is_in_the_help(ramify):
    text = " ".join(ramify("models", "quantize", "--help").out.split())
    assert ", ".join(QUANTIZATIONS) in text


@pytest.mark.parametrize(("text", "kind"), [("Q4_K_M", "q4_k_m"), ("q5-k", "q5_k_m"), (" F16 ", "f16")])
def test_types_are_read_as_people_write_them(text, kind):
    assert quantization_named(text) == kind


def test_unknown_types_are_refused():
    with pytest.raises(UsageError, match="did you mean q6_k"):
        quantization_named("q6_m")


def test_a_models_name_is_found_after_quantizing(ramify, folder):
    ramify("models", "quantize", "demo-s:f16", "q8_0")
    assert resolve_model("demo-s.q8_0").path == folder / "demo-s.q8_0.gguf"
    assert os.listdir(folder) == ["demo-s.q8_0.gguf"]


def test_the_same_file_may_be_made_twice_at_a_time(folder):
    target = folder / "demo-s.q4_0.gguf"

    def make(_: int) -> int:
        plan = plan_quantization("demo-s:f16", str(target), force=True)
        return quantize(plan, lambda done, of: None, threads=1).after_bytes

    with ThreadPoolExecutor(4) as makers:
        sizes = set(makers.map(make, range(4)))
    assert sizes == {target.stat().st_size}
    assert [path.name for path in folder.iterdir()] == [target.name]
