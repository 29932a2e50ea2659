"""Servers that do not do what they are asked: they are noticed, and the search goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from ramify.errors import ModelLoadError, ModelUnreachable
from ramify.sampling_params import TokenSampling
from ramify.search.node import FinishReason
from ramify.search.strategies.sampling import MajorityVote

from .asking import connect, expand, request, shape, solve, write
from .http_server import Ask, serving


async def test_a_server_that_ignores_stop_is_cut_and_noticed(caplog: pytest.LogCaptureFixture) -> None:
    with serving(write) as good, serving(write, ignore_stop=True, stream=False) as bad:
        expected = await solve(await connect(good), strategy=MajorityVote(width=4))
        found = await solve(await connect(bad), strategy=MajorityVote(width=4))
        assert [row[:2] for row in shape(found)] == [row[:2] for row in shape(expected)]
        assert found.usage.policy.generated_tokens == bad.generated > expected.usage.policy.generated_tokens
    assert [record.message for record in caplog.records if "ignores stop" in record.message] == [
        f"{bad.url} ignores stop strings; steps are cut here, and what it wrote beyond is charged"
    ]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_stream_is_left_when_its_step_has_ended(backend: str) -> None:
    def long(ask: Ask) -> list[str]:
        return ["Go", "\n", *[" on" * 100] * 3000]

    async def main() -> None:
        found = await expand(await connect(server), request(max_tokens=5000))
        assert (found[1].text, found[1].finish_reason, found[1].generated_tokens) == ("Go\n", FinishReason.STEP, 2)
        with anyio.fail_after(10):
            while not server.broken_off:
                await anyio.sleep(0.01)

    with serving(long, ignore_stop=True) as server:
        anyio.run(main, backend=backend)


async def test_a_reply_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ramify.engine.policy.remote.http.LARGEST_REPLY", 10_000)
    with serving(lambda ask: [" on" * 9000], usage=None) as server:
        with pytest.raises(ModelUnreachable, match="its reply is too long"):
            await expand(await connect(server), request(to_the_end=True))


async def test_lines_are_read_however_they_are_cut() -> None:
    with serving(lambda ask: ["a\u2028b\r", "\u00e4" * 5, "\n"]) as server:
        found = await expand(await connect(server), request())
    assert found[1].text == "a\u2028b\r\u00e4\u00e4\u00e4\u00e4\u00e4\n"


@pytest.mark.parametrize("tells", ["vllm", "llama"])
@pytest.mark.parametrize("ignore_n", [False, True])
async def test_siblings_can_share_a_request(ignore_n: bool, tells: str, caplog: pytest.LogCaptureFixture) -> None:
    with serving(write, ignore_n=ignore_n, tells=tells) as server:
        policy = await connect(server, siblings_together=True)
        found = await expand(policy, *(request(child) for child in (1, 2, 3)), request(4, "Take 1 more\n", parent=9))
        assert len(server.texts) == (4 if ignore_n else 2)
        assert sum(each.generated_tokens for each in found.values()) == server.generated
    assert all(each.text.endswith(" more\n") for each in found.values())
    assert ["ignores n" in record.message for record in caplog.records] == [True][:ignore_n]


@pytest.mark.parametrize(
    ("usage", "noticed"), [(0, False), (-9, True), (40, True), (None, False)], ids=["right", "low", "high", "none"]
)
async def test_the_servers_count_is_checked(usage: int | None, noticed: bool, caplog: pytest.LogCaptureFixture) -> None:
    with serving(write, usage=usage) as server:
        policy = await connect(server)
        found = await expand(policy, *(request(child, to_the_end=True) for child in (1, 2)))
        written = server.generated // 2
    # The end-of-sequence token is counted, but not listed.
    charged = {0: written, 40: written + 40}.get(usage or 0, written - 1) if usage is not None else written - 1
    assert [each.generated_tokens for each in found.values()] == [charged] * 2
    said = [record.message for record in caplog.records if "counts its tokens" in record.message]
    assert (
        said == [f"{server.url} counts its tokens otherwise than it lists them; the larger number is charged"][:noticed]
    )


async def test_fields_that_a_server_does_not_know_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    unknown = frozenset({"top_k", "min_p", "repetition_penalty", "seed", "logprobs", "stream_options", "max_tokens"})
    with serving(write, refused=unknown - {"max_tokens"}) as server:
        policy = await connect(server)
        found = await expand(policy, request(), request(2))
        assert set(found) == {1, 2} and found[1].logprob is None
        assert any("takes no seed" in record.message for record in caplog.records)
        with pytest.raises(ModelLoadError, match="top_k"):
            await expand(policy, request(sampling=TokenSampling(top_k=5)))


def _replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda line: line.replace(old, new)


@pytest.mark.parametrize(
    "manners",
    [
        {"dialect": _replaced(b"[-0.5]", b"[-Infinity]")},
        {"dialect": _replaced(b"[-0.5]", b"[NaN]")},
        {"dialect": _replaced(b"[-0.5]", b"[-1e999]")},
        {"dialect": _replaced(b"[-0.5]", b"[null]")},
        {"dialect": _replaced(b"data: ", b"data: : keepalive\n\ndata: ")},
        {"dialect": _replaced(b"data: ", b": keepalive\n\ndata: ")},
        {"dialect": _replaced(b"data: ", b"data:\n\ndata: ")},
        {"dialect": _replaced(b"\n\n", b"\r\n\r\n")},
        {"dialect": _replaced(b"data: ", b"event: message\nid: 7\ndata:")},
        {"lead": b'data: {"choices": [], "usage": {"prompt_tokens": null, "completion_tokens": null}}\n\n'},
        {"lead": b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": null}}\n\n'},
        {"lead": b'data: {"choices": [], "usage": {}}\n\n'},
        {"lead": b'data: {"choices": null}\n\n'},
        {"lead": b'data: {"choices": [null]}\n\n'},
        {"lead": b'data: {"choices": [{"index": null, "text": null, "logprobs": null}]}\n\n'},
        {"lead": b'data: {"choices": [{"logprobs": {"content": [null], "token_logprobs": null}}]}\n\n'},
        {"kind": "Text/Event-Stream"},
        {"kind": "text/plain"},
        {"lead": b"\xef\xbb\xbf"},
        {"lead": b"\xef\xbb\xbf", "kind": "text/plain"},
    ],
    ids=lambda manners: ",".join(manners),
)
async def test_a_dialect_changes_nothing(manners: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with serving(write) as plain, serving(write, **manners) as server:
        expected = await solve(await connect(plain), strategy=MajorityVote(width=4))
        found = await solve(await connect(server), strategy=MajorityVote(width=4))
        assert shape(found) == shape(expected) and found.answer == expected.answer is not None
        assert found.usage.policy.generated_tokens == server.generated
    assert not caplog.records


async def test_a_log_probability_that_is_no_number_is_left_out() -> None:
    def one_in_four(line: bytes) -> bytes:
        return line.replace(b"[-0.5]", b"[-Infinity]") if b'" more"' in line else line

    with serving(write, dialect=one_in_four) as server:
        found = await expand(await connect(server), request())
    assert (found[1].logprob, found[1].generated_tokens) == (-1.0, 4)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a \ud83d", "\ude00 b"], "a \U0001f600 b"),
        (["\ud83d", "", "\ude00"], "\U0001f600"),
        (["\ud83d", " b"], "\ufffd b"),
        (["\ude00 b"], "\ufffd b"),
        (["b \ud83d"], "b \ufffd"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_halves_of_a_character_are_joined(pieces: list[str], text: str, stream: bool) -> None:
    with serving(lambda ask: pieces, stream=stream) as server:
        found = await expand(await connect(server), request(to_the_end=True))
    assert (found[1].text, found[1].finish_reason) == (text, FinishReason.EOS)
