"""Damaged model files load, or fail with one line: they never end the process that asked for them."""

from __future__ import annotations

import os
import random
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from ramify.engine.runtime.llama.gguf_check import check_gguf
from ramify.engine.runtime.llama.probe import findings
from ramify.engine.runtime.serve.client import Runtime
from ramify.errors import ExitCode, ModelLoadError, RamifyError

from .driving import PROMPT, config_of, expand, step_request
from .tiny_gguf import Shape, write_tiny

FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the metadata types of one length."""
FLIPS = 60
"""Files with noise for each kind of weights; thousands were tried by hand."""

Case = tuple[str, bytes]


@dataclass(frozen=True)
class Anatomy:
    """Where things are in a GGUF file: start, then place of the value or of the first dimension, then end."""

    data: bytes
    keys: dict[str, tuple[int, int, int]]
    kinds: dict[str, int]
    tensors: dict[str, tuple[int, int, int]]

    @property
    def header_end(self) -> int:
        return max(end for _, _, end in self.tensors.values()) + 12

    def patched(self, at: int, form: str, value: float) -> bytes:
        size = struct.calcsize(form)
        return self.data[:at] + struct.pack(form, value) + self.data[at + size :]


def anatomy(data: bytes) -> Anatomy:
    def text(at: int) -> tuple[str, int]:
        (length,) = struct.unpack_from("<Q", data, at)
        return data[at + 8 : at + 8 + length].decode(), at + 8 + length

    tensors, keys = struct.unpack_from("<QQ", data, 8)
    at = 24
    found = Anatomy(data, {}, {}, {})
    for _ in range(keys):
        start = at
        name, at = text(at)
        (kind,) = struct.unpack_from("<I", data, at)
        value = at = at + 4
        if kind in FIXED:
            at += FIXED[kind]
        elif kind == 8:
            at = text(at)[1]
        else:
            inner, count = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(count):
                at = at + FIXED[inner] if inner in FIXED else text(at)[1]
        found.keys[name], found.kinds[name] = (start, value, at), kind
    for _ in range(tensors):
        start = at
        name, at = text(at)
        (dimensions,) = struct.unpack_from("<I", data, at)
        found.tensors[name] = (start, at + 4, at + 4 + 8 * dimensions)
        at += 4 + 8 * dimensions + 12
    return found


def truncated(whole: Anatomy) -> Iterator[Case]:
    places = {4, 8, 23, 24, *(start for start, _, _ in (*whole.keys.values(), *whole.tensors.values()))}
    places |= {value + 1 for _, value, _ in whole.keys.values()}
    places |= {whole.header_end, whole.header_end + 40, len(whole.data) // 2, len(whole.data) - 1}
    for place in sorted(places):
        yield f"cut at {place}", whole.data[:place]


def absurd_metadata(whole: Anatomy) -> Iterator[Case]:
    for place, name in ((4, "version"), (8, "tensors"), (16, "keys")):
        for value in (0, 1, 1 << 31):
            yield f"{name} {value}", whole.patched(place, "<I", value)
    for name, (_, value, _) in whole.keys.items():
        kind = whole.kinds[name]
        if kind == 4:
            for number in (0, 1, 3, 255, 1 << 20, 0xFFFFFFFF):
                yield f"{name} {number}", whole.patched(value, "<I", number)
        elif kind == 6:
            for number in (0.0, -1.0, float("nan"), float("inf")):
                yield f"{name} {number}", whole.patched(value, "<f", number)
        elif kind == 9:
            for number in (0, 1, 5, 1 << 31, 1 << 62):
                yield f"{name} count {number}", whole.patched(value + 4, "<Q", number)
            for number in (0, 4, 9, 77):
                yield f"{name} of {number}", whole.patched(value, "<I", number)
        else:
            yield f"{name} long", whole.patched(value, "<Q", 1 << 62)


def wrong_shapes(whole: Anatomy) -> Iterator[Case]:
    for name in ("token_embd", "output_norm", "blk.0.attn_q", "blk.1.ffn_up"):
        _, shape, end = whole.tensors[f"{name}.weight"]
        for number in (0, 1, 32, 63, 65, 128, 1 << 40, 1 << 63):
            yield f"{name} first {number}", whole.patched(shape, "<Q", number)
        for number in (0, 1, 3, 5):
            yield f"{name} dimensions {number}", whole.patched(shape - 4, "<I", number)
        # Types that are quantized have the processor probed, which takes a while.
        for number in (1, 8, 29, 99) if name == "blk.0.attn_q" else (1,):
            yield f"{name} type {number}", whole.patched(end, "<I", number)
        for number in (1, 16, 1 << 20, 1 << 62):
            yield f"{name} at {number}", whole.patched(end + 4, "<Q", number)


def noise(whole: Anatomy, count: int) -> Iterator[Case]:
    source = random.Random(0)
    for number in range(count):
        data = bytearray(whole.data)
        at = source.randrange(whole.header_end)
        for _ in range(source.choice((1, 1, 2, 4))):
            data[at + source.randrange(8)] = source.randrange(256)
        yield f"noise {number} at {at}", bytes(data)


async def outcomes(cases: Iterator[Case], file: Path) -> Counter[str]:
    """Load each file and generate with it; return how often what happened."""
    seen = Counter[str]()
    async with Runtime() as runtime:
        for name, data in cases:
            file.write_bytes(data)
            try:
                with anyio.fail_after(30):
                    loaded = await runtime.load(config_of(file, context_tokens=512))
                    run = await loaded.open_run(PROMPT[:3])
                    await expand(run, step_request(1, max_tokens=3))
                    loaded.tokenizer.encode("ab", special=False)
                    run.close()
                seen["loaded"] += 1
            except RamifyError as error:
                assert error.exit_code == ExitCode.MODEL, f"{name}: {error!r}"
                assert "\n" not in str(error) and len(str(error)) < 400, f"{name}: {error}"
                assert str(file) in str(error) or "died" in str(error), f"{name}: {error}"
                seen[type(error).__name__] += 1
            file.unlink()
    return seen


@pytest.fixture(scope="module")
def sound(folder: Path) -> Anatomy:
    return anatomy(write_tiny(folder / "sound.gguf", Shape(end_bias=-60.0)).read_bytes())


async def test_a_file_cut_anywhere_is_refused(sound: Anatomy, tmp_path: Path) -> None:
    seen = await outcomes(truncated(sound), tmp_path / "case.gguf")
    assert set(seen) == {"ModelLoadError"}


async def test_absurd_metadata_loads_or_is_refused(sound: Anatomy, tmp_path: Path) -> None:
    seen = await outcomes(absurd_metadata(sound), tmp_path / "case.gguf")
    assert seen["ModelLoadError"] > 30


async def test_wrong_shapes_types_and_places_load_or_are_refused(sound: Anatomy, tmp_path: Path) -> None:
    seen = await outcomes(wrong_shapes(sound), tmp_path / "case.gguf")
    assert seen["ModelLoadError"] > 50


@pytest.mark.parametrize("quantized", ["", "Q8_0"])
async def test_noise_in_the_header_loads_or_is_refused(tmp_path: Path, quantized: str) -> None:
    whole = anatomy(write_tiny(tmp_path / "whole.gguf", Shape(end_bias=-60.0), quantized=quantized).read_bytes())
    await outcomes(noise(whole, FLIPS), tmp_path / "case.gguf")
    # A damaged file says nothing about the processor.
    assert len(findings()) <= 1


@pytest.mark.parametrize("damage", ["twice", "bare"])
async def test_a_vocabulary_that_cannot_be_used_is_refused(tmp_path: Path, damage: str) -> None:
    data = write_tiny(tmp_path / "whole.gguf", damage=damage).read_bytes()
    seen = await outcomes(iter([(damage, data)]), tmp_path / "case.gguf")
    assert seen == {"ModelLoadError": 1}


def test_a_link_to_a_model_is_a_model_and_a_link_to_nothing_is_none(sound: Anatomy, tmp_path: Path) -> None:
    (tmp_path / "whole.gguf").write_bytes(sound.data)
    (tmp_path / "link.gguf").symlink_to("whole.gguf")
    (tmp_path / "broken.gguf").symlink_to("none.gguf")
    (tmp_path / "loop.gguf").symlink_to("loop.gguf")
    assert check_gguf(tmp_path / "link.gguf").architecture == "qwen2"
    with pytest.raises(ModelLoadError, match="there is no file"):
        check_gguf(tmp_path / "broken.gguf")
    with pytest.raises(ModelLoadError, match="cannot be read"):
        check_gguf(tmp_path / "loop.gguf")


def test_a_file_that_may_not_be_read_is_named(sound: Anatomy, tmp_path: Path) -> None:
    file = tmp_path / "secret.gguf"
    file.write_bytes(sound.data)
    file.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(ModelLoadError, match="cannot be read: Permission denied") as caught:
            check_gguf(file)
    finally:
        if root:
            os.seteuid(0)
    assert "permissions" in caught.value.next_step
