"""Models that think: marks of thoughts, the switch, and answers from the reply alone."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import ramify
from ramify.answers.reading import AnswerReader
from ramify.answers.thoughts import ThoughtMarks
from ramify.engine.control.scoring import reply_step
from ramify.engine.policy.llama import LlamaPolicySession
from ramify.engine.policy.prompts.prompt_format import choose_prompt_format
from ramify.engine.policy.prompts.step_formats import STEP_FORMATS
from ramify.engine.policy.prompts.template_program import is_harmless
from ramify.engine.policy.prompts.thinking import find_marks, is_opened
from ramify.engine.runtime.messages import StepRequest
from ramify.engine.testing import ScriptedModel, ScriptedStep
from ramify.errors import UsageError
from ramify.reward.protocol import ScoredStep
from ramify.reward.testing import PieceTokenizer

TOKENIZER = PieceTokenizer(special=("<think>", "</think>", "[/THINK]"))
TURNS = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
SWITCHED = (
    f"{TURNS}{{% if add_generation_prompt %}}<assistant>{{% if enable_thinking is defined and not enable_thinking %}}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
OPENING = f"{TURNS}{{% if add_generation_prompt %}}<assistant><think>\n{{% endif %}}{{# </think> #}}"
OFF_BY_DEFAULT = (
    f"{TURNS}{{% if add_generation_prompt %}}<assistant>{{% if enable_thinking %}}<think>{{% else %}}</think>"
    "{% endif %}{% endif %}"
)
BY_THINKING = f"{TURNS}<assistant>{{% if thinking %}}<think>\n{{% endif %}}{{# </think> #}}"
CUTTING = f"{TURNS}{{% if '</think>' in messages[0].content %}}x{{% endif %}}<assistant>"
BRACKETS = f"{TURNS}{{# [THINK] [/THINK] #}}<assistant>"
PLAIN = f"{TURNS}<assistant>"


def ends(template: str, thinking: str = "auto") -> tuple[str, bool | None]:
    form = choose_prompt_format({}, TOKENIZER, chat_template=template, preset="plain", thinking=thinking)
    text = form.render("Q", TOKENIZER).text
    return text.partition("<assistant>")[2], None if form.thoughts is None else form.thoughts.opened


@pytest.mark.parametrize(
    ("template", "auto", "on", "off"),
    [
        (SWITCHED, ("", False), ("", False), ("<think>\n\n</think>\n\n", False)),
        (OPENING, ("<think>\n", True), ("<think>\n", True), ("<think>\n\n</think>\n\n", False)),
        (BY_THINKING, ("", False), ("<think>\n", True), ("", False)),
        (OFF_BY_DEFAULT, ("</think>", False), ("<think>", True), ("</think>", False)),
        (BRACKETS, ("", False), ("", False), ("[THINK]\n\n[/THINK]\n\n", False)),
    ],
)
def test_templates_of_models_that_think(
    template: str, auto: tuple[str, bool], on: tuple[str, bool], off: tuple[str, bool]
) -> None:
    assert (ends(template), ends(template, "on"), ends(template, "off")) == (auto, on, off)


def test_models_that_do_not_think() -> None:
    assert find_marks(PLAIN, TOKENIZER) is None and find_marks(None, TOKENIZER) is None
    assert find_marks(CUTTING, PieceTokenizer()) is None
    assert find_marks(CUTTING, TOKENIZER) == ThoughtMarks("<think>", "</think>")
    assert ends(PLAIN, "off") == ends(PLAIN) == ("", None)
    for template in (PLAIN, None):
        with pytest.raises(UsageError, match="does not think"):
            choose_prompt_format({}, TOKENIZER, chat_template=template, thinking="on")


def test_a_prompt_within_a_thought_ends_with_its_mark() -> None:
    marks = ThoughtMarks("<think>", "</think>")
    assert is_opened(marks, "a<think>\n") and not is_opened(marks, "<think> a") and not is_opened(marks, "")
    assert not is_opened(marks, "<think></think>")


def test_the_switch_keeps_a_template_harmless() -> None:
    assert is_harmless("{%- set enable_thinking = true -%}" + PLAIN)
    assert not is_harmless("{%- set x = 'long' -%}" + PLAIN)


MARKS = ThoughtMarks("<think>", "</think>")


@pytest.mark.parametrize(
    ("text", "reply", "opened_reply", "thinking"),
    [
        ("plain", "plain", "", False),
        ("<think>a</think>b", "b", "b", False),
        ("<think>a", "", "", True),
        ("a</think>b", "b", "b", False),
        ("<think>a</think>b<think>c", "b", "b", True),
        ("<think>a</think>b<think>c</think>d", "d", "d", False),
    ],
)
def test_the_reply_follows_the_last_thought(text: str, reply: str, opened_reply: str, thinking: bool) -> None:
    opened = replace(MARKS, opened=True)
    assert (MARKS.reply(text), opened.reply(text)) == (reply, opened_reply)
    assert MARKS.is_thinking(text) is thinking
    assert opened.is_thinking(text) is (thinking or text == "plain")


def test_answers_are_read_from_the_reply_alone() -> None:
    reader = replace(AnswerReader.of("How many?", "box"), thoughts=MARKS)
    assert reader.read(r"<think>\boxed{3}</think>So \boxed{4}.") == "4"
    assert reader.read(r"<think>\boxed{3}") is None
    assert reader.read_unfinished(r"<think>\boxed{3} and") is None
    assert reader.read_unfinished(r"<think>\boxed{3}</think>\boxed{4} and") == "4"
    asked = replace(AnswerReader.of("How many?"), thoughts=replace(MARKS, opened=True))
    settled = asked.settled(["I count 7.</think>There are 8."])
    assert settled is not None and settled.read("I count 7.</think>There are 8.") == "8"
    text = replace(AnswerReader.of("q", "text"), thoughts=MARKS)
    assert text.read("<think>hm</think>\n\nDear all") == "Dear all"


def step(*path: str, thoughts: ThoughtMarks = MARKS) -> tuple[int | None, tuple[str, ...]] | None:
    tokens = tuple((number,) for number in range(len(path)))
    whole = ScoredStep(node=9, parent=8, path=path, tokens=tokens, logprobs=(None,) * len(path))
    found = reply_step(whole, thoughts)
    assert found is None or len(found.path) == len(found.tokens) == len(found.logprobs)
    return None if found is None else (found.parent, found.path)


def test_rewards_are_shown_the_reply() -> None:
    assert step("a", "b") == (8, ("a", "b"))
    assert step("<think>a", "b") is None
    assert step("<think>a", "b</think>") is None
    assert step("<think>a", "b</think>\n\n", "c") == (None, ("c",))
    assert step("<think>a", "b</think> c", "d") == (8, (" c", "d"))
    assert step("<think>a</think>", "b", "c") == (8, ("b", "c"))
    assert step("a", "b", thoughts=replace(MARKS, opened=True)) is None
    assert step("a</think>b", "<think>c") is None


async def test_a_search_of_a_model_that_thinks() -> None:
    class Thinker(ScriptedModel):
        thoughts = MARKS
        ends_at_answer = False
        answer_kind = check = None

        async def open_as(self, question: str, kind: object) -> object:
            return await self.open(question)

    shown = list[tuple[str, ...]]()

    def score(question: str, steps: tuple[str, ...]) -> float:
        shown.append(tuple(steps))
        return 0.9

    def write(question: str, path: tuple[int, ...]) -> str | ScriptedStep:
        texts = [r"<think>It may be \boxed{3}." + "\n", "No.</think>\n", r"It is \boxed{4}."]
        return texts[len(path) - 1]

    policy = Thinker(write)
    for reward_thoughts in (False, True):
        shown.clear()
        async with ramify.Engine(policy, score) as engine:
            strategy = ramify.Rebase(width=2)
            solution = await engine.solve("How many?", strategy=strategy, reward_thoughts=reward_thoughts)
        assert solution.answer == "4"
        assert (shown[0][0].startswith("<think>"), len(shown)) == ((True, 3) if reward_thoughts else (False, 1))


@pytest.mark.parametrize("left_open", ["$$ x = 3 +\n", "\\[ x\n", "```python\nx = 1\n"])
def test_what_a_thought_left_open_does_not_hold_the_steps_of_the_reply(left_open: str) -> None:
    """Thoughts are cut by limits anywhere."""
    prompt = SimpleNamespace(step=STEP_FORMATS["blank-line"], thoughts=ThoughtMarks("<think>", "</think>"))
    session: Any = SimpleNamespace(_prompt=prompt, _logprobs=None, _keeps_ends=False)
    request = StepRequest(parent=1, child=2, seed=0, max_tokens=5, prefix=f"<think>\nSo\n{left_open}")
    place = LlamaPolicySession._placed
    assert place(session, request).opened
    assert not place(session, replace(request, prefix=f"{request.prefix}</think>\n\n")).opened
    assert place(session, replace(request, prefix=f"{request.prefix}</think>\n\nSo\n{left_open}")).opened
