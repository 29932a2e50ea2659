"""LM-head rewards: formats, reading positions, incremental requests, limits and checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ramify.errors import RewardContextExceeded, RewardError, RewardSpecError
from ramify.reward.layout import PathLayout
from ramify.reward.lm_head import LmHeadReward
from ramify.reward.mlp import MlpHead
from ramify.reward.protocol import ReadRequest, ReadResult, ScoredStep
from ramify.reward.scores import combined, score_of, sigmoid
from ramify.reward.spec_loading import BUILTIN_SPECS
from ramify.reward.specs import RewardSpec
from ramify.reward.testing import PieceTokenizer, ScriptedScorer

pytestmark = pytest.mark.anyio

DEMO = BUILTIN_SPECS["ramify-demo-prm"]
DEMO_VOCABULARY = PieceTokenizer(special=["<|user|>", "<|assistant|>", "<|step|>", "<|good|>", "<|bad|>"])
SHEPHERD_VOCABULARY = PieceTokenizer([" ки", " +", " -"], ["<s>"], adds_space=True)
VERSA_VOCABULARY = PieceTokenizer([" \n\n\n\n", " \n\n", "+", "-"], ["<|begin_of_text|>"])
CHAT = RewardSpec(
    name="chat",
    prompt_template="<|user|>{question} ",
    first_step_template="{step}<|assistant|>+<|end|>",
    step_template="<|user|>{step}<|assistant|>+<|end|>",
    tag="+",
    good="+",
    bad="-",
    read_at="before_tag",
    context_limit=4096,
)
CHAT_VOCABULARY = PieceTokenizer(["+", "-"], ["<|user|>", "<|assistant|>", "<|end|>"])


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def text(tokenizer: PieceTokenizer, tokens: Sequence[int]) -> str:
    return b"".join(map(tokenizer.piece, tokens)).decode()


def level(tokenizer: PieceTokenizer) -> Callable[[tuple[int, ...], tuple[int, ...]], list[float]]:
    """Score a path by its length, so that every path has a score of its own."""
    return lambda tokens, ids: [len(tokens) / 100, *(0.0 for _ in ids[1:])]


def step(node: int, *path: str, parent: int | None = None) -> ScoredStep:
    return ScoredStep(node=node, parent=parent, path=path)


@pytest.mark.parametrize(
    ("spec", "tokenizer", "expected", "tag"),
    [
        (DEMO, DEMO_VOCABULARY, "<|user|>Q?<|assistant|>a\n<|step|>b<|step|>", "<|step|>"),
        (BUILTIN_SPECS["math-shepherd"], SHEPHERD_VOCABULARY, "<s> Q? a ки\nb ки\n", " ки"),
        (BUILTIN_SPECS["versaprm"], VERSA_VOCABULARY, "<|begin_of_text|>Q? \n\na \n\n\n\nb \n\n\n\n", " \n\n\n\n"),
    ],
)
def test_a_path_reads_as_its_model_expects(
    spec: RewardSpec, tokenizer: PieceTokenizer, expected: str, tag: str
) -> None:
    path = PathLayout(spec, tokenizer).path("Q?", ["a\n", "b"], own=2)
    assert text(tokenizer, path.tokens) == expected
    assert [text(tokenizer, [path.tokens[at]]) for at in path.read] == [tag, tag]


def test_before_the_tag_the_token_that_predicts_it_is_read_and_the_tag_comes_with_the_next_step() -> None:
    layout = PathLayout(CHAT, CHAT_VOCABULARY)
    first, second = layout.path("Q", ["a"]), layout.path("Q", ["a", "b"])
    assert text(CHAT_VOCABULARY, first.tokens) == "<|user|>Q a<|assistant|>"
    assert text(CHAT_VOCABULARY, second.tokens) == "<|user|>Q a<|assistant|>+<|end|><|user|>b<|assistant|>"
    assert first.read == (len(first.tokens) - 1,)
    assert second.tokens[: len(first.tokens)] == first.tokens


def test_a_tag_in_a_step_or_question_does_not_move_the_reading_position() -> None:
    path = PathLayout(DEMO, DEMO_VOCABULARY).path("<|step|>", ["x<|step|>y"])
    assert path.tokens.count(2) == 1
    shepherd = PathLayout(BUILTIN_SPECS["math-shepherd"], SHEPHERD_VOCABULARY).path("Q ки\n", ["x ки\ny"])
    assert shepherd.read == (len(shepherd.tokens) - 2,)


def test_a_spec_that_does_not_fit_the_vocabulary_is_refused() -> None:
    with pytest.raises(RewardSpecError, match="the tag token ' ки' is 5 tokens"):
        LmHeadReward(BUILTIN_SPECS["math-shepherd"], DEMO_VOCABULARY, ScriptedScorer(level(DEMO_VOCABULARY)))


def test_a_tag_that_merges_with_its_surroundings_is_refused() -> None:
    merging = PieceTokenizer([" ки", " ки\n", " +", " -"], ["<s>"])
    with pytest.raises(RewardSpecError, match="not a token of its own"):
        PathLayout(BUILTIN_SPECS["math-shepherd"], merging)


async def test_each_step_costs_only_its_own_tokens() -> None:
    scorer = ScriptedScorer(level(DEMO_VOCABULARY))
    session = await LmHeadReward(DEMO, DEMO_VOCABULARY, scorer).open("Q?")
    await session.score([step(1, "aaaa\n")])
    assert session.usage.evaluated_tokens == 10
    await session.score([step(2, "aaaa\n", "bb\n", parent=1)])
    assert (session.usage.evaluated_tokens, session.usage.cached_tokens) == (14, 10)
    assert (scorer.requests[1].parent, scorer.requests[1].ids) == (1, (3, 4))
    await session.release([1])
    await session.close()
    assert (scorer.released, scorer.open_runs) == ([1], 0)


async def test_scores_come_in_order_and_are_the_probability_of_good() -> None:
    session = await LmHeadReward(DEMO, DEMO_VOCABULARY, ScriptedScorer(level(DEMO_VOCABULARY))).open("Q?")
    long, short = await session.score([step(1, "aaaa\n"), step(2, "b\n")])
    assert long == pytest.approx(1 / (1 + math.exp(-0.10)))
    assert short == pytest.approx(1 / (1 + math.exp(-0.07)))
    assert await session.score([]) == []


async def test_one_logit_and_sigmoid() -> None:
    spec = DEMO.model_copy(update={"bad": None, "activation": "sigmoid"})
    scorer = ScriptedScorer(lambda tokens, ids: [0.0] * len(ids))
    session = await LmHeadReward(spec, DEMO_VOCABULARY, scorer).open("Q?")
    assert await session.score([step(1, "a")]) == [0.5]
    assert scorer.requests[0].ids == (3,)


@pytest.mark.parametrize(("how", "expected"), [("last", 2), ("min", 0), ("product", None), ("mean", None)])
async def test_a_node_of_several_steps_is_read_at_each_of_its_own(how: str, expected: int | None) -> None:
    values = iter([0.0, 3.0, 1.0])
    scorer = ScriptedScorer(lambda tokens, ids: [next(values), 0.0])
    reward = LmHeadReward(
        DEMO.model_copy(update={"aggregation": how}),
        DEMO_VOCABULARY,
        scorer,
        split=lambda text: text.splitlines(keepends=True),
    )
    session = await reward.open("Q?")
    score = (await session.score([step(2, "a\nb\n", "c\nd\ne", parent=1)]))[0]
    assert len(scorer.requests[0].read) == 3
    assert text(DEMO_VOCABULARY, scorer.requests[0].tokens).count("<|step|>") == 5
    own = [1 / (1 + math.exp(-value)) for value in (0.0, 3.0, 1.0)]
    wanted = own[expected] if expected is not None else {"product": math.prod(own), "mean": sum(own) / 3}[how]
    assert score == pytest.approx(wanted)


async def test_paths_that_are_too_long_are_named_before_anything_is_evaluated() -> None:
    scorer = ScriptedScorer(level(DEMO_VOCABULARY))
    session = await LmHeadReward(DEMO, DEMO_VOCABULARY, scorer, context_tokens=20).open("Q?")
    with pytest.raises(RewardContextExceeded, match=r"node 2 \(and 1 more\) takes 35 tokens .* reads 20") as caught:
        await session.score([step(1, "a"), step(2, "b" * 30), step(3, "c" * 40)])
    assert caught.value.nodes == (2, 3)
    assert scorer.requests == []
    assert len(await session.score([step(1, "a")])) == 1


async def test_a_question_that_is_too_long_is_refused_at_once() -> None:
    reward = LmHeadReward(DEMO, DEMO_VOCABULARY, ScriptedScorer(level(DEMO_VOCABULARY)))
    with pytest.raises(RewardContextExceeded, match="the question takes"):
        await reward.open("x" * 600)


async def test_a_score_that_is_not_a_number_names_its_node() -> None:
    scorer = ScriptedScorer(lambda tokens, ids: [math.nan, 0.0])
    session = await LmHeadReward(DEMO, DEMO_VOCABULARY, scorer).open("Q?")
    with pytest.raises(RewardError, match="node 7 the score nan") as caught:
        await session.score([step(7, "a")])
    assert caught.value.node == 7


async def test_a_missing_row_names_its_node() -> None:
    class Deaf(ScriptedScorer):
        async def open_run(self, prompt: Sequence[int]) -> DeafRun:  # type: ignore[override]
            return DeafRun()

    class DeafRun:
        async def evaluate(self, requests: Sequence[ReadRequest]) -> list[ReadResult]:
            return [ReadResult(node=requests[0].node, logits=((1.0, 0.0),))]

        async def release(self, nodes: Sequence[int]) -> None: ...

        async def close(self) -> None: ...

    session = await LmHeadReward(DEMO, DEMO_VOCABULARY, Deaf(level(DEMO_VOCABULARY))).open("Q?")
    with pytest.raises(RewardError, match="no complete score for node 2"):
        await session.score([step(1, "a"), step(2, "b")])


async def test_a_path_without_steps_is_refused() -> None:
    session = await LmHeadReward(DEMO, DEMO_VOCABULARY, ScriptedScorer(level(DEMO_VOCABULARY))).open("Q?")
    with pytest.raises(RewardError, match="node 0 has no steps"):
        await session.score([step(0)])


async def test_tokens_may_be_named_by_their_ids() -> None:
    spec = DEMO.model_copy(update={"good": 3, "bad": 4})
    assert PathLayout(spec, DEMO_VOCABULARY).read_ids == (3, 4)
    with pytest.raises(RewardSpecError, match="the good token 9999 is not in this model's vocabulary"):
        PathLayout(spec.model_copy(update={"good": 9999}), DEMO_VOCABULARY)


def test_the_activation_and_the_calibration() -> None:
    # sigmoid(2 * (1.5 - 0.5) - 1) = sigmoid(1), and sigmoid(mean) = sigmoid(1).
    one = 1 / (1 + math.exp(-1))
    assert score_of(DEMO.model_copy(update={"scale": 2.0, "offset": -1.0}), (1.5, 0.5)) == pytest.approx(one)
    assert score_of(DEMO.model_copy(update={"activation": "sigmoid_mean"}), (1.5, 0.5)) == pytest.approx(one)


async def test_a_head_of_its_own_runs_on_hidden_states() -> None:
    spec = DEMO.model_copy(update={"head": "mlp", "head_file": "head.safetensors", "good": 1, "bad": 0})
    scorer = ScriptedScorer(lambda tokens, ids: [float(len(tokens)), 1.0])
    head = MlpHead({"0.weight": np.array([[0.0, 2.0], [1.0, 0.0]]), "0.bias": np.array([0.0, -5.0])})
    reward = LmHeadReward(spec, DEMO_VOCABULARY, scorer, head=head)
    score = (await (await reward.open("Q?")).score([step(1, "a")]))[0]
    # Six tokens: the outputs are 2 and 6 - 5, and the score is the softmax of the second.
    assert score == pytest.approx(1 / (1 + math.exp(1)))
    assert (scorer.requests[0].what, scorer.requests[0].ids) == ("states", ())
    with pytest.raises(RewardSpecError, match="no such head is loaded"):
        LmHeadReward(spec, DEMO_VOCABULARY, scorer)


def test_layers_with_a_relu_between() -> None:
    head = MlpHead({"2.weight": np.array([[1.0, 10.0]]), "0.weight": np.array([[1.0], [-1.0]])})
    assert (head([3.0]), head([-3.0])) == ([3.0], [30.0])
    assert (head.width, head.outputs, head.parameters) == (1, 1, 7)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "no layers"),
        ({"0.bias": np.zeros(2)}, "no matrix"),
        ({"0.weight": np.zeros((2, 1)), "2.weight": np.zeros((1, 3))}, "fit"),
    ],
)
def test_a_head_that_is_none_is_refused(tensors: dict[str, Any], message: str) -> None:
    with pytest.raises(RewardSpecError, match=message):
        MlpHead(tensors)


async def test_the_specs_separator_cuts_nodes_into_steps() -> None:
    spec = DEMO.model_copy(update={"step_separator": "\n\n", "aggregation": "min"})
    scorer = ScriptedScorer(level(DEMO_VOCABULARY))
    session = await LmHeadReward(spec, DEMO_VOCABULARY, scorer, split=lambda text: text.splitlines()).open("Q?")
    await session.score([step(1, "a\nb\n\nc\n\n")])
    assert text(DEMO_VOCABULARY, scorer.requests[0].tokens) == "<|user|>Q?<|assistant|>a\nb<|step|>c<|step|>"
    assert len(scorer.requests[0].read) == 2


@pytest.mark.parametrize(
    ("joined", "expected"),
    [
        ("nothing", ["a", " b", "b", "\n", "<|step|>"]),
        ("prompt", ["a b", "b", "\n", "<|step|>"]),
        ("all", ["a b", "b\n", "<|step|>"]),
    ],
)
def test_what_is_joined_is_tokenised_as_one_text(joined: str, expected: list[str]) -> None:
    words = PieceTokenizer(["a b", "b\n", " b"], ["<|step|>"])
    spec = RewardSpec(
        name="joined",
        prompt_template="{question} b",
        step_template="{step}\n<|step|>",
        tag="<|step|>",
        good=0,
        bad=1,
        context_limit=99,
        joined=joined,  # type: ignore[arg-type]
    )
    tokens = PathLayout(spec, words).path("a", ["b"]).tokens
    assert [words.piece(token).decode() for token in tokens] == expected


def test_probabilities_of_extreme_logits_are_exact() -> None:
    assert sigmoid(2000.0) == 1.0
    assert sigmoid(-2000.0) == 0.0
    assert sigmoid(0.0) == 0.5


def test_combined_scores() -> None:
    assert combined([0.5, 0.25], "min") == 0.25
    assert combined([0.5, 0.25], "last") == 0.25
    assert combined([0.5, 0.25], "product") == 0.125
    assert combined([0.5, 0.25], "mean") == 0.375
