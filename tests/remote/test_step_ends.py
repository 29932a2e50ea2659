"""Ends of steps of a model behind a server."""

from __future__ import annotations

import time

import pytest

from ramify.engine.policy.remote.pending import PendingStep
from ramify.engine.policy.remote.policy import RemotePolicy
from ramify.engine.policy.remote.reply import ReplyParser
from ramify.engine.runtime.messages import StepResult
from ramify.errors import UsageError
from ramify.search.node import FinishReason
from ramify.search.strategies.sampling import Greedy

from .asking import connect, expand, request, solve, write
from .http_server import Ask, serving


async def test_a_truncated_step_and_a_full_context_are_told_apart() -> None:
    def endless(ask: Ask) -> list[str]:
        return [" on"] * 20

    with serving(endless) as server:
        found = await expand(await connect(server), request(max_tokens=5), request(2, max_tokens=50))
    assert (found[1].finish_reason, found[1].text, found[1].generated_tokens) == (FinishReason.LENGTH, " on" * 5, 5)
    assert (found[2].finish_reason, found[2].generated_tokens) == (FinishReason.EOS, 21)
    with serving(endless, context_tokens=15) as server:
        found = await expand(await connect(server), request(1, " on" * 30))
        assert (found[1].finish_reason, found[1].text) == (FinishReason.CONTEXT, "")
        policy = await connect(server)
        assert policy.context_tokens == 15
        session = await policy.open("far too long " * 20)
        with pytest.raises(UsageError, match="does not fit"):
            await session.expand([request()], allowance=None, on_result=lambda result: None)


async def test_a_step_that_starts_with_its_separator_is_whole() -> None:
    def led(ask: Ask) -> list[str]:
        return ["\n", "\n", "One", "\n", "Two", "\n"]

    with serving(led) as server:
        policy = await connect(server)
        found = await expand(policy, request(), request(2))
        again = await expand(policy, request(3))
    texts = {each.text for each in (*found.values(), *again.values())}
    assert texts == {"\n\nOne\n"} and found[1].finish_reason is FinishReason.STEP
    assert len(server.texts) == 2 * 2 + 1, "once it is known, stop strings are left out at once"


async def test_without_word_of_the_server_an_answer_is_the_end() -> None:
    with serving(write, tells="") as server:
        found = await expand(await connect(server), request(), request(2, "Take 1 more\nTake 2 more\n"))
    assert (found[1].finish_reason, found[1].text[-1]) == (FinishReason.STEP, "\n")
    assert (found[2].finish_reason, found[2].text[-1]) == (FinishReason.EOS, ".")


async def test_a_pattern_without_fixed_text_is_cut_here() -> None:
    with serving(write) as server:
        address = f"openai:{server.url}#m"
        policy = await RemotePolicy.connect(address, prompt_preset="gsm8k", step_format=r"regex:\d+ more")
        found = await expand(policy, request())
    assert found[1].text.endswith(" more") and "stop" not in server.texts[0]
    assert (found[1].finish_reason, found[1].generated_tokens) == (FinishReason.STEP, 3)


@pytest.mark.parametrize("ignored", [False, True])
async def test_a_short_step_goes_on_with_the_next(ignored: bool) -> None:
    def lines(ask: Ask) -> list[str]:
        return ["One", "\n", "two", "\n", "three", "\n", "four", "\n"][2 * ask.prefix.count("\n") :]

    with serving(lines, ignore_stop=ignored) as server:
        found = await expand(await connect(server), request(min_tokens=4))
    assert found[1].finish_reason is FinishReason.STEP and found[1].text in ("One\ntwo\n", "One\ntwo\nthree\n")


@pytest.mark.parametrize("ignored", [False, True])
async def test_a_code_fence_and_a_heading_are_no_step_of_their_own(ignored: bool) -> None:
    tokens = ["**Step 1**", "\n\n", "```\n", "a", "\n\n", "b", "\n```", "\n\n", "Then"]

    def fenced(ask: Ask) -> list[str]:
        left, text = list(tokens), ask.prefix
        while text and left:
            text = text[len(left.pop(0)) :]
        return left

    with serving(fenced, ignore_stop=ignored) as server:
        policy = await RemotePolicy.connect(f"openai:{server.url}#m", prompt_preset="gsm8k", step_format="blank-line")
        found = await expand(policy, request())
    assert (found[1].text, found[1].finish_reason) == ("".join(tokens[:-1]), FinishReason.STEP)


CHECKED = ["4", " so", " \\boxed{4}", "\n", "Check:", " 2+2", " is", " \\boxed{5}"]


@pytest.mark.parametrize("preset", ["text", "chat:math"])
async def test_a_path_goes_on_after_the_first_answer_in_it(preset: str) -> None:
    def checked(ask: Ask) -> list[str]:
        return CHECKED[4:] if "boxed{4}" in ask.prefix else CHECKED

    with serving(checked) as server:
        found = await solve(await connect(server, preset=preset), strategy=Greedy())
    assert (found.answer, found.text) == ("5", "".join(CHECKED))


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["So", "\n", "The answer is", " 4.", "\n", "Question:", " more", "\n"], "So\nThe answer is 4."),
        (["It is", " 4.", "\n", "Ques", "tion:", " What", "\n", "Answer: 9"], "It is 4.\n"),
        (["Question 2", ":", " What", "\n"], ""),
    ],
)
async def test_a_base_model_stops_after_its_answer_and_before_another_question(
    tokens: list[str], text: str, ignored: bool
) -> None:
    def rambling(ask: Ask) -> list[str]:
        left, prefix = list(tokens), ask.prefix
        while prefix and left:
            prefix = prefix[len(left.pop(0)) :]
        return [*left, *[" on"] * 50]

    with serving(rambling, ignore_stop=ignored) as server:
        found = await solve(await connect(server), strategy=Greedy())
    assert found.tree is not None
    (end,) = found.tree.finished_nodes()
    assert (found.tree.path_text(end.id), end.finish_reason) == (text, FinishReason.EOS)


async def test_a_stop_sequence_that_comes_in_a_second_request_ends_the_path() -> None:
    def lines(ask: Ask) -> list[str]:
        return ["One", "\n", "Question:", " two", "\n"][2 * ask.prefix.count("\n") :]

    with serving(lines) as server:
        found = await expand(await connect(server), request(min_tokens=4))
    assert (found[1].text, found[1].finish_reason) == ("One\n", FinishReason.EOS)


def test_a_step_tells_when_its_first_piece_arrived() -> None:
    results = list[StepResult]()
    step = PendingStep(request(), results.append)
    parser = ReplyParser([step.start(None)])
    parser.take_line(b'data: {"choices": [{"index": 0, "text": ""}]}')
    before = time.monotonic()
    parser.take_line(b'data: {"choices": [{"index": 0, "text": "Take"}]}')
    after = time.monotonic()
    parser.take_line(b'data: {"choices": [{"index": 0, "text": " 1 more", "finish_reason": "stop"}]}')
    step.append("")
    step.complete(FinishReason.EOS)
    (result,) = results
    assert result.first_token_at is not None
    assert before <= result.first_token_at <= after
