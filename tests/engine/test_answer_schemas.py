"""Answers by a JSON schema: what is refused, and what models write under the grammar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest

import ramify
from ramify.answers.checkers import make_checker
from ramify.answers.reading import AnswerReader
from ramify.answers.schemas import ANSWER_MARK, canonical, grammar_of, read_schema
from ramify.config import RunConfig
from ramify.engine.runtime.decode.answer_text import AnswerText
from ramify.engine.runtime.decode.calculator import exact_tokens
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.grammar import Grammar
from ramify.engine.runtime.llama.library import library
from ramify.engine.runtime.llama.native import Model
from ramify.engine.runtime.messages import AnswerGrammar
from ramify.engine.testing import ScriptedModel
from ramify.errors import UsageError
from ramify.solution import Solution

QUESTION = "Ann has 3 apples and buys 4 more. How many apples does she have?"


class Count(pydantic.BaseModel):
    number: int = pydantic.Field(ge=0, le=99)
    fruit: str = pydantic.Field(max_length=8)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("[1]", "no such file|cannot be read|No such file"),
        ('{"type": "objekt"}', "cannot be a grammar"),
        ('{"type": "object"', "not JSON"),
        ({"not": {"type": "string"}}, "it says 'not'"),
        ({"type": "number", "minimum": 0}, "it says 'minimum'"),
        ({"type": "integer", "minimum": 0, "maximum": 256}, "it says 'minimum'"),
        ({"enum": []}, "is empty"),
        ({"$ref": "https://example.org/schema.json"}, "cannot be a grammar"),
        ({"$ref": "#/$defs/none"}, "cannot be a grammar"),
        ({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}, "it says 'uniqueItems'"),
        ({"type": "string", "pattern": "a(?=b)"}, "cannot be a grammar"),
        ({"type": "string", "description": "x" * 70_000}, "characters"),
    ],
)
def test_schemas_that_cannot_be_grammars_are_refused(schema, reason):
    with pytest.raises(UsageError, match=reason):
        read_schema(schema)


def test_properties_may_have_the_names_of_keywords():
    assert json.loads(read_schema({"type": "object", "properties": {"not": {"type": "string"}}}).text)


def test_a_schema_is_a_model_a_mapping_a_text_or_a_file(tmp_path):
    plain = {"type": "integer"}
    (tmp_path / "a.json").write_text(json.dumps(plain, indent=4))
    texts = {read_schema(each).text for each in (plain, json.dumps(plain), str(tmp_path / "a.json"))}
    assert texts == {'{"type":"integer"}'}
    assert read_schema(Count).value('{"number": 7, "fruit": "fig"}') == Count(number=7, fruit="fig")
    assert RunConfig(answer_schema=str(tmp_path / "a.json")).answer_schema == '{"type":"integer"}'
    with pytest.raises(UsageError, match="has a schema"):
        RunConfig(answer_schema='{"type":"integer"}', answer="code")


def test_values_are_equal_whatever_their_texts():
    same = make_checker("json").same
    assert same('{"a": 1, "b": [2.0]}', '{"b":[2],"a":1}') and not same("1", '"1"') and not same("x", "x")
    assert canonical("1e3") == "1000" and canonical("{") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f'I think {{"number": 1}}.{ANSWER_MARK}{{"number":2}}', '{"number": 2}'),
        (f"So.{ANSWER_MARK}7", "7"),
        (f'So.{ANSWER_MARK}{{"number":', None),
        ('First {"number": 1}, then {"number": 3}.', '{"number": 3}'),
        ("Nothing.", None),
    ],
)
def test_the_value_after_the_mark_is_the_answer(text, answer):
    assert AnswerReader.of(QUESTION, "json").read(text) == answer


def test_strings_hold_no_control_characters():
    assert r'char ::= [^"\\\x7F\x00-\x1F] |' in grammar_of(read_schema(Count).text)


def test_a_grammar_follows_a_text():
    # Without a vocabulary a grammar can only be made and copied.
    grammar = Grammar(library(), None, grammar_of(read_schema(Count).text))
    assert grammar.copy() is not grammar
    with pytest.raises(UsageError, match="cannot be read"):
        Grammar(library(), None, "no grammar")


async def solved(**options):
    async with ramify.Engine("demo-s", None) as engine:
        return await engine.solve(QUESTION, answer_schema=Count, seed=5, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": ramify.Greedy()},
        {"strategy": ramify.MajorityVote(width=6)},
        {"strategy": ramify.MajorityVote(width=6), "max_step_tokens": 20, "max_path_tokens": 300},
        {"strategy": ramify.MajorityVote(width=4), "max_path_tokens": 100},
        {"strategy": ramify.MajorityVote(width=4), "sampling": ramify.SamplingParams(repeat_penalty=1.2, top_k=20)},
    ],
)
async def test_every_path_ends_with_a_value_of_the_schema(options):
    solution = await solved(**options)
    assert solution.usage.policy.reevaluated_tokens == 0
    assert isinstance(solution.value, Count) and solution.reading.kind == "json"
    for each in solution.candidates:
        assert each.text.count(ANSWER_MARK.strip()) == 1
        Count.model_validate_json(each.answer)
        assert canonical(each.text.rpartition(ANSWER_MARK)[2]) == each.answer
    again = await solved(**options)
    assert {node.path: node.text for node in again.tree} == {node.path: node.text for node in solution.tree}
    read = Solution.from_dict(json.loads(json.dumps(solution.to_dict())))
    assert read == solution and read.value == json.loads(solution.answer)


async def test_a_path_alone_has_the_tokens_that_it_has_among_others():
    many = await solved(strategy=ramify.MajorityVote(width=6))
    one = await solved(strategy=ramify.MajorityVote(width=1))
    assert one.candidates[0].text == many.candidates[0].text


async def test_models_without_grammars_refuse_a_schema():
    async with ramify.Engine(ScriptedModel({}), None) as engine:
        with pytest.raises(UsageError, match="cannot write answers by a schema"):
            await engine.solve(QUESTION, answer_schema=Count)


def sentencepiece_file(path: Path) -> None:
    """Write a file whose vocabulary puts a blank before a text, as those of Llama 2 and Mistral do."""
    gguf: Any = pytest.importorskip("gguf")
    writer, kinds = gguf.GGUFWriter(path, "llama"), gguf.TokenType
    writer.add_context_length(256)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-6)
    pieces = ["▁", "▁{", "{", '"', "a", ":", "1", "}", ",", "▁a"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{each:02X}>" for each in range(256)), *pieces]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, *[kinds.BYTE] * 256, *[kinds.NORMAL] * len(pieces)]
    )
    writer.add_token_scores([0.0] * 259 + [-float(each) for each in range(len(pieces))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_tensor("token_embd.weight", np.zeros((len(tokens), 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("written", "follows"), [("", "{"), ("{", '"'), ('{"a"', ":"), ('{"a":1', "}"), ('{"a": 1}', ""), ("nonsense", "{")]
)
def test_an_answer_goes_on_where_a_step_ended_in_a_vocabulary_of_sentencepiece(tmp_path, written, follows):
    sentencepiece_file(tmp_path / "spm.gguf")
    vocabulary = Model(ModelConfig(path=str(tmp_path / "spm.gguf")), vocabulary_only=True).vocabulary
    schema = '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
    grammar = grammar_of(read_schema(schema).text)
    answer = AnswerText(AnswerGrammar(grammar=grammar, schema=schema, mark="\n", after=0, reserve=0, written=written))
    row = np.zeros(vocabulary.size, np.float32)
    answer.mask(row, vocabulary.grammar(grammar), lambda text: exact_tokens(vocabulary, text))
    allowed = {vocabulary.piece(int(each)) for each in np.flatnonzero(row == 0)}
    assert not follows or follows.encode() in allowed
