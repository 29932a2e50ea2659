"""Prompts: chat templates, presets, step formats, and questions that try to be more than questions."""

from __future__ import annotations

import resource
import signal
import threading
import time
from contextlib import suppress
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.engine.policy.prompts import chat_template
from ramify.engine.policy.prompts.chat_template import TemplateRefused, render_chat
from ramify.engine.policy.prompts.prompt import SpecialTokens, render_prompt, special_tokens
from ramify.engine.policy.prompts.prompt_files import PRESETS, choose_preset
from ramify.engine.policy.prompts.prompt_format import choose_prompt_format
from ramify.engine.policy.prompts.step_formats import (
    STEP_FORMATS,
    choose_step_format,
    custom_step_format,
    split_steps,
    step_format,
)
from ramify.engine.policy.prompts.template_program import is_harmless
from ramify.errors import ModelLoadError, UsageError
from ramify.reward.testing import PieceTokenizer

SPECIAL = ("<s>", "</s>", "<|user|>", "<|assistant|>", "<|im_start|>", "<|im_end|>")
TOKENIZER = PieceTokenizer(special=SPECIAL)
SPACED = PieceTokenizer([" Hi"], SPECIAL, adds_space=True)

DEMO = (
    "{% for message in messages %}{% if message['role'] == 'user' %}<|user|>{{ message['content'] }}"
    "{% elif message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CHATML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content | trim + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}<|user|>{{ message['content'] }}{% endfor %}<|assistant|>"
)


def test_the_bundled_models_template() -> None:
    prompt = render_prompt("How many?", PRESETS["plain"], DEMO, TOKENIZER)
    assert prompt.text == "<|user|>How many?<|assistant|>"
    assert prompt.tokens[0] == SPECIAL.index("<|user|>")
    assert b"".join(prompt.pieces).decode() == prompt.text


def test_a_chat_template_with_a_system_message() -> None:
    prompt = render_prompt("Q?", PRESETS["math"], CHATML, TOKENIZER)
    assert prompt.text == (
        "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
        "<|im_start|>user\nQ?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("template", [DEMO, NO_SYSTEM])
def test_a_system_message_that_the_template_drops_or_refuses_starts_the_question(template: str) -> None:
    prompt = render_prompt("Q?", PRESETS["math"], template, TOKENIZER)
    assert "within \\boxed{}.\n\nQ?<|assistant|>" in prompt.text


@given(st.text(alphabet="<|user>{}%# '\n\\im_endasst/s", min_size=1).filter(str.strip))
def test_a_question_never_becomes_special_tokens_or_code(question: str) -> None:
    for template in (None, DEMO, CHATML):
        for tokenizer in (TOKENIZER, SPACED):
            harmless = render_prompt("x", PRESETS["plain"], template, tokenizer)
            prompt = render_prompt(question, PRESETS["plain"], template, tokenizer)
            special = [token for token in prompt.tokens if token < len(SPECIAL)]
            assert special == [token for token in harmless.tokens if token < len(SPECIAL)]
            assert question.strip() in prompt.text


def test_a_model_without_a_template_gets_the_presets_own_form() -> None:
    assert render_prompt(" Q? ", PRESETS["plain"], None, TOKENIZER).text == "Q?"
    shown = render_prompt("Q?", PRESETS["gsm8k"], None, TOKENIZER).text
    assert shown.endswith("The answer is 300.\n\nQuestion: Q?\nAnswer:") and shown.count("\nThe answer is ") == 3


def test_the_callers_system_message_takes_the_place_of_the_presets() -> None:
    def text(template: str | None, system: str | None, metadata: dict[str, object] | None = None) -> str:
        form = choose_prompt_format(metadata or {}, TOKENIZER, chat_template=template, system=system)
        assert form.for_texts is None or (system or "") in form.for_texts.render("Q?", TOKENIZER).text
        return form.render("Q?", TOKENIZER).text

    assert text(CHATML, "Be brief.").startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nQ?")
    assert text(CHATML, "") == "<|im_start|>user\nQ?<|im_end|>\n<|im_start|>assistant\n"
    assert text(CHATML, None) == render_prompt("Q?", PRESETS["math"], CHATML, TOKENIZER).text
    assert text(None, "Be brief.").startswith("Be brief.\n\nQuestion: A baker")
    assert text(None, "", {"ramify.prompt_preset": "plain"}) == "Q?"
    assert text(DEMO, "Be brief.", {"ramify.prompt_preset": "plain"}) == "<|user|>Be brief.\n\nQ?<|assistant|>"
    # A message of one's own may ask for any kind of answer.
    assert choose_prompt_format({}, TOKENIZER, chat_template=CHATML, preset="math").answer is not None
    assert choose_prompt_format({}, TOKENIZER, chat_template=CHATML, preset="math", system="S").answer is None
    with pytest.raises(UsageError, match="the system message holds"):
        choose_prompt_format({}, TOKENIZER, system="Answer {question}")


def test_bos_is_added_once_where_the_model_expects_it() -> None:
    special = SpecialTokens(bos="<s>", bos_id=0, add_bos=True)
    without = render_prompt("Q", PRESETS["plain"], DEMO, TOKENIZER, special=special)
    within = render_prompt("Q", PRESETS["plain"], NO_SYSTEM, TOKENIZER, special=special)
    assert without.tokens[:2] == (0, 2)
    assert within.tokens[:2] == (0, 2)
    assert render_prompt("Q", PRESETS["plain"], DEMO, TOKENIZER).tokens[0] == 2


def test_a_space_prefixing_vocabulary_sees_the_text_as_a_whole() -> None:
    prompt = render_prompt("Hi", PRESETS["plain"], DEMO, SPACED)
    assert prompt.pieces == (b"<|user|>", b" Hi", b"<|assistant|>")


@pytest.mark.parametrize("question", ["", "  \n\t"])
def test_an_empty_question_is_refused(question: str) -> None:
    with pytest.raises(UsageError, match="the question is empty"):
        render_prompt(question, PRESETS["plain"], None, TOKENIZER)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for %}", "not valid"),
        ("{{ messages.nothing.at_all }}", "fails"),
        ("{{ ''.__class__.__mro__ }}", "fails"),
        ("no question here", "leaves out the question"),
        ("{{ raise_exception('never') }}", "refuses"),
    ],
)
def test_a_broken_template_is_a_clear_error(template: str, message: str) -> None:
    with pytest.raises(ModelLoadError, match=message):
        render_prompt("Q", PRESETS["plain"], template, TOKENIZER)


def test_templates_have_what_transformers_gives_them() -> None:
    template = (
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{% set ns.n = ns.n + 1 %}{% generation %}{{ m | tojson }}{% endgeneration %}{% endfor %}"
        "{{ ns.n }} {{ strftime_now('%d %b %Y') }} {{ bos_token }}{{ eos_token }}"
    )
    messages = [{"role": "user", "content": "é"}, {"role": "user", "content": "b"}]
    text = render_chat(template, messages, bos="<s>", eos="</s>", now=datetime(2025, 7, 1))
    assert text == '{"role": "user", "content": "é"}1 01 Jul 2025 <s></s>'
    with pytest.raises(TemplateRefused, match="why"):
        render_chat("{{ raise_exception('why') }}", messages)


def test_a_prompt_without_a_template_is_one_text() -> None:
    tokenizer = PieceTokenizer([": Hi", "!\n"], SPECIAL)
    prompt = render_prompt("Hi <|user|>!", PRESETS["gsm8k"], None, tokenizer)
    assert b": Hi" in prompt.pieces and b"!\n" in prompt.pieces
    assert all(token >= len(SPECIAL) for token in prompt.tokens)


def test_stop_sequences_are_not_those_of_models_trained_for_ramify() -> None:
    assert "Question" in choose_prompt_format({}, TOKENIZER).step.stop
    assert "Question" not in choose_prompt_format({}, TOKENIZER, chat_template=DEMO, preset="gsm8k").step.stop
    for preset in (None, "gsm8k", "math"):
        own = {"ramify.prompt_preset": "plain", "ramify.step_format": "line"}
        assert choose_prompt_format(own, TOKENIZER, chat_template=DEMO, preset=preset).step == STEP_FORMATS["line"]


def test_begin_and_end_tokens_come_from_the_metadata() -> None:
    metadata: dict[str, object] = {"tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": "1"}
    assert special_tokens(metadata, TOKENIZER) == SpecialTokens(bos="<s>", eos="</s>", bos_id=0, add_bos=False)
    assert special_tokens({**metadata, "tokenizer.ggml.model": "llama"}, TOKENIZER).add_bos
    assert special_tokens({**metadata, "tokenizer.ggml.add_bos_token": "true"}, TOKENIZER).add_bos
    for none in (4294967295, -1, "none"):
        unset = {**metadata, "tokenizer.ggml.model": "llama", "tokenizer.ggml.bos_token_id": none}
        assert special_tokens(unset, TOKENIZER) == SpecialTokens(bos="", eos="</s>", bos_id=None, add_bos=False)
    explicit = {**metadata, "tokenizer.ggml.model": "llama", "tokenizer.ggml.add_bos_token": False}
    assert not special_tokens(explicit, TOKENIZER).add_bos
    assert special_tokens({"tokenizer.ggml.model": "llama"}, TOKENIZER) == SpecialTokens()


def test_the_preset_is_the_callers_else_the_files_else_what_suits_the_model() -> None:
    demo: dict[str, object] = {"ramify.prompt_preset": "plain"}
    assert choose_preset("gsm8k", demo, DEMO).name == "gsm8k"
    assert choose_preset(None, demo, DEMO).name == "plain"
    assert choose_preset(None, {}, CHATML).name == "math"
    assert choose_preset(None, {}, None).name == "gsm8k"
    with pytest.raises(UsageError, match="did you mean 'math'"):
        choose_preset("maths", {}, None)
    with pytest.raises(ModelLoadError, match="'other'"):
        choose_preset(None, {"ramify.prompt_preset": "other"}, None)


def test_the_step_format_is_the_callers_else_the_files_else_the_presets() -> None:
    metadata: dict[str, object] = {"ramify.step_format": "line"}
    assert choose_step_format("step-k", metadata, PRESETS["math"]).name == "step-k"
    assert choose_step_format(None, metadata, PRESETS["math"]).name == "line"
    assert choose_step_format(None, {}, PRESETS["math"]).name == "blank-line"
    with pytest.raises(ModelLoadError, match="step format"):
        choose_step_format(None, {"ramify.step_format": "lines"}, PRESETS["math"])


BOMBS = {
    "endless": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}"
    "{% endfor %}{% endfor %}{{ messages[0].content }}",
    "large": "{{ messages[0].content * 80000000 }}",
    "large when compiled": "{{ 'a' * 2000000000 }}",
    "endless when compiled": "{{ 7 ** (9 ** 9) }}",
    "doubled": "{% set a = 'aaaaaaaa' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "in a name space": "{% set n = namespace(a='aa') %}{% for m in messages %}"
    + "{% set n.a = n.a + n.a %}" * 40
    + "{% endfor %}{{ n.a }}",
    "recursive": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "many loops": "{% for m in messages %}{% for a in m.content %}{% for b in m.content %}{% for c in m.content %}"
    "{% for d in m.content %}{% for e in m.content %}a{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}"
    "{% endfor %}",
    "JSON in JSON": "{{ messages" + "|tojson" * 60 + " }}",
    "padded": "{{ '%999999999s' % messages[0].content }}",
    "deep": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "long file": "a" * 2_000_000 + "{{ messages[0].content }}",
    "many parts": "{% for a in range(99999) %}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{% endfor %}",
}


@pytest.mark.parametrize("template", BOMBS.values(), ids=BOMBS)
def test_a_template_that_never_ends_or_makes_much_text_is_stopped(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "TEMPLATE_LIMIT_S", 0.3)
    own, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert not is_harmless(template)
    with pytest.raises(ModelLoadError, match=r"chat template (fails|takes|makes|has|is not valid)") as caught:
        render_chat(template, [{"role": "user", "content": "C" * 40}])
    assert len(str(caught.value)) < 1500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - own < 60_000
    assert time.process_time() - start < 5.0, "the child does the work"
    with pytest.raises(ModelLoadError):
        render_chat(template, [{"role": "user", "content": "C" * 40}])
    assert time.process_time() - start < 5.0, "it is not tried again"
    # The next child may take longer to start.
    monkeypatch.setattr(chat_template, "TEMPLATE_LIMIT_S", 60.0)
    assert render_chat("{{ messages|length }}", [{"role": "user", "content": "x"}]) == "1"


def test_a_template_that_was_late_once_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    template, messages = (
        "{% for a in range(9) %}{{ messages|length }}{% endfor %}",
        [{"role": "user", "content": "late"}],
    )
    assert not is_harmless(template)
    with monkeypatch.context() as busy:
        busy.setattr(chat_template._templates, "ask", lambda *_, **__: None)
        with pytest.raises(ModelLoadError, match="takes more than"):
            render_chat(template, messages)
    monkeypatch.setattr(chat_template, "TEMPLATE_LIMIT_S", 60.0)
    assert render_chat(template, messages) == "1" * 9


@pytest.mark.parametrize("template", [CHATML, DEMO, "{{ raise_exception('no') }}", "{{ messages[0].content | trim }}"])
def test_a_plain_template_needs_no_child(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "_templates", None)
    assert is_harmless(template)
    with suppress(TemplateRefused):
        assert render_chat(template, [{"role": "user", "content": "Q"}])


def test_an_interrupted_request_leaves_no_reply_behind() -> None:
    process = chat_template._templates  # pyright: ignore[reportPrivateUsage]
    request = {"template": "{{ now }}", "messages": [], "reply": True, "bos": "", "eos": "", "now": "2026-01-01"}
    threading.Timer(0.5, signal.pthread_kill, [threading.get_ident(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        process.ask({**request, "template": BOMBS["endless"]}, time_limit_s=30)
    assert process.ask({**request, "template": "next"}, time_limit_s=30) == ["text", "next"]


def test_a_model_files_format() -> None:
    metadata: dict[str, object] = {
        "ramify.prompt_preset": "plain",
        "ramify.step_format": "line",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }
    format = choose_prompt_format(metadata, TOKENIZER, chat_template=DEMO)
    assert b"".join(map(TOKENIZER.piece, format.encode("Q", TOKENIZER))) == b"<s><|user|>Q<|assistant|>"
    assert format.split("a\nb") == ["a\n", "b"]
    assert choose_prompt_format({}, TOKENIZER).preset.name == "gsm8k"
    with pytest.raises(ModelLoadError, match="not valid"):
        choose_prompt_format(metadata, TOKENIZER, chat_template="{% if %}")


def test_ones_own_step_pattern() -> None:
    assert step_format("regex:;").pattern == ";"
    with pytest.raises(UsageError, match="is no regular expression"):
        custom_step_format("(")
    with pytest.raises(UsageError, match="matches the empty text"):
        custom_step_format("x*")
    with pytest.raises(UsageError, match="did you mean 'blank-line'"):
        step_format("blankline")
    with pytest.raises(UsageError, match="has 6,000 characters; give one of 500 at most"):
        step_format(f"regex:{'regex:' * 1000}")
    split_steps("| a | b |\n" * 800, step_format(f"regex:{'ab' * 250}"))
    with pytest.raises(UsageError, match="takes too much time or memory to compile"):
        step_format("regex:(?:(?:(?:(?:a){100}){100}){100}){100}")
    assert split_steps("a;b;;c", step_format("regex:(?<!;);(?!;)")) == ["a;", "b;;c"]


@pytest.mark.parametrize("named", ["regex:\\n", "regex:(x+x+)+y", "no-such-format", "line\n", "regex:" + "(" * 100_000])
def test_a_model_file_may_only_name_a_step_format(named: str) -> None:
    metadata = {"ramify.prompt_preset": "plain", "ramify.step_format": named}
    with pytest.raises(ModelLoadError, match="line, blank-line, step-k; choose one with --step-format") as caught:
        choose_prompt_format(metadata, TOKENIZER, chat_template=DEMO)
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)
    assert choose_prompt_format(metadata, TOKENIZER, chat_template=DEMO, step_format="line").step.name == "line"


@pytest.mark.parametrize(
    ("name", "text", "steps"),
    [
        ("line", "a\nb\nThe answer is 1.", ["a\n", "b\n", "The answer is 1."]),
        ("line", "\na\n\n", ["\na\n\n"]),
        ("line", "a\n\nb", ["a\n", "\nb"]),
        ("blank-line", "a\nb\n\nc", ["a\nb\n\n", "c"]),
        ("step-k", "Step 1: a\nStep 2: b", ["Step 1: a\nStep 2:", " b"]),
        ("line", "", [""]),
        ("line", "\n", ["\n"]),
    ],
)
def test_text_is_cut_where_generation_would_have_stopped(name: str, text: str, steps: list[str]) -> None:
    assert split_steps(text, STEP_FORMATS[name]) == steps


@given(st.text(alphabet="ab\n :Step12", max_size=60), st.sampled_from(sorted(STEP_FORMATS)))
def test_cut_steps_join_to_the_text_and_stay_whole(text: str, name: str) -> None:
    steps = split_steps(text, STEP_FORMATS[name])
    assert "".join(steps) == text
    assert all(split_steps(step, STEP_FORMATS[name]) == [step] for step in steps)
