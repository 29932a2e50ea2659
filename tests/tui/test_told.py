"""Messages and examples before a question: the fields of their files, what is asked, and runs that are asked again."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from ramify.cli.options import SearchPlan
from ramify.engine.engine import Engine
from ramify.errors import UsageError
from ramify.problem import Problem
from ramify.tui.screens.home import HomeScreen
from ramify.tui.state.spec import RunSpec, python_code

from .conftest import spec

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 + 3?"},
    {"role": "assistant", "content": "5"},
]


@pytest.fixture
def files(tmp_path) -> tuple[str, str]:
    messages, examples = tmp_path / "messages.json", tmp_path / "examples.jsonl"
    messages.write_text(json.dumps(TURNS))
    examples.write_text(json.dumps({"question": "1 + 1?", "answer": "2"}) + "\n")
    return str(messages), str(examples)


def test_a_spec_with_files_asks_what_the_command_asks(files):
    asked = RunSpec("And doubled?", messages=files[0], examples=files[1])
    problem = asked.problem()
    assert [each.content for each in problem.conversation.turns] == ["What is 2 + 3?", "5", "And doubled?"]
    assert (problem.conversation.system, problem.examples[0].answer) == ("Be brief.", "2")
    assert shlex.split(asked.command_line()) == [
        "ramify", "solve", "--messages", files[0], "--examples", files[1], "And doubled?",
    ]  # fmt: skip
    plan = SearchPlan.from_options(asked.complete())
    code = python_code(asked, plan, plan.strategy(has_reward=False))
    compile(code, "code", "exec")
    assert "ramify.Problem(messages=[" in code and "examples=[('1 + 1?', '2')]" in code


def test_a_file_may_hold_the_question(files, tmp_path):
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps([*TURNS, {"role": "user", "content": "And doubled?"}]))
    asked = RunSpec(messages=str(whole))
    assert asked.asks and asked.problem().question == "And doubled?"
    with pytest.raises(UsageError, match="end with one of the assistant"):
        RunSpec(messages=files[0]).problem()


def test_files_and_a_saved_conversation_are_told_apart(files):
    saved = Problem(messages=[*TURNS, {"role": "user", "content": "And?"}], examples=[("a", "b")])
    asked = RunSpec("And?", conversation=saved.conversation)
    assert asked.told == ("as before", "as before") and asked.problem().conversation == saved.conversation
    assert asked.with_told("none", "none").problem().is_plain
    assert asked.with_told("none", "as before").problem().conversation.examples == saved.conversation.examples
    replaced = asked.with_told(files[0], "as before")
    assert replaced.told == (files[0], "as before") and len(replaced.problem().examples) == 1
    with pytest.raises(UsageError, match="in no file"):
        asked.command_line()
    assert RunSpec("q").with_told("none", "none") == RunSpec("q")


async def test_the_fields_are_filled_searched_with_and_asked_again(ui, store, files):
    seen = list[Any]()

    class Noting(Engine):
        def run(self, problem: Any, **options: Any) -> Any:
            seen.append(problem)
            return super().run(problem, **options)

    from ramify.testing import ScriptedModel

    from .conftest import chain

    class Talker(ScriptedModel):
        takes_conversations = True

        async def open_as(self, question: Any, kind: object) -> Any:
            return await self.open(question if isinstance(question, str) else question.question)

    async with ui(spec=spec(strategy="majority", width=2), engine=lambda plan: Noting(Talker(chain), None)) as user:
        for name, path in zip(("messages", "examples"), files, strict=True):
            user.app.home.query_one(f"#choice-{name}").focus()
            await user.press("enter")
            await user.until(lambda: "type a value" in user.text())
            await user.press(*"/nowhere", "enter")
            await user.until(lambda: "cannot be read" in user.text())
            user.app.screen.query_one("Input").value = path
            await user.press("enter")
            await user.until(lambda: isinstance(user.app.screen, HomeScreen))
        user.app.home.query_one("#question").focus()
        await user.ask("And doubled?")
        await user.over()
        assert seen[0].conversation.turns[0].content == "What is 2 + 3?" and len(seen[0].examples) == 1
        await user.press("home")
        await user.until(lambda: "System: Be brief." in user.text() and "Assistant: 5" in user.text())
    async with ui(saved="last", engine=lambda plan: Noting(Talker(chain), None)) as user:
        await user.until(lambda: hasattr(user.app.screen, "session"))
        await user.press("r")
        await user.until(lambda: isinstance(user.app.screen, HomeScreen))
        assert user.app.home.spec.told == ("as before", "as before")
        await user.press("enter")
        await user.until(lambda: len(seen) == 2)
        await user.over()
    assert seen[1].conversation == seen[0].conversation


async def test_messages_that_end_with_the_assistant_are_a_toast(ui, files):
    async with ui(spec=RunSpec("", messages=files[0])) as user:
        await user.press("enter")
        await user.until(lambda: user.toasts)
        assert "end with one of the assistant" in user.toasts[0]
        assert isinstance(user.app.screen, HomeScreen) and not user.app.live_sessions
