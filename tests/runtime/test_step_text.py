"""Ends of steps and paths in a text that comes token by token."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.engine.policy.prompts.prompt_files import PRESETS
from ramify.engine.policy.prompts.step_formats import STEP_FORMATS, split_steps
from ramify.engine.runtime.decode import step_text
from ramify.engine.runtime.decode.prefix_cache import PrefixNode
from ramify.engine.runtime.decode.run_state import RunState
from ramify.engine.runtime.decode.sampler import Sampler
from ramify.engine.runtime.decode.shared_sequences import RequestGroup, shared_sequences_of
from ramify.engine.runtime.decode.step_text import StepText, open_block
from ramify.sampling_params import StepFormat
from ramify.search.node import FinishReason

from .driving import step_request

BLANK = STEP_FORMATS["blank-line"]
BASE = StepFormat(name="line", pattern=r"\n", stop=PRESETS["gsm8k"].stops(None))


def written(text: str, format: StepFormat | None, size: int, **options: object) -> tuple[str, FinishReason | None, str]:
    """Return a step of `text` in pieces of `size` bytes, why it ended, and what is left over."""
    step, data = StepText(format, **options), text.encode()  # pyright: ignore[reportArgumentType]
    for start in range(0, len(data), size):
        reason = step.add(data[start : start + size])
        if reason is not None:
            return step.close(), reason, data[start + size :].decode(errors="replace")
    return step.close(), None, ""


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize(
    "step",
    [
        "Some text.\n\n",
        "```python\na = 1\n\nb = 2\n```\n\n",
        "Code:\n~~~\na\n\nb\n```\n\nc\n~~~\n\n",
        "Then\n\\[\na\n\n= b\n\\]\nit is.\n\n",
        "$$ a\n\n= b $$\n\n",
        "\\begin{align}\na\n\n= b\n\\end{align}\n\n",
        "**Step 1: Count the eggs**\n\nThere are 3.\n\n",
        "### Solution\n\n**Step 2:**\n\nThere are 4.\n\n",
        "Step 3:\n\nThere are 5.\n\n",
        "---\n\nThere are 6.\n\n",
    ],
)
def test_a_step_is_whole(step: str, size: int) -> None:
    text, reason, _ = written(step + "More text follows.", BLANK, size)
    assert reason is FinishReason.STEP and text.startswith(step.rstrip()) and "follows" not in text
    assert split_steps(f"{step}More.", BLANK) == [step, "More."]


@pytest.mark.parametrize("text", ["Step 1: Janet has 3 eggs.\n\n", "The **sum** is 4.\n\n", "#1 is first.\n\n"])
def test_what_only_begins_like_a_heading_is_a_step(text: str) -> None:
    assert split_steps(f"{text}More.", BLANK) == [text, "More."]


def test_a_block_that_was_left_open_goes_on_in_the_next_step() -> None:
    opened = open_block("Code:\n```\na = 1\n")
    assert opened == "```" and open_block("$$ a", "") == "$$" and open_block("a $$ b $$") == ""
    text, reason, _ = written("\nb = 2\n\nc\n```\n\nDone.", BLANK, 1, opened=opened)
    assert reason is FinishReason.STEP and text == "\nb = 2\n\nc\n```\n\n"


@given(st.lists(st.sampled_from(["a", "```\n", "\n\n", "\n", "**b**", "$$", "\\[", "\\]", "# c"])).map("".join))
def test_steps_are_cut_where_they_would_have_ended(text: str) -> None:
    steps = split_steps(text, BLANK)
    assert "".join(steps) == text
    rest = text
    for step in steps[:-1]:
        found, reason, rest = written(rest, BLANK, 1)
        assert (found, reason) == (re.sub(r"(\n\s*\n)\s*\Z", r"\1", step), FinishReason.STEP) or step.startswith(found)
        rest = text[sum(map(len, steps[: steps.index(step) + 1])) :]


def test_the_time_is_linear_in_the_length() -> None:
    for unit in ("a\n\n", "# a\n\n", "\\[\n\n"):
        started_s = time.process_time()
        split_steps(unit * 20_000, BLANK)
        assert time.process_time() - started_s < 5.0
    started_s = time.process_time()
    split_steps("```\n" + "a\n\n" * 20_000, BLANK)
    assert time.process_time() - started_s < 5.0


@pytest.mark.parametrize("size", [1, 4, 50])
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("The answer is 40.\n\nQuestion: How", "The answer is 40."),
        ("The answer is $4,000 in all.\nMore", "The answer is $4,000 in all."),
        ("It is 3.\n\nQuestion: Another one", "It is 3."),
        ("It is 3.\nProblem 2: Another one", "It is 3."),
        ("It is 3.\n\n### Question: Another", "It is 3."),
    ],
)
def test_a_path_ends_at_a_stop_sequence_that_is_not_part_of_it(text: str, kept: str, size: int) -> None:
    assert written(text, BASE, size, to_the_end=True)[:2] == (kept, FinishReason.EOS)


@pytest.mark.parametrize("text", ["the answer is found by adding\n", "The answer is near.\n", "Any Question: none\n"])
def test_what_is_no_stop_sequence_ends_nothing(text: str) -> None:
    assert written(text, BASE, 1, to_the_end=True)[:2] == (text, None)


def test_a_path_ends_at_the_start_of_a_step_too() -> None:
    assert written("It is 3.\n", BASE, 1)[:2] == ("It is 3.\n", FinishReason.STEP)
    assert written("Question: Another", BASE, 1)[:2] == ("", FinishReason.EOS)
    assert written("The answer is 3.\n", BASE, 1)[:2] == ("The answer is 3.", FinishReason.EOS)


def test_a_copy_goes_on_alike() -> None:
    step = StepText(BASE, to_the_end=True)
    step.add(b"It is 3.\n")
    other = step.copy()
    assert step.add(b"Question:") is other.add(b"Question:") is FinishReason.EOS
    assert step.close() == other.close() == "It is 3."


def test_an_early_end_is_passed_over() -> None:
    step = StepText(StepFormat(name="line", pattern=r"\n"))
    assert step.add(b"a\n", early=True) is None
    assert step.add(b"b", early=False) is None
    assert step.add(b"\n") is FinishReason.STEP
    assert step.close() == "a\nb\n"


def test_models_with_a_chat_template_may_repeat_the_question() -> None:
    chat = StepFormat(name="line", pattern=r"\n", stop=PRESETS["gsm8k"].stops("template"))
    text = "Question: How many?\nThere are 3.\nThe answer is 3.\n"
    assert written(text, chat, 1, to_the_end=True)[:2] == (text[:-1], FinishReason.EOS)
    assert PRESETS["math"].stops("template") == PRESETS["plain"].stops(None) == ""


def test_a_persons_pattern_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_text, "PATTERN_LIMIT_S", 0.02)
    start = time.process_time()
    step = StepText(StepFormat(name="custom", pattern="(x+x+)+y", custom=True))
    assert all(step.add(b"x") is None for _ in range(400))
    # Without a limit, every character after the thirtieth takes twice as long as the one before.
    assert time.process_time() - start < 10.0


def test_a_persons_pattern_ends_steps() -> None:
    own = StepFormat(name="custom", pattern="[.;]", custom=True)
    assert written("One. Two.", own, 1) == ("One.", FinishReason.STEP, " Two.")
    assert split_steps("One. Two; three", own) == ["One.", " Two;", " three"]


@given(text=st.text(alphabet="aé≤語😀 ", min_size=1), cuts=st.lists(st.integers(1, 5), min_size=1), data=st.data())
def test_steps_that_are_cut_within_characters_add_up_to_the_text(text, cuts, data):
    rest, begun, parts = text.encode(), b"", list[str]()
    while rest:
        size = data.draw(st.sampled_from(cuts))
        step = StepText(None, begun=begun)
        for piece in (rest[at : at + 1] for at in range(min(size, len(rest)))):
            step.add(piece)
        rest = rest[size:]
        begun = step.unfinished
        parts.append(step.close(cut=True))
    assert "".join(parts) == text and begun == b""


def test_an_unfinished_character_at_the_end_of_a_path_is_told():
    step = StepText(None)
    step.add("≤".encode()[:2])
    assert step.unfinished == "≤".encode()[:2] and step.copy().close(cut=True) == ""
    assert step.close() == "\ufffd"


class ByteVocabulary:
    """Tokens are bytes."""

    def piece(self, id: int, /, *, special: bool = True) -> bytes:
        return bytes([id])

    def is_end(self, id: int) -> bool:
        return False


def test_the_next_step_begins_with_what_the_one_above_left_unfinished():
    prompt = PrefixNode.of_path(1, None, (1, 2))
    prompt.is_prompt = True
    sampler = Sampler(ByteVocabulary(), 256, muted=(), longest_path=99)  # pyright: ignore[reportArgumentType]
    run, data = RunState(nodes={0: prompt}), "3 ≤ 5".encode()
    texts, above = list[str](), prompt
    for child, part in enumerate((data[:3], data[3:]), start=1):
        requests = [(above, step_request(child))]
        (sequence,) = shared_sequences_of(requests, None, RequestGroup(None), sampler.unfinished)
        for at in range(len(part)):
            sequence.text.add(part[at : at + 1])
        above = PrefixNode.of_path(1, above, (*above.path, *part))
        (result,) = run.end(sequence, above, FinishReason.LENGTH)
        texts.append(result.text)
    assert texts == ["3 ", "≤ 5"]
