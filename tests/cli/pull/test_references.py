"""References to files on the hub."""

from __future__ import annotations

import pytest

from ramify.engine.library.hub.reference import HubRef, parse_reference, quantization_of
from ramify.errors import UsageError


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("hf:a/b", HubRef(repo="a/b")),
        ("hf:a/b:IQ4_XS", HubRef(repo="a/b", quantization="IQ4_XS")),
        ("hf:a/b@v1.0:q8_0", HubRef(repo="a/b", revision="v1.0", quantization="q8_0")),
        ("hf:a/b@refs/pr/3/d/m.gguf", HubRef(repo="a/b", revision="refs/pr/3", file="d/m.gguf")),
    ],
)
def test_references_are_read_and_written_alike(text, ref):
    assert parse_reference(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize("text", ["hf:", "hf:a", "hf:a/", "hf:a/b/", "hf:a/b@", "hf:./../x.gguf", "hf:a/b:", "a/b"])
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(UsageError):
        parse_reference(text)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf", "q4_k_m"),
        ("Llama-3.2-1B-Instruct-IQ4_XS.gguf", "iq4_xs"),
        ("x/ggml-model-f16.gguf", "f16"),
        ("m.fp16.gguf", "f16"),
        ("m-UD-Q4_K_XL.gguf", "ud-q4_k_xl"),
        ("BF16/m-BF16-00001-of-00002.gguf", "bf16"),
        ("qwen3-8b.gguf", ""),
    ],
)
def test_quantizations_are_read_from_names(file, kind):
    assert quantization_of(file) == kind
