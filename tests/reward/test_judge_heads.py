"""Heads on a judge: states heads, what the policy tells of its own tokens, and values of the calculator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ramify import Budget, Engine, Rebase
from ramify.cli import main
from ramify.config import EngineConfig
from ramify.engine.control.scoring import scored_step
from ramify.engine.library.catalog import bundled_heads, resolve_model
from ramify.engine.loading import load_models
from ramify.engine.policy.llama import LlamaPolicy
from ramify.engine.rewards.heads import LikelihoodHeadReward
from ramify.engine.rewards.naming import read_reward_name
from ramify.errors import ModelLoadError, UsageError
from ramify.models.tasks.tasks import label_stream
from ramify.reward.calculator import calculated_spans, drawn_tokens
from ramify.reward.likelihood_head import LikelihoodHead, read_head, sha256_of, state_features
from ramify.reward.protocol import ScoredStep
from ramify.search.node import Origin
from ramify.search.tree import SearchTree
from ramify.training.agreement import agreed
from ramify.training.judge_features import SolutionFeatures, likelihood_part, read_features
from ramify.training.judge_fitting import PLANS, fit_head
from ramify.training.judge_verdict import held_out_report
from ramify.training.labelling import LabelledSolution
from ramify.training.state_cache import StateCache, states_key

CONFIG = EngineConfig(isolation="thread", threads=1)
WIDTH = 64


def states_head(judge: str, width: int, seed: int = 0) -> LikelihoodHead:
    chance, count = np.random.default_rng(seed), state_features(width)
    return LikelihoodHead(
        judge=judge,
        files={resolve_model(judge).path.name: sha256_of(resolve_model(judge).path)},
        mean=np.zeros(count),
        spread=np.ones(count),
        layers=((chance.normal(size=(1, count)) / count**0.5, np.zeros(1)),),
        reads="states",
    )


def width_of(name: str) -> int:
    from ramify.engine.runtime.llama.gguf_check import check_gguf

    summary = check_gguf(resolve_model(name).path)
    return int(summary.metadata[f"{summary.architecture}.embedding_length"])


def solved(number: int) -> tuple[str, tuple[str, ...]]:
    problem = label_stream(range(number, number + 1))[0]
    return problem.question, tuple((problem.solution or "").splitlines(keepends=True))


def test_a_states_head_is_written_and_read(tmp_path: Path) -> None:
    head, file = states_head("demo-s", WIDTH), tmp_path / "head.json"
    file.write_text(head.to_json())
    found = read_head(file)
    assert found.reads == "states" and np.allclose(found.layers[0][0], head.layers[0][0], atol=1e-6)
    assert json.loads(file.read_text())["version"] == 2
    # A file for log probabilities stays as it was.
    assert "reads" not in json.loads(read_head(bundled_heads()["demo-l"]).to_json())
    file.write_text(file.read_text().replace('"reads": "states"', '"reads": "tokens"'))
    with pytest.raises(ModelLoadError):
        read_head(file)


async def test_states_step_by_step_are_those_of_one_pass(tmp_path: Path) -> None:
    file = tmp_path / "head.json"
    file.write_text(states_head("demo-s", width_of("demo-s")).to_json())
    question, steps = solved(5)
    async with AsyncExitStack() as stack:
        _, reward = await load_models(stack, "demo-m", f"head:{file}", CONFIG)
        assert reward is not None
        session, fresh = await reward.open(question), await reward.open(question)
        scores = list[float]()
        for number in range(1, len(steps) + 1):
            scores += await session.score([ScoredStep(node=number, parent=number - 1 or None, path=steps[:number])])
        whole = await fresh.score([ScoredStep(node=1, parent=None, path=steps)])
        joined = await fresh.score([ScoredStep(node=2, parent=None, path=("".join(steps),))])
        assert whole == pytest.approx([scores[-1]], abs=2e-3) and joined == pytest.approx(whole, abs=2e-3)
        # As with log probabilities, a step's last token is read again when the next step is judged.
        assert session.usage.reevaluated_tokens == len(steps)
        await session.release([1, 2])
        for each in (session, fresh):
            await each.close()


async def test_a_states_head_for_another_width_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "head.json"
    file.write_text(states_head("demo-s", 7).to_json())
    async with AsyncExitStack() as stack:
        with pytest.raises(ModelLoadError, match="reads 34 features and its judge has"):
            await load_models(stack, "demo-m", f"head:{file}", CONFIG)


async def test_features_are_read_once_and_kept(tmp_path: Path) -> None:
    question, steps = solved(6)
    labels = [
        LabelledSolution(id="a", question=question, steps=steps, values=(1.0,) * len(steps)),
        LabelledSolution(id="a", question=question, steps=(*steps[:-1], "no\n"), values=(0.0,) * len(steps)),
    ]
    path = resolve_model("demo-s").path
    first = await read_features(labels[:1], path, CONFIG, reads="states", cache=tmp_path / "states")
    both = await read_features(labels, path, CONFIG, reads="states", cache=tmp_path / "states")
    again = await read_features(labels, path, CONFIG, reads="states", cache=tmp_path / "states")
    assert first.tokens > 0 and both.tokens > 0 and again.tokens == 0
    assert [each.rows.shape for each in again.solutions] == [(len(steps), state_features(width_of("demo-s")))] * 2
    assert np.array_equal(again.solutions[0].rows, first.solutions[0].rows)


@pytest.mark.parametrize("judge", ["demo-s", "demo-m"])
async def test_one_reading_for_states_gives_the_features_of_the_log_probabilities_too(judge: str) -> None:
    labels = list[LabelledSolution]()
    for number in (6, 9):
        question, steps = solved(number)
        for own in (steps, (*steps[:-1], "The answer is 1.")):
            labels.append(LabelledSolution(id=str(number), question=question, steps=own, values=(1.0,) * len(own)))
    path = resolve_model(judge).path
    tokens = await read_features(labels, path, CONFIG, reads="tokens")
    states = await read_features(labels, path, CONFIG, reads="states")
    parts = likelihood_part(states.solutions)
    assert [each.label for each in parts] == [each.label for each in tokens.solutions] == labels
    for part, alone in zip(parts, tokens.solutions, strict=True):
        # Small quantized models differ in the third digit with what is decoded beside.
        assert np.allclose(part.rows, alone.rows, rtol=1e-2, atol=0.1)


def test_states_of_an_exchanged_model_or_another_layout_are_others(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"one")
    first = states_key(model, {"tag": "a"}, 512)
    assert states_key(model, {"tag": "a"}, 512) == first
    assert len({first, states_key(model, {"tag": "b"}, 512), states_key(model, {"tag": "a"}, 256)}) == 3
    model.write_bytes(b"another")
    assert states_key(model, {"tag": "a"}, 512) != first


def test_states_are_held_by_one_process_and_damage_is_told(tmp_path: Path) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    with StateCache(tmp_path, "k") as cache:
        cache.add({"a": rows, "b": np.empty((0, 0), np.float32)})
        with pytest.raises(UsageError, match="another training"), StateCache(tmp_path, "k"):
            pass
    with StateCache(tmp_path, "k") as cache:
        assert (cache.get("a") == rows).all() and len(cache.get("b")) == 0 and "c" not in cache
    (tmp_path / "k.jsonl").write_text("nonsense\n" * 3, "utf-8")
    with pytest.raises(UsageError, match="remove this folder"), StateCache(tmp_path, "k"):
        pass


def planted(number: int, chance: np.random.Generator) -> list[SolutionFeatures]:
    """Solutions of a problem of its own difficulty, which drowns the direction that tells right from wrong in it."""
    hard = chance.normal() * 1.5
    found = list[SolutionFeatures]()
    for right in (True, True, False, False):
        steps = ("step\n", f"The answer is {7 if right else 8}.")
        label = LabelledSolution(
            id=str(number), question=str(number), steps=steps, values=(1.0, 1.0) if right else (1.0, 0.0)
        )
        rows = chance.normal(size=(2, 20)) * 0.3
        rows[:, 0] += hard
        rows[1, 1] += hard + (1.0 if right else -1.0)
        found.append(SolutionFeatures(label, rows))
    return found


def test_the_loss_on_pairs_finds_what_tells_solutions_of_one_problem_apart() -> None:
    pytest.importorskip("torch")
    chance = np.random.default_rng(0)
    data = [planted(number, chance) for number in range(90)]
    plan = replace(PLANS["states"], epochs=60, batch=64, dropout=0.0, decay=0.01, rate=1e-2)
    train = [each for own in data[:60] for each in own]
    head = fit_head(train, plan, "states")
    again = fit_head(train, plan, "states")
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(head.layers, again.layers, strict=True))
    report = held_out_report(head, [each for own in data[60:] for each in own])
    assert report["helps"] and report["head"]["pairs_right"] > 0.6


def test_label_train_and_solve_with_states(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("sys.stdin", None)
    labels, out = tmp_path / "labels.jsonl", tmp_path / "head.json"
    label = ["reward", "label", "--exact", "-m", "demo-s", "--count", "8", "--solutions", "6", "--threads", "1"]
    assert main([*label, "--calculator", "-o", str(labels)]) == 0
    assert all(json.loads(row)["calculator"] for row in labels.read_text().splitlines())
    capsys.readouterr()
    train = ["reward", "train", str(labels), "--head", "states", "--threads", "1", "-o", str(out), "--held-out", "0.5"]
    assert main([*train, "--judge", "demo-s", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost"]["tokens"] > 0
    assert main([*train, "--judge", "demo-s", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost"]["tokens"] == 0
    assert read_head(out).reads == "states" and out.stat().st_size < 1 << 20
    search = ["solve", solved(3)[0], "-m", "demo-s", "--reward", f"head:{out} * arithmetic", "--width", "4", "--json"]
    assert main([*search, "--threads", "1", "--no-save"]) in (0, 4)
    assert json.loads(capsys.readouterr().out)["usage"]["reward"]["prompt_tokens"] > 0


# What the policy tells


async def test_a_head_on_the_policy_reads_nothing_twice(tmp_path: Path) -> None:
    own = replace(
        read_head(bundled_heads()["demo-l"]),
        judge="demo-s",
        files={resolve_model("demo-s").path.name: sha256_of(resolve_model("demo-s").path)},
    )
    file = tmp_path / "own.json"
    file.write_text(own.to_json())
    question = solved(4)[0]
    options: dict[str, Any] = {"strategy": Rebase(width=4), "budget": Budget(generated_tokens=400), "seed": 1}
    async with Engine("demo-s", f"head:{file} * arithmetic", config=CONFIG) as engine:
        solution = await engine.solve(question, **options)
        assert isinstance(engine.reward, object) and solution.usage.reward.prompt_tokens == 0
        # What it told gives the scores that reading the same texts gives.
        assert solution.tree is not None
        part = engine.reward.models[0]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType, reportOptionalMemberAccess]
        assert isinstance(part, LikelihoodHeadReward) and part.ends is not None
        session = await part.open(question)
        for leaf in solution.tree.finished_nodes():
            nodes = solution.tree.path_nodes(leaf.id)
            step = ScoredStep(node=leaf.id, parent=None, path=tuple(node.text for node in nodes))
            (read,) = await session.score([step])
            assert leaf.scores is not None
            assert read == pytest.approx(next(iter(leaf.scores.values())), abs=0.02)
        assert session.usage.evaluated_tokens > 0
        await session.close()
    async with Engine("demo-m", f"head:{file}", config=CONFIG) as engine:
        assert (await engine.solve(question, **options)).usage.reward.prompt_tokens > 0


async def test_a_step_with_the_result_of_a_tool_is_told_too(tmp_path: Path) -> None:
    async with Engine("demo-l", "head:demo-l", config=CONFIG) as engine:
        part = engine.reward
        assert isinstance(part, LikelihoodHeadReward) and part.ends is not None
        assert isinstance(engine.policy, LlamaPolicy)
        encode, tree = engine.policy.model.tokenizer.encode, SearchTree()
        texts = ("3 + 4 = 7.\n", "7 + 2 = ", "9", ".\nThe answer is 9.")
        origins = (Origin.MODEL, Origin.MODEL, Origin.TOOL, Origin.MODEL)
        node = tree.root
        for text, origin in zip(texts, origins, strict=True):
            pending = tree.add_pending(node.id, origin=origin)
            node = tree.complete(pending.id, text, tuple(encode(text, special=False)), -1.0)
            if len(node.path) in (2, 3):
                tree.go_on(node.id)
        steps = [scored_step(tree, 1), scored_step(tree, 4)]
        assert steps[1].members == (2, 3, 4)
        reading = await part.open("Q")
        read = [(await reading.score([step]))[0] for step in steps]
        # The log probabilities as the policy would tell them while it writes.
        (path,) = await (await part.judge.open("Q")).read([steps[1]])
        values, told = iter(path.logprobs), dict[int, tuple[float | None, ...]]()
        for each in tree.path_nodes(4):
            found = tuple(islice(values, len(each.tokens)))
            if each.origin is Origin.MODEL:
                told[each.id] = found
        session = await part.open("Q", told)
        assert [(await session.score([step]))[0] for step in steps] == pytest.approx(read, rel=0.02, abs=0)
        assert session.usage.evaluated_tokens == 0
        # What was put in changes nothing but the text that later tokens follow.
        bare = replace(steps[1], told=())
        assert (await (await part.open("Q")).score([bare])) != pytest.approx([read[1]], rel=0.02, abs=0)


async def test_the_confidence_of_a_named_policy_is_what_the_policy_tells() -> None:
    options: dict[str, Any] = {"strategy": Rebase(width=4), "budget": Budget(generated_tokens=400), "seed": 1}
    found = list[Any]()
    for reward in ("mean-logprob", "mean-logprob:demo-s"):
        async with Engine("demo-s", reward, config=CONFIG) as engine:
            found.append(await engine.solve(solved(4)[0], **options))
    assert found[0].answer == found[1].answer and found[0].score == found[1].score
    assert [each.usage.reward.prompt_tokens for each in found] == [0, 0]


# Values of the calculator


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("She has 3 + 4 = 7 apples. So 2*5=10.\n", [" 7", "10"]),
        ("It costs $3 * 4 = $12.\n", ["$12"]),
        ("3 + 4 = 8\n", []),
        ("x = 7 and 5 = 5", []),
        ("Ä 3 + 4 = 7", [" 7"]),
        ("Ä: 3 + 4 = 7", [" 7"]),
    ],
)
def test_values_that_the_calculator_puts_in(text: str, values: list[str]) -> None:
    data = text.encode()
    assert [data[first:end].decode().strip() for first, end in calculated_spans(text)] == [
        value.strip() for value in values
    ]


def test_tokens_of_the_calculator_are_told_from_the_others() -> None:
    pieces = [b" So", b" 2", b"*", b"5", b"=", b"1", b"0", b".", b"\n"]
    assert drawn_tokens(pieces, "So 2*5=10.\n") == [True] * 5 + [False, False, True, True]
    assert drawn_tokens(pieces[:5], "So 2*5=") == [True] * 5


async def test_put_in_values_do_not_count_in_likelihoods(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        for name in ("mean-logprob:demo-s", "sum-logprob:demo-s"):
            _, reward = await load_models(stack, "demo-m", name, CONFIG)
            assert reward is not None
            session = await reward.open(solved(5)[0])
            step = ScoredStep(node=1, parent=None, path=("So 2*5=10.\n",))
            plain, forced = await session.score([step, replace(step, node=2, calculator=True)])
            assert (plain < forced) if name.startswith("sum") else (plain != forced)
            await session.close()


# Names and agreement


def test_signs_of_a_judge_may_stand_in_paths(tmp_path: Path) -> None:
    folder = tmp_path / "me@home"
    folder.mkdir()
    head, judge = folder / "my@head.json", folder / "j@1.gguf"
    head.write_text(read_head(bundled_heads()["demo-l"]).to_json())
    judge.write_bytes(resolve_model("demo-s").path.read_bytes())
    found = read_reward_name(f"head:{head}@{judge}")
    assert (found.head, found.path, found.model) == (head, judge, str(judge))
    assert read_reward_name(f"head:{head}").head == head
    assert read_reward_name(f"head:{head}@demo-m").path == resolve_model("demo-m").path


class Opinion:
    """A judge that finds the words that it is told wrong."""

    name, parameters = "opinion", 0

    def __init__(self, *bad: str) -> None:
        self._bad = bad

    async def open(self, question: str) -> Any:
        from ramify.reward.callable import CallableReward

        def score(question: str, steps: Sequence[str]) -> float:
            return 0.1 if any(bad in step for bad in self._bad for step in steps) else 0.9

        return await CallableReward(score).open(question)


async def test_solutions_are_kept_on_which_all_agree() -> None:
    right = LabelledSolution(id="a", question="?", steps=("2 + 2 = 4\n", "so 4\n"), values=(1.0, 1.0))
    wrong = LabelledSolution(id="a", question="?", steps=("2 + 3 = 5\n", "so 6\n"), values=(1.0, 0.0))
    false = LabelledSolution(id="a", question="?", steps=("2 + 2 = 5\n", "so 6\n"), values=(1.0, 0.0))
    kept, tokens = await agreed(Opinion("so 6"), [right, wrong, false])
    # The equation of the third is false before the step that rollouts and judge call wrong.
    assert kept == [right, wrong] and tokens == 0
    assert (await agreed(Opinion("so 4", "2 + 3"), [right, wrong]))[0] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--outcome", "--hard"], "--outcome needs no rollouts"),
        (["--agree", "arithmetic"], "--agree needs labels that name a first error"),
        (["--exact", "--agree", "no-such-reward"], "no-such-reward"),
    ],
)
def test_wrong_options_of_labels(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reward", "label", *options, "-m", "demo-s", "-o", str(tmp_path / "l")]) in (2, 3)
    assert message in capsys.readouterr().err


def test_labels_by_outcome_and_by_agreement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["reward", "label", "-m", "demo-s", "--count", "4", "--solutions", "4", "--threads", "1", "-o"]
    assert main([*base, str(tmp_path / "outcome"), "--outcome"]) == 0
    for row in map(json.loads, (tmp_path / "outcome").read_text().splitlines()):
        assert len(set(row["values"])) == 1 and "calculator" not in row
    capsys.readouterr()
    assert main([*base, str(tmp_path / "all"), "--exact", "--json"]) == 0
    every = json.loads(capsys.readouterr().out)
    assert main([*base, str(tmp_path / "agreed"), "--exact", "--agree", "head:demo-l", "--json"]) == 0
    some = json.loads(capsys.readouterr().out)
    assert some["losses"]["disputed"] > 0 and some["rows"] < every["rows"]
    assert some["cost"]["evaluated_tokens"] > every["cost"]["evaluated_tokens"]
