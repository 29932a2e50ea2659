"""Addresses of servers, and keys that are shown nowhere."""

from __future__ import annotations

import json
import logging
import pickle
import ssl
import subprocess
from pathlib import Path

import pytest

from ramify.engine.engine import Engine
from ramify.engine.policy.remote.address import ApiKey, parse_address
from ramify.engine.policy.remote.policy import RemotePolicy, RemoteSettings
from ramify.engine.policy.remote.pool import RetryPolicy
from ramify.errors import ModelLoadError, ModelUnreachable, UsageError
from ramify.search.strategies.sampling import MajorityVote

from .asking import SECRET, connect, solve, write
from .http_server import serving


@pytest.mark.parametrize(
    "text", ["openai:", "openai:http://h/v1", "openai:#m", "openai:ftp://h#m", "openai:http://a,b#m"]
)
def test_an_incomplete_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no complete address"):
        parse_address(text)


@pytest.mark.parametrize("text", ["openai:https://u:sesame@h/v1#m", "openai:https://h/v1?key=sesame#m"])
def test_an_address_with_a_secret_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as caught:
        parse_address(text)
    assert "sesame" not in str(caught.value)


async def test_a_key_is_sent_and_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    monkeypatch.setenv("RAMIFY_API_KEY", f" {SECRET}\n")
    with serving(write, SECRET) as server:
        policy = await connect(server)
        solution = await solve(policy, strategy=MajorityVote(width=2))
        assert {each["Authorization"] for each in server.headers} == {f"Bearer {SECRET}"}
        server.key = "changed"
        with pytest.raises(ModelLoadError, match="refuses the key") as caught:
            await solve(policy, strategy=MajorityVote(width=2))
    captured = capfd.readouterr()
    objects = (policy, vars(policy), vars(policy.pool), vars(policy.pool.endpoints[0].transport), caught.value)
    shown = [json.dumps(solution.to_dict(tree=True)), policy.name, str(caught.value), *map(repr, objects)]
    shown += [caplog.text, captured.out, captured.err]
    assert not any(SECRET in text for text in shown)
    assert "Bearer ***" in str(caught.value), "a server that repeats the key does not get it into the error"


@pytest.mark.parametrize("key", ["take", "more", "e", "1", "index", "The"])
async def test_a_short_key_of_a_local_server_changes_no_reply(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list[str | None]()
    for given in (key, SECRET):
        monkeypatch.setenv("RAMIFY_API_KEY", given)
        with serving(write, given) as server:
            found.append((await solve(await connect(server), strategy=MajorityVote(width=2), seed=3)).text)
    assert found[0] == found[1] and "***" not in str(found[0])


def test_a_key_cannot_be_printed_or_pickled() -> None:
    key = ApiKey(SECRET)
    assert SECRET not in f"{key} {key!r} {[key]}"
    with pytest.raises(TypeError, match="not saved"):
        pickle.dumps(key)
    with pytest.raises(UsageError) as caught:
        ApiKey(f"{SECRET}\r\nX-Header: 1")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("http://example.org/v1", False),
        ("http://10.0.0.1:8000/v1", False),
        ("http://localhost.example.org/v1", False),
        ("https://example.org/v1", True),
        ("http://127.0.0.1:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost/v1", True),
    ],
)
def test_a_key_does_not_cross_a_network_unencrypted(url: str, fine: bool) -> None:
    from ramify.engine.policy.remote.address import check_sendable

    check_sendable(None, url)
    if fine:
        check_sendable(ApiKey(SECRET), url)
    else:
        with pytest.raises(UsageError, match="unencrypted") as caught:
            check_sendable(ApiKey(SECRET), url)
        assert SECRET not in str(caught.value)


async def test_an_engine_refuses_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with pytest.raises(UsageError, match="unencrypted"):
        async with Engine("openai:http://192.0.2.1/v1#m", None):
            pass


async def test_a_wrong_certificate_is_refused(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("key.pem", "cert.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    made = subprocess.run([*command, "-keyout", files[0], "-out", files[1]], capture_output=True)
    if made.returncode:
        pytest.skip("openssl is not there to make a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    with serving(write) as server:
        server.encrypt(context)
        address = f"openai:{server.url.replace('http:', 'https:')}#m"
        with pytest.raises(ModelLoadError, match=r"certificate .* is not valid"):
            await RemotePolicy.connect(address, prompt_preset="gsm8k")
        assert not server.headers


async def test_a_proxy_of_the_environment_is_used_except_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving(write) as proxy, serving(write) as direct:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1").removeprefix("http://"))
        await RemotePolicy.connect("openai:http://models.example/v1#m", prompt_preset="gsm8k")
        assert [each["Host"] for each in proxy.headers] == ["models.example"]
        await connect(direct)
        assert (len(direct.headers), len(proxy.headers)) == (1, 1)


async def test_an_https_proxy_is_asked_for_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(write) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.removesuffix("/v1"))
        settings = RemoteSettings(retry=RetryPolicy(attempts=1))
        with pytest.raises(ModelUnreachable, match="cannot be used: it broke off"):
            await RemotePolicy.connect("openai:https://models.example/v1#m", prompt_preset="gsm8k", settings=settings)
        assert not proxy.headers
