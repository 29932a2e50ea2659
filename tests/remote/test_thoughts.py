"""Thoughts of models behind servers: taken into the path where a server keeps them apart, and switched there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ramify.answers.kinds import AnswerKind
from ramify.engine.policy.prompts.prompt_files import PRESETS
from ramify.engine.policy.prompts.step_formats import STEP_FORMATS
from ramify.engine.policy.remote.dialect import Dialect
from ramify.engine.policy.remote.policy import RemotePolicy
from ramify.engine.policy.remote.reply import ReplyParser, StreamedText
from ramify.engine.policy.remote.requests import CompletionRequest, PromptWriter
from ramify.engine.policy.remote.step_end import step_end
from ramify.errors import UsageError
from ramify.sampling_params import TokenSampling

from .asking import write
from .http_server import serving


def reply(*pieces: dict[str, Any], head: str = "", name: str = "reasoning_content") -> StreamedText:
    streamed = StreamedText(head, step_end(STEP_FORMATS["line"]))
    parser = ReplyParser([streamed])
    for piece in pieces:
        delta = {name if key == "thought" else key: value for key, value in piece.items()}
        choice = {"index": 0, "delta": delta, "finish_reason": delta.pop("end", None)}
        parser.take_line(b"data: " + json.dumps({"choices": [choice]}).encode())
    return streamed


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_a_thought_kept_apart_stands_between_its_marks(name: str) -> None:
    streamed = reply(
        {"thought": "I add.\n"}, {"thought": "2+3=5."}, {"content": "Five"}, {"content": ".\nMore"}, name=name
    )
    assert streamed.text == "<think>I add.\n2+3=5.\n</think>\n\nFive.\n" and streamed.cut


def test_a_thought_that_is_cut_stays_open_and_goes_on() -> None:
    cut = reply({"thought": "I add.\n"}, {"end": "length"})
    assert (cut.text, cut.finish_reason) == ("<think>I add.\n", "length")
    later = reply({"thought": "2+3"}, {"content": "Five.", "end": "stop"}, head=cut.text)
    assert later.text == "2+3\n</think>\n\nFive."
    alone = reply({"thought": "Hm."}, {"end": "stop"})
    assert alone.text == "<think>Hm.\n</think>\n\n"


def test_texts_without_a_thought_are_as_before() -> None:
    assert reply({"content": "One\n", "thought": None}, {"content": "Two\n"}).text == "One\n"


def test_the_switch_goes_to_the_chat_template_of_the_server() -> None:
    request = CompletionRequest(prefix="", turns=(), max_tokens=5, sampling=TokenSampling(), seed=1)
    sent = {
        word: PromptWriter(PRESETS["math"], as_text=False, thinking=word).prompt("Q", request, Dialect())
        for word in ("auto", "on", "off")
    }
    assert "chat_template_kwargs" not in sent["auto"]
    assert sent["on"]["chat_template_kwargs"] == {"enable_thinking": True, "thinking": True}
    assert sent["off"]["chat_template_kwargs"] == {"enable_thinking": False, "thinking": False}


async def test_the_switch_needs_a_chat_template() -> None:
    with serving(write) as server:
        with pytest.raises(UsageError, match="chat template"):
            await RemotePolicy.connect(f"openai:{server.url}#m", prompt_preset="gsm8k", thinking="off")
        policy = await RemotePolicy.connect(f"openai:{server.url}#m", thinking="off")
        assert policy.writer.prompt is not None and policy.thoughts.close == "</think>"
        await policy.open_as("What?", AnswerKind.BOX)
