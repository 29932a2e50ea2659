"""Searches with models behind servers, and what is asked of those."""

from __future__ import annotations

from typing import Any

import pytest

from ramify.engine.runtime.messages import Turn
from ramify.errors import ModelLoadError
from ramify.sampling_params import TokenSampling
from ramify.search.node import FinishReason
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import MajorityVote

from .asking import QUESTION, connect, expand, request, reward, shape, solve, write
from .http_server import EXAMPLES, serving


@pytest.mark.parametrize("preset", ["gsm8k", None])
@pytest.mark.parametrize("tells", ["vllm", "sglang", "llama", ""])
async def test_the_tree_does_not_depend_on_the_server(tells: str, preset: str | None) -> None:
    with serving(write) as plain, serving(write, tells=tells, stream=tells != "sglang") as other:
        expected = await solve(await connect(plain), reward, strategy=Rebase(width=6), seed=3)
        found = await solve(await connect(other, preset=preset), reward, strategy=Rebase(width=6), seed=3)
    assert shape(found) == shape(expected)
    assert found.answer == expected.answer
    assert {node.finish_reason for node in found.tree or [] if node.parent is not None} == {
        FinishReason.STEP,
        FinishReason.EOS,
    }


async def test_a_vote_counts_what_the_server_generated() -> None:
    with serving(write) as server:
        policy = await connect(server)
        solution = await solve(policy, strategy=MajorityVote(width=8), seed=1)
        assert solution.usage.policy.generated_tokens == server.generated == 8 * (2 * 4 + 5)
    assert solution.answer == "4"
    assert len(solution.candidates) == 8
    assert solution.usage.policy.flops == 0.0
    assert solution.model["policy"] == policy.name == f"openai:{server.url}#m"
    first = next(node for node in solution.tree or [] if node.parent is not None)
    assert first.logprob == -1.5


async def test_sampling_is_asked_for_in_full() -> None:
    with serving(write) as server:
        sampling = TokenSampling(temperature=0.7, top_p=0.9, top_k=40, min_p=0.05)
        await expand(await connect(server), request(sampling=sampling), request(2, "Take 1 more\n", seed=(1 << 64) - 1))
    first, second = sorted(server.texts, key=lambda body: body["prompt"])
    assert (
        first["prompt"] == f"{EXAMPLES}Question: {QUESTION}\nAnswer:"
        and second["prompt"] == first["prompt"] + "Take 1 more\n"
    )
    asked = {name: first[name] for name in ("temperature", "top_p", "top_k", "min_p", "stop", "max_tokens", "seed")}
    assert asked == {**vars_of(sampling), "stop": ["\n"], "max_tokens": 32, "seed": 1}
    assert (second["top_k"], second["min_p"], second["seed"]) == (-1, 0.0, (1 << 63) - 1)


def vars_of(sampling: TokenSampling) -> dict[str, Any]:
    return {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k", "min_p")}


async def test_the_rest_of_a_path_has_no_stop_string() -> None:
    with serving(write) as server:
        found = await expand(await connect(server), request(to_the_end=True))
    assert found[1].text.count("\n") == 2 and found[1].finish_reason is FinishReason.EOS
    assert "stop" not in server.texts[0]


async def test_a_chat_is_continued_with_the_text_so_far() -> None:
    with serving(write) as server:
        await expand(await connect(server, preset=None), request(), request(2, "Take 1 more\n"))
    first, second = sorted((body for body in server.texts), key=lambda body: len(body["messages"]))
    assert [each["role"] for each in first["messages"]] == ["system", "user"]
    assert "continue_final_message" not in first
    assert second["messages"][-1] == {"role": "assistant", "content": "Take 1 more\n"}
    assert second["continue_final_message"] is True and second["add_generation_prompt"] is False


@pytest.mark.parametrize("refused", [frozenset[str](), frozenset({"continue_final_message", "add_generation_prompt"})])
async def test_a_server_that_continues_without_being_told_is_not_told(refused: frozenset[str]) -> None:
    with serving(write, continues="always", refused=refused) as server:
        found = await expand(await connect(server, preset=None), request(1, "Take 1 more\nTake 2 more\n"))
    assert found[1].text.startswith("The answer is")


async def test_a_chat_that_starts_anew_writes_each_path_in_one_go(caplog: pytest.LogCaptureFixture) -> None:
    with serving(write, continues="never") as server:
        solution = await solve(await connect(server, preset=None), strategy=MajorityVote(width=3), seed=1)
        assert solution.answer is not None and len(solution.candidates) == 3
        assert all(each.text.count("\n") == 2 for each in solution.candidates)
        scored = await solve(await connect(server, preset=None), reward, strategy=Rebase(width=3), seed=1)
        assert scored.answer is not None and {node.depth for node in scored.tree or ()} == {0, 1}
        found = await expand(await connect(server, preset=None), request(1, "Take 1 more\n", to_the_end=True))
    assert (found[1].text, found[1].finish_reason) == ("", FinishReason.CONTEXT)
    assert "each path is written in one go" in caplog.text


async def test_a_conversation_goes_on_from_what_was_said() -> None:
    turns = (
        Turn(node=1, text="The answer is 5.", tokens=(), instruction="Look again."),
        Turn(node=2, text="It is wrong.", tokens=(), instruction="Correct it."),
    )
    with serving(write) as server:
        await expand(await connect(server, preset=None), request(to_the_end=True, turns=turns))
        await expand(await connect(server), request(to_the_end=True, turns=turns))
    chat, text = server.texts
    assert [(each["role"], each["content"]) for each in chat["messages"][1:]] == [
        ("user", QUESTION),
        ("assistant", "The answer is 5."),
        ("user", "Look again."),
        ("assistant", "It is wrong."),
        ("user", "Correct it."),
    ]
    told = "The answer is 5.\n\nLook again.\nIt is wrong.\n\nCorrect it.\n"
    assert text["prompt"] == f"{EXAMPLES}Question: {QUESTION}\nAnswer:{told}"


async def test_a_server_without_a_chat_template_is_refused_with_what_to_do() -> None:
    with serving(write, refused=frozenset({"messages"})) as server:
        with pytest.raises(ModelLoadError, match=r"does not chat .* choose a prompt preset"):
            await connect(server, preset=None)
        assert len(await expand(await connect(server), request())) == 1
