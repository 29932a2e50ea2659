"""Chat completions through the official client: whole and streamed, their settings, and what is refused."""

from __future__ import annotations

import openai
import pytest
from pydantic import ValidationError

from ramify.engine.engine import Engine
from ramify.engine.testing import ScriptedModel
from ramify.search.budget import Budget
from ramify.search.stopping import StopReason
from ramify.search.strategies.sampling import Greedy
from ramify.server.completions import problem_of, usage_of
from ramify.server.config import Caller, Preset, ServerConfig
from ramify.server.messages import ChatRequest, Message, TextPart, check_supported
from ramify.server.runs import ServedRun
from ramify.server.search_settings import OPERATOR_KEYS, REQUEST_KEYS, SEARCH_KEYS, plan_run
from ramify.solution import Solution
from ramify.usage import RoleUsage, Usage

from .conftest import QUESTION


def user(text: str = QUESTION) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def test_a_completion_has_the_winning_path_and_the_search(serving):
    async with serving() as server, server.client() as client:
        found = await client.chat.completions.create(
            model="scripted", messages=user(), seed=5, extra_body={"ramify": {"strategy": "weighted", "width": 4}}
        )
    assert found.choices[0].message.content == "Step of child 0.\nThe answer is 7."
    assert found.choices[0].finish_reason == "stop"
    block = found.model_extra["ramify"]
    assert (block["answer"], block["stop_reason"], block["candidates"], block["seed"]) == ("7", "completed", 4, 5)
    assert [(vote["answer"], vote["votes"]) for vote in block["votes"]] == [("7", 2), ("8", 1), ("9", 1)]
    assert 0.9 < block["posterior"] <= 1
    assert (block["run"], block["strategy"]["width"]) == (found.id, 4)
    policy = block["usage"]["policy"]
    assert found.usage.completion_tokens == policy["generated_tokens"]
    assert found.usage.prompt_tokens == policy["prompt_tokens"] > 0
    assert 0 < found.usage.completion_tokens_details.reasoning_tokens < found.usage.completion_tokens


@pytest.mark.parametrize("include_usage", [False, True])
async def test_a_stream_tells_the_standing_and_then_the_text(serving, include_usage, monkeypatch):
    monkeypatch.setattr("ramify.server.completions.UPDATE_S", 0.02)
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    async with serving(delay_s=0.02) as server, server.client() as client:
        stream = await client.chat.completions.create(
            model="scripted", messages=user(), stream=True, extra_body={"ramify": {"strategy": "majority"}}, **options
        )
        chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert chunks[0].model_extra["ramify"]["run"] == chunks[0].id
    thoughts = [text for each in deltas if (text := (each.model_extra or {}).get("reasoning_content"))]
    assert thoughts and all("tokens" in each and each.endswith("s\n") for each in thoughts)
    texts = [each.content for each in deltas if each.content]
    assert texts == ["Step of child 0.\n", "The answer is 7."]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert [bool(chunk.choices) for chunk in chunks].count(False) == include_usage
    assert chunks[-1].usage.completion_tokens > 0
    assert chunks[-1].model_extra["ramify"]["answer"] == "7"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


async def test_n_gives_the_best_different_answers(serving):
    async with serving() as server, server.client() as client:
        wanted = {"model": "scripted", "messages": user(), "extra_body": {"ramify": {"strategy": "weighted"}}}
        found = await client.chat.completions.create(n=2, **wanted)
        assert [each.message.content[-2] for each in found.choices] == ["7", "8"]
        assert [each.index for each in found.choices] == [0, 1]
        every = await client.chat.completions.create(n=10, **wanted)
        assert [each.message.content[-2] for each in every.choices] == ["7", "8", "9"]
        stream = await client.chat.completions.create(n=2, stream=True, **wanted)
        texts = {0: "", 1: ""}
        async for chunk in stream:
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert [text[-2] for text in texts.values()] == ["7", "8"]


async def test_fields_of_the_api_reach_the_search(serving):
    async with serving() as server, server.client() as client:
        cut = await client.chat.completions.create(
            model="scripted",
            messages=user(),
            max_tokens=4,
            temperature=0.3,
            top_p=0.5,
            extra_body={"ramify": {"strategy": "majority", "width": 2}},
        )
    assert cut.choices[0].finish_reason == "length"
    assert cut.model_extra["ramify"]["answer"] is None
    assert cut.choices[0].message.content.startswith("Step of child")


@pytest.mark.parametrize(
    ("defaults", "asked", "found"),
    [
        ({"max_step_tokens": 50}, {"max_tokens": 200}, {"max_step_tokens": 50}),
        ({"max_step_tokens": 50}, {"max_tokens": 20}, {"max_step_tokens": 20}),
        ({"min_step_tokens": 100}, {"max_tokens": 50}, {"max_step_tokens": 50, "min_step_tokens": 50}),
        ({"max_thinking_tokens": 300}, {"max_tokens": 200}, {"max_thinking_tokens": 199, "max_step_tokens": 200}),
        ({"max_thinking_tokens": 300}, {"max_tokens": 1}, {"max_step_tokens": 1}),
        ({"max_thinking_tokens": 30}, {"max_tokens": 200}, {"max_thinking_tokens": 30, "max_step_tokens": 200}),
        ({"min_step_tokens": 100}, {"ramify": {"max_step_tokens": 40}}, {"max_step_tokens": 40, "min_step_tokens": 40}),
        ({"max_thinking_tokens": 300}, {"ramify": {"max_path_tokens": 90}}, {"max_thinking_tokens": 89}),
        ({}, {"max_tokens": 50, "ramify": {"max_step_tokens": 60}}, {"max_step_tokens": 60}),
        ({}, {"max_tokens": 2000}, {}),
    ],
)
@pytest.mark.parametrize("as_preset", [False, True])
async def test_a_requests_limits_lower_the_operators_and_never_raise_them(defaults, asked, found, as_preset):
    request = ChatRequest(model="scripted", messages=[Message(role="user", content="q")], **asked)
    preset = Preset(name="own", values=defaults) if as_preset else None
    config = ServerConfig() if as_preset else ServerConfig(defaults=defaults)
    async with Engine(ScriptedModel({}), None) as engine:
        plan = plan_run(request, {}, engine=engine, config=config, preset=preset, caller=Caller(name="anyone"))
    names = ("max_step_tokens", "min_step_tokens", "max_thinking_tokens")
    told = {name: plan.options[name] for name in names if plan.options.get(name) is not None}
    assert told.items() >= found.items()


@pytest.mark.parametrize(
    ("stop", "stop_text"),
    [("END", '["END"]'), (["A", "B"], '["A", "B"]'), ('["x"]', '["[\\"x\\"]"]'), ([], None), (None, None)],
)
async def test_stop_texts_and_penalties_reach_the_search(stop, stop_text):
    fields = {"stop": stop, "frequency_penalty": -0.5, "presence_penalty": 1, "repeat_penalty": 1.5}
    request = ChatRequest(model="scripted", messages=[Message(role="user", content="q")], **fields)
    check_supported(request)
    async with Engine(ScriptedModel({}), None) as engine:
        config, caller = ServerConfig(), Caller(name="anyone")
        plan = plan_run(request, {}, engine=engine, config=config, preset=None, caller=caller)
    assert plan.options.get("stop_text") == stop_text
    sampling = plan.options["sampling"]
    assert (sampling.frequency_penalty, sampling.presence_penalty, sampling.repeat_penalty) == (-0.5, 1, 1.5)


async def test_a_text_without_an_answer_that_ended_by_itself_was_not_cut(serving):
    async with serving(lambda question, path: "I do not know.") as server, server.client() as client:
        found = await client.chat.completions.create(model="scripted", messages=user())
    assert found.model_extra["ramify"]["answer"] is None
    assert (found.choices[0].message.content, found.choices[0].finish_reason) == ("I do not know.", "stop")


async def test_the_budget_comes_from_the_body_then_headers_then_the_preset_then_the_server(serving):
    preset = Preset(name="small", values={"strategy": "majority", "width": 3, "max_generated_tokens": 500})
    async with serving(presets={"small": preset}, defaults={"max_nodes": 99}) as server, server.client() as client:

        async def limits(model: str, **more: object) -> dict[str, object]:
            found = await client.chat.completions.create(model=model, messages=user(), **more)
            async with server.http() as http:
                run = (await http.get(f"/v1/ramify/runs/{found.id}")).json()
            return {name: limit for name, limit in run["budget"].items() if limit is not None}

        header = {"X-Ramify-Budget-Seconds": "20s"}
        body = {"ramify": {"budget": {"generated_tokens": 300}}}
        assert await limits("scripted") == {"nodes": 99}
        assert await limits("scripted@small") == {"generated_tokens": 500}
        assert await limits("scripted@small", extra_headers=header) == {"seconds": 20}
        assert await limits("scripted", extra_headers=header, extra_body=body) == {
            "generated_tokens": 300,
            "seconds": 20,
        }
        assert await limits("scripted", extra_body={"ramify": {"max_seconds": "2m"}}) == {"seconds": 120}
        models = [model.id async for model in await client.models.list()]
        assert models == ["scripted", "scripted@small"]
        assert (await client.models.retrieve("scripted@small")).id == "scripted@small"


async def test_without_limits_the_default_budget_holds(serving):
    async with serving() as server, server.client() as client:
        found = await client.chat.completions.create(model="scripted", messages=user())
        async with server.http() as http:
            run = (await http.get(f"/v1/ramify/runs/{found.id}")).json()
    assert Budget.from_dict(run["budget"]) == Budget(generated_tokens=8192, seconds=120.0)


def test_a_conversation_is_taken_over():
    turns = [
        Message(role="system", content="Be brief."),
        Message(role="developer", content=[TextPart(type="text", text="Use metres.")]),
        Message(role="user", content="How long?"),
        Message(role="assistant", content="3 m"),
        Message(role="user", content="And twice?"),
    ]
    problem = problem_of(turns)
    assert problem.question == "And twice?"
    assert problem.conversation.system == "Be brief.\n\nUse metres."
    assert [turn.content for turn in problem.conversation.turns] == ["How long?", "3 m", "And twice?"]


async def test_a_model_without_conversations_says_so(serving):
    turns = [{"role": "system", "content": "Be brief."}, *user()]
    async with serving() as server, server.client() as client:
        with pytest.raises(openai.BadRequestError, match="one question alone"):
            await client.chat.completions.create(model="scripted", messages=turns)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "no such"}}}},
            "response_format.json_schema.schema",
        ),
        ({"ramify": {"answer_schema": "/etc/passwd"}}, "ramify"),
        ({"logprobs": True}, "logprobs"),
        ({"frequency_penalty": 2.5}, "frequency_penalty"),
        ({"presence_penalty": "much"}, "presence_penalty"),
        ({"repeat_penalty": 0}, "repeat_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"stop": ["x", ""]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": 3}, "stop"),
        ({"stop": "x", "ramify": {"stop_text": "y"}}, "ramify.stop_text"),
        ({"n": 0}, "n"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.type"),
        ({"ramify": {"strategy": "rebas"}}, "ramify"),
        ({"ramify": {"widht": 3}}, "ramify"),
        ({"ramify": {"threads": 3}}, "ramify"),
        ({"ramify": {"tools": "python"}}, "ramify"),
        ({"ramify": {"answer": "program"}}, "ramify"),
        ({"ramify": {"model": "demo-s"}}, "ramify"),
        ({"ramify": {"width": 0}}, "ramify"),
        ({"ramify": {"width": [4]}}, "ramify"),
        ({"ramify": {"strategy": "greedy", "width": 4}}, "ramify"),
        ({"ramify": {"stop": "nonsense"}}, "ramify"),
        ({"ramify": {"reward": "other"}}, "ramify"),
        ({"ramify": {"reward": "none", "strategy": "rebase"}}, "ramify"),
        ({"ramify": {"strategy_options": 3}}, "ramify.strategy_options"),
        ({"ramify": {"strategy_options": {"depth": 3}}}, "ramify"),
        ({"ramify": {"budget": {"seconds": -1}}}, "ramify"),
        ({"ramify": {"budget": {"minutes": 1}}}, "minutes"),
        ({"ramify": {"budget": {"nodes": 2}, "max_nodes": 2}}, "ramify.budget.nodes"),
        ({"ramify": {"temperature": 1}, "temperature": 1}, "ramify.temperature"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_in_the_form_of_the_api(serving, asked, fields, param):
    async with serving() as server, server.client() as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.post("/chat/completions", body={"model": "scripted", **asked, **fields}, cast_to=object)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert caught.value.body["message"]


def test_every_setting_of_a_search_is_for_requests_or_for_the_operator():
    assert SEARCH_KEYS == REQUEST_KEYS | OPERATOR_KEYS
    assert not REQUEST_KEYS & OPERATOR_KEYS


async def test_neutral_values_are_accepted(serving, asked):
    fields = {
        "n": 1, "frequency_penalty": 0.0, "presence_penalty": 0, "logprobs": False, "tools": [], "tool_choice": "auto",
        "response_format": {"type": "text"}, "stop": None, "user": "me", "metadata": {"a": "b"}, "stream": False,
        "logit_bias": {}, "store": False,
    }  # fmt: skip
    async with serving() as server, server.http() as http:
        found = await http.post("/v1/chat/completions", json={"model": "scripted", **asked, **fields})
    assert found.status_code == 200, found.text


async def test_an_unknown_model_is_named_with_those_there_are(serving):
    async with serving() as server, server.client() as client:
        with pytest.raises(openai.NotFoundError, match="scripted") as caught:
            await client.chat.completions.create(model="gpt-4", messages=user())
    assert caught.value.code == "model_not_found"


async def test_scores_of_steps(serving):
    async with serving() as server, server.http() as http:
        one = await http.post("/v1/ramify/score", json={"question": "q", "steps": ["a\n", "is 7."]})
        many = await http.post("/v1/ramify/score", json={"question": "q", "paths": [["a\n", "is 7."], ["a\n", "8."]]})
        wrong = await http.post("/v1/ramify/score", json={"question": "q", "steps": []})
    assert one.json()["scores"] == [0.5, 0.9]
    assert many.json()["scores"] == [[0.5, 0.9], [0.5, 0.4]]
    assert wrong.status_code == 400


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"steps": []}, "steps"),
        ({"steps": ["a", ""]}, "steps.1"),
        ({"paths": []}, "paths"),
        ({"paths": [["a"], []]}, "paths.1"),
        ({"paths": [["a"], ["a", ""]]}, "paths.1.1"),
        ({"steps": ["a"], "paths": [["a"]]}, "steps"),
    ],
)
async def test_steps_that_cannot_be_scored_are_named(serving, body, param):
    async with serving() as server, server.http() as http:
        found = await http.post("/v1/ramify/score", json={"question": "q", **body})
    assert (found.status_code, found.json()["error"]["param"]) == (400, param)


async def test_scores_need_a_reward(serving):
    async with serving(reward=None) as server, server.http() as http:
        found = await http.post("/v1/ramify/score", json={"question": "q", "steps": ["a"]})
    assert (found.status_code, found.json()["error"]["code"]) == (400, "no_reward_model")


async def test_a_message_of_a_response_can_be_sent_back(serving):
    async with serving() as server, server.client() as client:
        found = await client.chat.completions.create(model="scripted", messages=user())
    message = {**found.choices[0].message.model_dump(), "reasoning_content": "I think."}
    assert message["refusal"] is None and message["tool_calls"] is None
    problem = problem_of([Message(role="user", content="How many?"), Message(**message), Message(**user()[0])])
    assert [turn.content for turn in problem.conversation.turns][:2] == ["How many?", message["content"]]


@pytest.mark.parametrize(
    "field", [{"refusal": "No."}, {"tool_calls": [{"id": "1"}]}, {"function_call": {"name": "f"}}, {"surprise": None}]
)
def test_fields_of_messages_that_say_something_are_refused(field):
    with pytest.raises(ValidationError):
        Message(role="assistant", content="7", **field)


async def test_methods_that_there_are_not_say_which_there_are(serving):
    async with serving() as server, server.http() as http:
        refused = await http.get("/v1/chat/completions")
        health = await http.head("/health")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert health.status_code == 200


def test_a_prompt_whose_length_is_told_late_counts_in_the_usage():
    usage = Usage(policy=RoleUsage(prompt_tokens=120, generated_tokens=50))
    solution = Solution(
        question="q", answer=None, text="", score=None, stop_reason=StopReason.COMPLETED, usage=usage, candidates=(),
        seed=0, strategy={},
    )  # fmt: skip
    run = ServedRun(id="r", owner="", model="m", question="q", strategy=Greedy(), budget=Budget())
    found = usage_of(solution, run)
    assert (found["prompt_tokens"], found["total_tokens"]) == (120, 170)
