"""Whole chat templates of published models: their thoughts, switches, tools and results of tools.

The templates in the folder `templates` are part of the tests; its README says where they come from. Others are read
from the folder that RAMIFY_CHAT_TEMPLATES names, such as that of a llama-cpp-python source distribution.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from ramify.answers.thoughts import KNOWN_MARKS
from ramify.engine.policy.prompts.prompt import SpecialTokens
from ramify.engine.policy.prompts.prompt_format import PromptFormat, choose_prompt_format
from ramify.engine.policy.prompts.tool_prompt import ToolPrompt, result_segments
from ramify.errors import UsageError
from ramify.reward.testing import PieceTokenizer
from ramify.tools.calculator import CALCULATOR
from ramify.tools.forms import CallForm
from ramify.tools.tool import tool

OWN = Path(__file__).with_name("templates")
OTHERS = os.environ.get("RAMIFY_CHAT_TEMPLATES")
TOKENIZER = PieceTokenizer(special=tuple(mark for each in KNOWN_MARKS[:-2] for mark in (each.open, each.close)))
THINK, SEED = ("<think>", "</think>"), ("<seed:think>", "</seed:think>")
CHANNELS = ("<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>final<|message|>")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a template does.

    `marks` are those of its thoughts, None for none. `opens` says that the prompt opens a thought. `off` is how the
    prompt ends where thoughts are switched off, "" where that changes the system message alone. `form` is that of its
    calls, None if it is refused. `eos` ends a reply, and `result` is what stands between a call and the rest of the
    reply, where the result is `say "42"`.
    """

    marks: tuple[str, str] | None = None
    opens: bool = False
    off: str = ""
    form: CallForm | None = None
    eos: str = "<|im_end|>"
    result: str = ""


QWEN_RESULT = (
    '<|im_end|>\n<|im_start|>user\n<tool_response>\nsay "42"\n</tool_response><|im_end|>\n<|im_start|>assistant\n'
)
HERMES_RESULT = (
    '<|im_end|>\n<|im_start|>tool\n<tool_response>\nsay "42"\n</tool_response><|im_end|><|im_start|>assistant\n'
)
EXPECTED = {
    "Qwen-Qwen3-0.6B": Expected(marks=THINK, off="<think>\n\n</think>\n\n", form=CallForm.HERMES, result=QWEN_RESULT),
    "Qwen-QwQ-32B": Expected(
        marks=THINK, off="<think>\n</think>", form=CallForm.HERMES, result=f"{QWEN_RESULT}<think>\n</think>"
    ),
    "Qwen3-Coder": Expected(form=CallForm.HERMES, result=QWEN_RESULT.replace("response><|im", "response>\n<|im")),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": Expected(
        marks=THINK, off="<｜Assistant｜><think>\n</think>", eos="<｜end▁of▁sentence｜>"
    ),
    "ibm-granite-granite-3.3-2B-Instruct": Expected(
        marks=THINK,
        form=CallForm.GRANITE,
        eos="<|end_of_text|>",
        result='<|end_of_text|>\n<|start_of_role|>tool<|end_of_role|>say "42"<|end_of_text|>\n'
        "<|start_of_role|>assistant<|end_of_role|>",
    ),
    "HuggingFaceTB-SmolLM3-3B": Expected(marks=THINK, off="<|im_start|>assistant\n<think>\n\n</think>\n"),
    "mistralai-Ministral-3-14B-Reasoning-2512": Expected(
        marks=("[THINK]", "[/THINK]"),
        off="[THINK]\n\n[/THINK]\n\n",
        form=CallForm.MISTRAL,
        eos="</s>",
        result='</s>[TOOL_RESULTS]say "42"[/TOOL_RESULTS]',
    ),
    "mistralai-Mistral-Nemo-Instruct-2407": Expected(
        form=CallForm.MISTRAL,
        eos="</s>",
        result='</s>[TOOL_RESULTS]{"content": say "42", "call_id": "callid123"}[/TOOL_RESULTS]',
    ),
    "openai-gpt-oss-120b": Expected(
        marks=CHANNELS, off=f"<|start|>assistant{CHANNELS[0]}<|end|>{CHANNELS[1]}", eos="<|return|>"
    ),
    "ByteDance-Seed-OSS": Expected(
        marks=SEED,
        off="<seed:think>\n\n</seed:think>\n\n",
        form=CallForm.SEED,
        eos="<seed:eos>",
        result='<seed:eos><seed:bos>tool\nsay "42"<seed:eos><seed:bos>assistant\n',
    ),
    "GLM-4.7-Flash": Expected(
        marks=THINK,
        opens=True,
        off="<|assistant|></think>",
        form=CallForm.HERMES,
        eos="<|endoftext|>",
        result='<|observation|><tool_response>say "42"</tool_response><|assistant|><think>',
    ),
    # Read from RAMIFY_CHAT_TEMPLATES.
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": Expected(
        marks=THINK, opens=True, off="<think>\n\n</think>\n\n", eos="<｜end▁of▁sentence｜>"
    ),
    "NVIDIA-Nemotron-Nano-v2": Expected(
        marks=THINK,
        opens=True,
        off="<SPECIAL_11>Assistant\n<think>\n\n</think>\n\n",
        form=CallForm.NEMOTRON,
        eos="<SPECIAL_12>",
        result='\n<SPECIAL_12>\n<SPECIAL_11>User\n<TOOL_RESPONSE>[say "42"]</TOOL_RESPONSE><SPECIAL_11>Assistant\n'
        "<think>\n",
    ),
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": Expected(form=CallForm.HERMES, result=HERMES_RESULT),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": Expected(form=CallForm.HERMES, result=HERMES_RESULT),
    "meta-llama-Llama-3.1-8B-Instruct": Expected(
        form=CallForm.LLAMA,
        eos="<|eot_id|>",
        result='<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n"say \\"42\\""<|eot_id|>'
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
}


@tool
async def population(city: str, year: int = 2025) -> int:
    """Number of "people" in a city."""
    raise NotImplementedError


def text_of(name: str) -> str:
    """Return a template, or skip where it is not at hand."""
    for folder in (OWN, *([Path(OTHERS)] if OTHERS else [])):
        if (folder / f"{name}.jinja").exists():
            return (folder / f"{name}.jinja").read_text("utf-8")
    pytest.skip("RAMIFY_CHAT_TEMPLATES names no folder with this template")


def format_of(name: str, thinking: str = "auto") -> PromptFormat:
    template = text_of(name)
    return choose_prompt_format({}, TOKENIZER, chat_template=template, preset="plain", thinking=thinking)


def test_no_template_is_untested() -> None:
    assert {path.stem for path in OWN.glob("*.jinja")} <= EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_thoughts_are_found_and_switched(name: str) -> None:
    expected, format = EXPECTED[name], format_of(name)
    found = format.thoughts
    assert (None if found is None else (found.open, found.close)) == expected.marks
    prompt = format.render("What is 2+2?", TOKENIZER).text
    assert "What is 2+2?" in prompt
    if found is None:
        with pytest.raises(UsageError, match="does not think"):
            format_of(name, "on")
        return
    assert found.opened is expected.opens is prompt.rstrip().endswith(found.open)
    off = format_of(name, "off")
    assert off.thoughts is not None and not off.thoughts.opened
    assert off.render("What is 2+2?", TOKENIZER).text.endswith(expected.off)
    on = format_of(name, "on").render("What is 2+2?", TOKENIZER).text
    assert on != off.render("What is 2+2?", TOKENIZER).text


@pytest.mark.parametrize("name", EXPECTED)
def test_tools_and_their_results_are_told(name: str) -> None:
    expected, template = EXPECTED[name], text_of(name)
    if expected.form is None:
        with pytest.raises(UsageError, match="knows no tools"):
            ToolPrompt.of([CALCULATOR, population], template, name)
        return
    told = ToolPrompt.of([CALCULATOR, population], template, name)
    assert told.form is expected.form
    prompt = format_of(name).with_tools(told).render("What is 2+2?", TOKENIZER).text
    assert all(each in prompt for each in ("What is 2+2?", "calculator", "population", "people", "year"))
    result = result_segments(['say "42"'], template, SpecialTokens(eos=expected.eos))
    assert "".join(each.text for each in result) == expected.result


@pytest.mark.parametrize("name", ["GLM-4.7-Flash", "NVIDIA-Nemotron-Nano-v2"])
def test_a_thought_that_is_opened_after_a_result_is_known(name: str) -> None:
    told = ToolPrompt.of([CALCULATOR], text_of(name), name)
    assert format_of(name).with_tools(told).thought_after_result == "<think>\n"
    assert format_of(name, "off").with_tools(told).thought_after_result == ""
