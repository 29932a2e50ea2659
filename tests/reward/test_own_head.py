"""A head in the policy's own file: read where the policy writes, with the same scores and without a second pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ramify.engine.engine import Engine
from ramify.engine.library.catalog import resolve_model
from ramify.engine.rewards.own_head import OwnHeadReward
from ramify.engine.runtime.serve import loads
from ramify.models import generate_problems
from ramify.reward.lm_head import LmHeadReward
from ramify.reward.specs import RewardSpec
from ramify.solution import Solution

from .head_files import Floats, copy_with_head, gguf, matrix_of, spare_row

PROBLEMS = generate_problems(steps=(2, 4), count=3, seed=77)


def own_spec(**fields: Any) -> RewardSpec:
    """A format with the prompt of demo-m and each step on a line of its own."""
    return RewardSpec(
        name="own", prompt_template="<|user|>{question}<|assistant|>", step_template="{step}\n", tag="\n",
        activation="sigmoid", context_limit=512, strip_steps=True, **fields,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of demo-m with a linear head in a spare row."""
    source, out = resolve_model("demo-m:f16").path, tmp_path_factory.mktemp("own") / "own.gguf"
    row = spare_row(source)
    copy_with_head(source, out, own_spec(good=row), rows={row: head_row(source)})
    return out


def head_row(path: Path) -> Floats:
    """A direction in which states differ: that between the rows of two tokens."""
    matrix = matrix_of(path)
    return (matrix[40] - matrix[41]).astype(np.float32)


async def solve(model: Path, reward: Path, strategy: str = "rebase") -> list[Solution]:
    async with Engine(model, reward, isolation="thread", threads=1) as engine:
        assert isinstance(engine.reward, OwnHeadReward) == (model == reward)
        return [await engine.solve(problem, strategy=strategy, seed=3) for problem in PROBLEMS]


def scores(solution: Solution) -> dict[tuple[str, ...], float]:
    """Return the scores by path of texts."""
    assert solution.tree is not None
    tree = solution.tree
    return {
        tuple(each.text for each in tree.path_nodes(node.id)): node.score for node in tree if node.score is not None
    }


async def test_the_scores_are_those_of_a_second_pass_and_cost_a_token_a_step(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(trained.read_bytes())
    compared = 0
    for own, separate in zip(await solve(trained, trained), await solve(trained, copy), strict=True):
        ours, theirs = scores(own), scores(separate)
        common = ours.keys() & theirs.keys()
        compared += len(common)
        for path in common:
            assert ours[path] == pytest.approx(theirs[path], abs=2e-2)
        assert own.tree is not None
        assert own.usage.reward.evaluated_tokens <= len(own.tree)
        assert own.usage.reward.evaluated_tokens < separate.usage.reward.evaluated_tokens / 3
        assert own.usage.policy.reevaluated_tokens == own.usage.reward.reevaluated_tokens == 0
    assert compared > 10


@pytest.mark.parametrize("strategy", ["weighted", "beam", "mcts"])
async def test_other_strategies_read_along_too(trained: Path, strategy: str) -> None:
    for solution in await solve(trained, trained, strategy):
        assert scores(solution)
        assert solution.usage.reward.reevaluated_tokens == 0


async def greedy(model: str | Path) -> list[str]:
    async with Engine(model, None, isolation="thread", threads=1) as engine:
        return [(await engine.solve(each, strategy="greedy", seed=1)).text for each in PROBLEMS]


async def test_a_file_with_a_head_never_writes_the_heads_token(tmp_path: Path) -> None:
    source, loud = resolve_model("demo-m:f16").path, tmp_path / "loud.gguf"
    row = spare_row(source)
    stop = gguf.GGUFReader(source).get_field("tokenizer.ggml.tokens").contents().index(".")
    # Wherever the model would end a sentence, the head's row has the largest logit by far.
    copy_with_head(source, loud, own_spec(good=row), rows={row: 10 * matrix_of(source)[stop]})
    assert await greedy(loud) == await greedy("demo-m:f16")


async def test_policy_and_reward_of_one_file_share_its_weights(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    class Counted(loads.Model):
        def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
            loaded.append(config.path)
            super().__init__(config, *arguments, **options)

    monkeypatch.setattr(loads, "Model", Counted)
    source = resolve_model("demo-m:f16").path
    layers = {"0.weight": head_row(source)[None, :], "0.bias": np.zeros(1, np.float32)}
    spec = own_spec(good=0, head="mlp", head_file="mlp.head.safetensors")
    copy_with_head(source, tmp_path / "mlp.gguf", spec, layers=layers)
    for file in (trained, tmp_path / "mlp.gguf"):
        loaded.clear()
        async with Engine(file, file, isolation="thread", threads=1) as engine:
            # A network is read from hidden states, in a context for these.
            assert isinstance(engine.reward, OwnHeadReward if file == trained else LmHeadReward)
            solution = await engine.solve(PROBLEMS[0], strategy="rebase", seed=0)
        assert loaded == [str(file)]
        assert scores(solution)
