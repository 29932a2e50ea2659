"""Families of models that think: chat templates of the forms that they publish, with their switches and tools."""

from __future__ import annotations

import re

import jinja2
import pytest

from ramify.engine.policy.prompts.prompt_format import choose_prompt_format
from ramify.reward.testing import PieceTokenizer

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
ASKS = "{% if add_generation_prompt %}"
HERMES_TOOLS = (
    "{% if tools %}<|im_start|>system\n<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n</tools>\n"
    'For each call return <tool_call>\n{"name": ...}\n</tool_call><|im_end|>\n{% endif %}'
)
CUT_THOUGHTS = (
    "{% for m in messages %}{% set c = m.content.split('</think>')[-1] if m.role == 'assistant' else m.content %}"
)

FAMILIES = {
    "qwen3": f"{HERMES_TOOLS}{CHATML}{ASKS}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
    "qwq": f"{HERMES_TOOLS}{CHATML}{ASKS}<|im_start|>assistant\n<think>\n{{% endif %}}{{# '</think>' #}}",
    "deepseek-r1-distill": f"{CUT_THOUGHTS}<｜{{{{ m.role }}}}｜>{{{{ c }}}}{{% endfor %}}{ASKS}<｜Assistant｜>"
    "<think>\n{% endif %}",
    "granite": "{% if thinking %}{% set s = 'Write your thoughts between <think></think> and your response between "
    "<response></response>.' %}{% else %}{% set s = 'You are Granite.' %}{% endif %}"
    "{% if tools %}<|start_of_role|>available_tools<|end_of_role|>{{ tools | tojson }}<|end_of_text|>\n{% endif %}"
    "<|start_of_role|>system<|end_of_role|>{{ s }}<|end_of_text|>\n{% for m in messages %}<|start_of_role|>{{ m.role }}"
    "<|end_of_role|>{{ m.content }}<|end_of_text|>\n{% endfor %}"
    f"{ASKS}<|start_of_role|>assistant<|end_of_role|>{{% endif %}}",
    "smollm3": "{% set thinks = enable_thinking if enable_thinking is defined else true %}<|im_start|>system\n"
    "Reasoning Mode: {{ '/think' if thinks else '/no_think' }}{% if tools %}\n<tools>{{ tools | tojson }}</tools> "
    "<tool_call>{% endif %}<|im_end|>\n"
    f"{CHATML}{ASKS}<|im_start|>assistant\n{{% if not thinks %}}<think>\n\n</think>\n{{% endif %}}{{% endif %}}",
    "magistral": "[SYSTEM_PROMPT]First draft your thinking: [THINK]thoughts[/THINK]Then answer.[/SYSTEM_PROMPT]"
    "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% else %}{{ m.content }}{% endif %}"
    "{% endfor %}",
    "gpt-oss": "<|start|>system<|message|>Valid channels: analysis, commentary, final.<|end|>"
    "{% if tools %}<|start|>developer<|message|>{% for tool in tools %}{{ tool.function.name }}{% endfor %}<|end|>"
    "{% endif %}{% for m in messages %}{% if m.role == 'assistant' %}{% if m.thinking %}<|start|>assistant<|channel|>"
    "analysis<|message|>{{ m.thinking }}<|end|>{% endif %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
    "<|end|>{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    f"{ASKS}<|start|>assistant{{% endif %}}",
    "nemotron-nano": "{% set ns = namespace(enable_thinking=true) %}{% for m in messages %}{% if '/no_think' in "
    "m.content %}{% set ns.enable_thinking = false %}{% endif %}{% endfor %}{% if tools %}<AVAILABLE_TOOLS>"
    "{{ tools | tojson }}</AVAILABLE_TOOLS>{% endif %}{% for m in messages %}<SPECIAL_11>{{ m.role }}\n"
    "{{ m.content }}\n{% endfor %}"
    f"{ASKS}<SPECIAL_11>Assistant\n{{% if ns.enable_thinking is false %}}<think></think>{{% else %}}<think>\n\n"
    "{% endif %}{% endif %}",
    "phi-4-reasoning": "<|im_start|>system<|im_sep|>Structure your response into a thinking process and a solution: "
    "<think> {Thought section} </think> {Solution section}.<|im_end|>{% for m in messages %}<|im_start|>{{ m.role }}"
    f"<|im_sep|>{{{{ m.content }}}}<|im_end|>{{% endfor %}}{ASKS}<|im_start|>assistant<|im_sep|>{{% endif %}}",
    "hermes-4": f"{HERMES_TOOLS}{{% if thinking %}}<|im_start|>system\nUse <think> </think> tags.<|im_end|>\n"
    f"{{% endif %}}{CHATML}{ASKS}<|im_start|>assistant\n{{% endif %}}",
    "hermes-2-pro": f"{HERMES_TOOLS}{CHATML}{ASKS}<|im_start|>assistant\n{{% endif %}}",
}
"""Templates of the same form as the published ones, shortened; marks, switches and tools are as they are there."""

TAGS = ("<think>", "</think>")
CHANNELS = ("<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>final<|message|>")
MARKS: dict[str, tuple[str, str] | None] = {
    **dict.fromkeys(FAMILIES, TAGS),
    "magistral": ("[THINK]", "[/THINK]"),
    "gpt-oss": CHANNELS,
    "hermes-2-pro": None,
}
OPENED = {"qwq", "deepseek-r1-distill", "nemotron-nano"}
OFF = {
    "qwen3": "<think>\n\n</think>\n\n",
    "qwq": "<think>\n\n</think>\n\n",
    "deepseek-r1-distill": "<think>\n\n</think>\n\n",
    "granite": "<|start_of_role|>assistant<|end_of_role|>",
    "smollm3": "<think>\n\n</think>\n",
    "magistral": "[THINK]\n\n[/THINK]\n\n",
    "gpt-oss": "<|start|>assistant<|channel|>analysis<|message|><|end|><|start|>assistant<|channel|>final<|message|>",
    "nemotron-nano": "<think>\n\n</think>\n\n",
    "phi-4-reasoning": "<think>\n\n</think>\n\n",
    "hermes-4": "<|im_start|>assistant\n",
}
TOKENIZER = PieceTokenizer(special=(*TAGS, "[THINK]", "[/THINK]"))
TOOL = {"type": "function", "function": {"name": "calculator", "parameters": {"type": "object"}}}


def chosen(family: str, thinking: str = "auto") -> tuple[tuple[str, str, bool] | None, str]:
    template = FAMILIES[family]
    form = choose_prompt_format({}, TOKENIZER, chat_template=template, preset="plain", thinking=thinking)
    marks = form.thoughts
    found = None if marks is None else (marks.open, marks.close, marks.opened)
    return found, form.render("What is 2+2?", TOKENIZER).text


@pytest.mark.parametrize("family", FAMILIES)
def test_thoughts_of_a_family_are_found(family: str) -> None:
    found, text = chosen(family)
    marks = MARKS[family]
    assert found == (None if marks is None else (*marks, family in OPENED))
    assert "What is 2+2?" in text
    if marks is not None:
        assert text.rstrip().endswith(marks[0]) is (family in OPENED)


@pytest.mark.parametrize("family", OFF)
def test_thoughts_of_a_family_can_be_switched(family: str) -> None:
    found, off = chosen(family, "off")
    assert off.endswith(OFF[family]) and found is not None and not found[2]
    _, on = chosen(family, "on")
    assert on != off
    if family in ("granite", "hermes-4"):
        assert "<think>" in on and "<think>" not in chosen(family)[1]


@pytest.mark.parametrize("family", [name for name, text in FAMILIES.items() if "tools" in text])
def test_templates_show_tools(family: str) -> None:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: re.sub(r"\s+", " ", str(value))
    messages = [{"role": "user", "content": "What is 2+2?"}]
    shown = environment.from_string(FAMILIES[family]).render(
        messages=messages, tools=[TOOL], add_generation_prompt=True
    )
    assert "calculator" in shown and "What is 2+2?" in shown
