"""Repositories, addresses and tokens with which nothing can be pulled."""

from __future__ import annotations

import socket
import sys

import pytest

from .hub_server import FILE, REPO


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("hf:someone/else/tiny.gguf", "there is no repository someone/else on the hub; check its name"),
        (f"hf:{REPO}/tiny-q8.gguf", f"holds no file 'tiny-q8.gguf'; did you mean '{FILE}'?"),
        (f"hf:{REPO}@v7/{FILE}", f"{REPO} has no revision 'v7'"),
        (f"hf:{REPO}:q4_k_m", "holds no file with the quantization 'q4_k_m'; it comes as q8_0"),
        (f"hf:{REPO}/README.md", "'README.md' is not a .gguf file"),
        ("hf:tiny.gguf", "write hf:OWNER/REPO/FILE.gguf"),
        (f"hf:{REPO}/../{FILE}", "is no path of a file in a repository"),
        ("hf:../../etc/x.gguf", "is no reference to a file"),
        ("https://huggingface.co/x", "is no reference to a file"),
    ],
)
def test_wrong_references_are_told_apart(ramify, hub, folder, reference, message):
    result = ramify("models", "pull", reference)
    assert (result.code, result.out) == (2, "")
    assert message in result.error
    assert not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.parametrize(("code", "exit_code"), [("GatedRepo", 3), ("RepoNotFound", 2)])
def test_a_closed_repository_says_how_to_log_in(ramify, hub, folder, code, exit_code):
    hub.denial = 401, code
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == exit_code
    assert "log in with `hf auth login` or set HF_TOKEN" in result.error


def test_the_token_goes_to_the_hub_and_nowhere_else(ramify, hub, folder, monkeypatch):
    hub.denial = 401, "GatedRepo"
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 0
    assert {each.authorized for each in hub.requests if not each.path.startswith("/cdn/")} == {True}
    assert [each.authorized for each in hub.contents()] == [False]
    assert "verysecret" not in result.out + result.err + (folder / "tiny-q8_0.hub.json").read_text()


@pytest.mark.parametrize("address", ["http://hub.example", "http://10.0.0.7:8080"])
def test_a_token_is_not_sent_unencrypted(ramify, hub, folder, monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 2 and "would go to" in result.error and "unencrypted" in result.error
    assert "verysecret" not in result.out + result.err


def test_a_server_that_is_down_is_no_bug(ramify, hub, folder, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 3
    assert f"cannot be asked about {REPO}" in result.error


def test_an_address_that_is_none_is_refused(ramify, hub, folder, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "localhost")
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 2
    assert "HF_ENDPOINT is 'localhost'" in result.error


def test_offline_uses_what_is_there_and_asks_nobody(ramify, hub, folder, monkeypatch):
    ramify("models", "pull", f"hf:{REPO}/{FILE}")
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").out == f"{folder / FILE}\n"
    result = ramify("models", "pull", f"hf:{REPO}/other.gguf")
    assert result.code == 3
    assert "HF_HUB_OFFLINE forbids asking the hub" in result.error
    assert ramify("models", "pull", f"hf:{REPO}").code == 3
    assert hub.requests == []


def test_without_huggingface_hub_the_extra_is_named(ramify, hub, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 2
    assert "pip install 'ramify[hub]'" in result.error
