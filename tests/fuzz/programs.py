"""Fuzz targets: readers of what models, files and servers say, each fed with mutated and with random inputs.

`python tests/fuzz/programs.py TARGET SECONDS` runs one target under limits of memory and of time an example. Every
error but a RamifyError, or one that the reader's contract names, ends it with the smallest input that hypothesis finds.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ramify.errors import RamifyError

MEMORY_BYTES = 6 << 30
"""Address space of the process; libraries take about two thirds of it."""
SECONDS_AN_EXAMPLE = 5.0

FOLDER = Path(tempfile.mkdtemp(prefix="ramify-fuzz-"))


@dataclass(frozen=True)
class Target:
    """`inputs` are what `run` is called with; `allowed` are the errors, beside RamifyError, that it may raise."""

    inputs: st.SearchStrategy[Any]
    run: Callable[[Any], object]
    allowed: tuple[type[Exception], ...] = ()


def mutations(*samples: bytes) -> st.SearchStrategy[bytes]:
    """Return samples with some bytes changed, cut, doubled or put in."""
    edit = st.tuples(
        st.integers(0, 1 << 20), st.sampled_from(("set", "cut", "insert", "repeat")), st.binary(max_size=9)
    )

    def mutated(sample: bytes, edits: list[tuple[int, str, bytes]]) -> bytes:
        for place, kind, data in edits:
            at = place % (len(sample) + 1)
            if kind == "set":
                sample = sample[:at] + data + sample[at + len(data) :]
            elif kind == "cut":
                sample = sample[:at]
            elif kind == "insert":
                sample = sample[:at] + data + sample[at:]
            else:
                sample = sample[:at] + sample[max(0, at - 40) : at] * (len(data) + 1) + sample[at:]
        return sample

    return st.builds(mutated, st.sampled_from(samples), st.lists(edit, max_size=6))


def texts(*words: str) -> st.SearchStrategy[str]:
    """Return texts of the given words and of any characters."""
    part = st.one_of(st.sampled_from(words), st.text(max_size=3))
    long = st.builds(lambda word, count: word * count, st.sampled_from(words), st.integers(1, 3000))
    return st.one_of(st.lists(part, max_size=30).map("".join), long)


# Model files


def _gguf_sample() -> bytes:
    import numpy as np
    from gguf import GGUFWriter

    path = FOLDER / "sample.gguf"
    writer = GGUFWriter(path, "llama")
    for name in ("block_count", "context_length", "embedding_length", "feed_forward_length"):
        writer.add_uint32(f"llama.{name}", 8)
    writer.add_uint32("llama.attention.head_count", 1)
    writer.add_string("ramify.step_format", "line")
    writer.add_string("tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([b"a", b"b", b"<s>"])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(2)
    writer.add_tensor("token_embd.weight", np.zeros((3, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def read_header(data: bytes) -> None:
    from ramify.engine.runtime.llama.gguf_check import check_gguf

    path = FOLDER / "fuzz.gguf"
    path.write_bytes(data)
    check_gguf(path)


class Bytes:
    """A vocabulary of single bytes."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        return list(text.encode("utf-8", "surrogatepass"))

    def piece(self, id: int, /) -> bytes:
        return bytes([id % 256])


def read_template(case: tuple[str, str]) -> None:
    from ramify.engine.policy.prompts.prompt_format import choose_prompt_format

    template, question = case
    format = choose_prompt_format({}, Bytes(), chat_template=template)
    if question.strip():
        format.encode(question, Bytes())


TEMPLATES = texts(
    "{{ messages }}", "{% for m in messages %}", "{{ m['content'] }}", "{% endfor %}", "{{ bos_token }}",
    "{% if true %}", "{% endif %}",
    "{{ 'x' * 10 ** 6 }}", "{{ raise_exception('no') }}", "{% set x = x ~ x %}", "{{ range(10 ** 9) }}",
    "{{ ().__class__.__mro__ }}", "{{ m.role | upper | join }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ namespace(a=1) }}", "{{ strftime_now('%Y') }}", "{{ tools | tojson }}",
)  # fmt: skip


def read_step_format(case: tuple[str, str]) -> None:
    from ramify.engine.policy.prompts.step_formats import split_steps, step_format

    name, text = case
    steps = split_steps(text, step_format(name))
    assert "".join(steps) == text


STEP_FORMATS = st.one_of(
    st.sampled_from(("line", "blank-line", "step-k")),
    texts("regex:", "(a+)+$", "(?:a|a)*b", "\\n", "(?<=x)", "[", "{1000}", "(?R)", ".*.*.*").map(
        lambda text: "regex:" + text.removeprefix("regex:")
    ),
)
PROSE = texts(
    "Step 1: ", "\n", "\n\n", "```", "$$", "\\[", "\\]", "**Step 2**", "- ", "1. ", "    ", "| a | b |\n", "aaaa", " "
)

# Answers

ANSWER_PARTS = (
    "\\boxed{", "}", "{", "\\frac{1}{2}", "\\sqrt{", "#### ", "The answer is ", "Answer: ", "**Final Answer:** ", "(B)",
    "1,000", "3.5e400", "9" * 50, "x^2", "^{", "= ", "\\text{ m}", "$", "\\left(", "1/0", "0.1\\overline{3}", "!",
    "{,}", "[1, 2)", "\\pm", "\\begin{pmatrix} 1 & 2 \\end{pmatrix}", "A", "\n", " ",
    "\\", "_{10}", "%", "km", "½", "²", "∞",
)  # fmt: skip
ANSWERS = texts(*ANSWER_PARTS)


def read_answer(text: str) -> None:
    from ramify.answers.extract import extract_answer, last_number
    from ramify.answers.kinds import code_in, guess_kind, kind_of_texts, options_of
    from ramify.answers.normal_forms import normalise
    from ramify.answers.similarity import similarity
    from ramify.reward.arithmetic import find_equations

    for reader in (extract_answer, last_number, code_in, guess_kind, options_of, normalise, find_equations):
        reader(text)
    kind_of_texts([text])
    similarity(text, text[::-1])


def compare_answers(pair: tuple[str, str]) -> None:
    from ramify.answers.equality import accepts_quickly, decide_quickly, same_in_votes_quickly
    from ramify.answers.normal_forms import normalise

    a, b = pair
    assert not normalise(a) or decide_quickly(a, a) is not False
    for compare in (accepts_quickly, decide_quickly, same_in_votes_quickly):
        compare(a, b)
    assert same_in_votes_quickly(a, b) == same_in_votes_quickly(b, a)


# Servers

REPLY = json.dumps(
    {
        "id": "x",
        "choices": [
            {
                "index": 0,
                "text": "2 + 3 = 5",
                "delta": {"content": "5"},
                "message": {"role": "assistant", "content": "5"},
                "finish_reason": "stop",
                "logprobs": {"content": [{"token": "5", "logprob": -0.1}]},
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 1}},
        "error": {"message": "busy", "code": 429},
    }
).encode()
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                ("choices", "index", "text", "delta", "message", "content", "finish_reason", "logprobs", "usage",
                 "error", "prompt_tokens", "completion_tokens", "code", "tokens", "token_logprobs")
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())  # fmt: skip
_OPENINGS = st.sampled_from((b"[", b'{"a":', b'[{"error":'))
DEEP = st.builds(lambda opening, count: opening * count, _OPENINGS, st.integers(1, 60_000))
REPLIES = st.one_of(mutations(REPLY), JSON, DEEP, st.binary(max_size=50))


def read_server_reply(data: bytes) -> None:
    from ramify.engine.policy.remote.reply import ReplyParser, StreamedText

    for whole in (True, False):
        parser = ReplyParser([StreamedText("", None)])
        if whole:
            parser.take_whole(data)
        else:
            for line in (b"data: " + data).splitlines():
                parser.take_line(line)
        parser.missing()


# Folders and settings


def _batch_folder() -> Path:
    import anyio

    from ramify.batch import BatchConfig, run_batch
    from ramify.engine.engine import Engine
    from ramify.problem import Problem
    from ramify.testing import ScriptedModel

    folder = FOLDER / "batch"

    async def write() -> None:
        async with Engine(model=ScriptedModel(lambda question, path: "The answer is 5."), reward=None) as engine:
            await run_batch([Problem("2 + 3?", "5")], folder, BatchConfig(save_trees=True), engine=engine)

    anyio.run(write)
    return folder


def read_run_folder(case: tuple[str, bytes]) -> None:
    from ramify.batch.report.analysis import analyse

    name, data = case
    folder = FOLDER / "batch"
    kept = (folder / name).read_bytes()
    (folder / name).write_bytes(data)
    try:
        analyse(folder).to_dict()
    finally:
        (folder / name).write_bytes(kept)


def _run_files() -> st.SearchStrategy[tuple[str, bytes]]:
    folder = _batch_folder()
    names = ("items.jsonl", "manifest.json", "attempts.jsonl")
    return st.one_of(
        [st.tuples(st.just(name), st.one_of(mutations((folder / name).read_bytes()), JSON, DEEP)) for name in names]
    )


def read_saved_run(data: bytes) -> None:
    from ramify.engine.history import RunStore

    folder = FOLDER / "runs"
    store = RunStore(folder)
    [path] = folder.glob("*.jsonl")
    path.write_bytes(data)
    for run in store.list():
        store.load(run.id)


def _saved_runs() -> st.SearchStrategy[bytes]:
    import anyio

    from ramify.engine.engine import Engine
    from ramify.engine.history import RunStore
    from ramify.testing import ScriptedModel

    async def write() -> None:
        async with Engine(model=ScriptedModel(lambda question, path: "The answer is 5."), reward=None) as engine:
            RunStore(FOLDER / "runs").save(await engine.solve("2 + 3?"), {"width": 16})

    anyio.run(write)
    [path] = (FOLDER / "runs").glob("*.jsonl")
    sample = path.read_bytes()
    header = sample.partition(b"\n")[0] + b"\n"
    return st.one_of(mutations(sample), st.one_of(JSON, DEEP).map(lambda data: header + data + b"\n"))


def read_problem_file(case: tuple[str, bytes]) -> None:
    from ramify.batch.store.records import read_records

    ending, data = case
    path = FOLDER / f"problems.{ending}"
    path.write_bytes(data)
    for _ in read_records(path):
        pass


PROBLEMS = st.one_of(
    st.tuples(st.just("jsonl"), st.one_of(mutations(b'{"question": "2+3?", "answer": 5}\n' * 3), JSON, DEEP)),
    st.tuples(st.sampled_from(("csv", "tsv")), mutations(b'question,answer\n"2+3?",5\n"a\nb","x""y"\n')),
)


def read_settings(data: bytes) -> None:
    import os

    from ramify.cli.config import all_settings

    path = FOLDER / "config.toml"
    path.write_bytes(data)
    os.environ["RAMIFY_CONFIG"] = str(path)
    all_settings()


SETTINGS = st.one_of(
    mutations(b'model = "demo-m"\nwidth = 8\nmax_seconds = "90s"\ntemperature = 0.7\n[keys]\nquit = "q"\n'),
    DEEP.map(lambda data: b"width = " + data),
    st.binary(max_size=60),
)


def read_option(case: tuple[str, str]) -> None:
    from ramify.config import SETTINGS as declared

    name, text = case
    declared[name].parse(text)


def _options() -> st.SearchStrategy[tuple[str, str]]:
    from ramify.config import SETTINGS as declared

    values = texts("1", "e", "-", "0", "9" * 20, "k", "m", "s", "inf", "nan", ",", ":", "regex:", "beta", ".", "_")
    return st.tuples(st.sampled_from(sorted(declared)), values)


TARGETS: dict[str, Callable[[], Target]] = {
    "headers": lambda: Target(mutations(_gguf_sample()), read_header),
    "templates": lambda: Target(st.tuples(TEMPLATES, st.text(max_size=8)), read_template),
    "step-formats": lambda: Target(st.tuples(STEP_FORMATS, PROSE), read_step_format),
    "answers": lambda: Target(ANSWERS, read_answer),
    "equality": lambda: Target(st.tuples(ANSWERS, ANSWERS), compare_answers),
    "replies": lambda: Target(REPLIES, read_server_reply, _reply_errors()),
    "run-folders": lambda: Target(_run_files(), read_run_folder),
    "saved-runs": lambda: Target(_saved_runs(), read_saved_run),
    "problem-files": lambda: Target(PROBLEMS, read_problem_file),
    "settings": lambda: Target(SETTINGS, read_settings),
    "options": lambda: Target(_options(), read_option),
}


def _reply_errors() -> tuple[type[Exception], ...]:
    from ramify.engine.policy.remote.http import Refused, Unreachable

    return Refused, Unreachable


def fuzz(name: str, seconds: float) -> int:
    """Run a target for some time; return how many inputs it was given."""
    target = TARGETS[name]()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    count = 0
    end_s = time.monotonic() + seconds
    start = time.time_ns() & 0xFFFFFFFF

    def one(value: Any) -> None:
        nonlocal count
        count += 1
        begun_s = time.process_time()
        with suppress(RamifyError, *target.allowed):
            target.run(value)
        taken_s = time.process_time() - begun_s
        assert taken_s < SECONDS_AN_EXAMPLE, f"{taken_s:.1f} s of processor time"

    while time.monotonic() < end_s:
        checks = settings(
            max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False
        )
        seed(start + count)(checks(given(target.inputs)(one)))()
    return count


if __name__ == "__main__":
    sys.stdout.write(f"{fuzz(sys.argv[1], float(sys.argv[2]))} inputs\n")
