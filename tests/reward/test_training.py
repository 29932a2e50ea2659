"""Heads trained on hidden states: what they learn, how they are measured, and the files that serve them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ramify.config import EngineConfig
from ramify.engine.engine import Engine
from ramify.engine.library.catalog import resolve_model
from ramify.engine.library.convert.heads import HeadFiles, copy_with_head, spare_rows
from ramify.errors import UsageError
from ramify.reward.lm_head import LmHeadReward
from ramify.reward.mlp import MlpHead
from ramify.reward.protocol import ScoredStep
from ramify.reward.spec_loading import spec_from_metadata
from ramify.reward.specs import RewardSpec
from ramify.training.head_training import HeadPlan, LabelledStates, train_head
from ramify.training.reward_training import Reading, train_reward
from ramify.training.state_cache import StateCache, states_key

gguf = pytest.importorskip("gguf")


def planes(problems: int = 60, seed: int = 0, *, curved: bool = False) -> LabelledStates:
    """Return states whose value is a logistic function of one direction, or of the product of two."""
    chance = np.random.default_rng(seed)
    states = (chance.standard_normal((problems * 20, 6)) * 3 + 5).astype(np.float32)
    centred = (states - 5) / 3
    logits = 3 * centred[:, 0] * centred[:, 1] if curved else 2 * centred[:, 0] - 1
    values = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return LabelledStates(states, values, [str(number // 20) for number in range(len(values))])


def test_a_linear_head_finds_the_direction_and_is_calibrated() -> None:
    data = planes()
    trained = train_head(data, HeadPlan())
    head = MlpHead(trained.layers)
    # The logit is 2 (x - 5) / 3 - 1 of raw states.
    assert trained.layers["0.weight"][0] == pytest.approx([2 / 3, 0, 0, 0, 0, 0], abs=0.05)
    assert head([5.0] * 6)[0] == pytest.approx(-1.0, abs=0.1)
    quality = trained.quality
    assert quality.loss == pytest.approx(quality.floor, abs=5e-3)
    assert quality.auc is not None and quality.auc > 0.99
    assert quality.reliability.error < 0.02
    assert (quality.problems, quality.steps) == (9, 180)


def test_an_mlp_learns_what_no_direction_tells() -> None:
    data = planes(200, curved=True)
    linear = train_head(data, HeadPlan()).quality
    network = train_head(data, HeadPlan(kind="mlp", hidden=32)).quality
    assert linear.auc is not None and network.auc is not None
    assert linear.auc < 0.65
    assert network.auc > 0.9
    assert network.loss < linear.loss - 0.1


def test_the_same_plan_gives_the_same_head() -> None:
    first, second = (train_head(planes(), HeadPlan(kind="mlp", epochs=3)) for _ in range(2))
    assert all((first.layers[name] == second.layers[name]).all() for name in first.layers)


def test_training_ends_when_the_held_out_loss_no_longer_falls() -> None:
    chance = np.random.default_rng(0)
    states = chance.standard_normal((200, 50)).astype(np.float32)
    noise = LabelledStates(states, chance.integers(0, 2, 200).astype(np.float32), [str(n // 4) for n in range(200)])
    trained = train_head(noise, HeadPlan(patience=3, epochs=200))
    assert trained.epochs < 50
    # Nothing was learned, and the head does not claim so.
    assert trained.quality.loss < 0.75


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (planes(1), "fewer than two problems"),
        (LabelledStates(planes().states, np.ones(1200, np.float32), planes().problems), "all labels are the same"),
    ],
)
def test_labels_that_teach_nothing_are_refused(data: LabelledStates, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train_head(data, HeadPlan())


@dataclass(frozen=True)
class Label:
    question: str
    steps: tuple[str, ...]
    values: tuple[float, ...]
    count: int = 1


LABELS = [
    Label(f"Mia has {number} cookies.", (f"{who}\n", "The answer is 1."), (value, value))
    for number in range(10, 60)
    for who, value in ((f"Mia has {number}+1=11 cookies.", 1.0), (f"Tom sells 7*{number}=3 jars.", 0.0))
]
CONFIG = EngineConfig(isolation="thread", threads=1)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
async def test_the_written_file_scores_as_the_head_was_trained(tmp_path: Path, kind: Any) -> None:
    out = tmp_path / "own.gguf"
    done = await train_reward(LABELS, "demo-m", out, HeadPlan(kind=kind, epochs=30), config=CONFIG)
    assert done.quality.auc is not None and done.quality.auc > 0.9
    assert (tmp_path / "own.head.safetensors").exists() == (kind == "mlp")
    async with Engine("demo-m", out, isolation="thread", threads=1) as engine:
        reward = engine.reward
        assert isinstance(reward, LmHeadReward) and reward.spec == done.spec
        scores: dict[float, list[float]] = {0.0: [], 1.0: []}
        for label in LABELS:
            session = await reward.open(label.question)
            scores[label.values[0]] += await session.score([ScoredStep(node=1, parent=None, path=label.steps[:1])])
            await session.close()
    assert np.mean(scores[1.0]) > 0.5 > np.mean(scores[0.0])
    assert np.mean(np.array(scores[1.0]) > np.array(scores[0.0])) > 0.9


async def test_the_questions_are_put_as_the_policy_puts_them(tmp_path: Path) -> None:
    done = await train_reward(LABELS, "demo-m", tmp_path / "own.gguf", HeadPlan(epochs=1), config=CONFIG)
    assert done.spec.prompt_template == "<|user|>{question}<|assistant|>"
    assert (done.spec.step_template, done.spec.tag, done.spec.activation) == ("{step}\n", "\n", "sigmoid")


def test_a_copy_differs_in_its_spec_and_one_matrix(tmp_path: Path) -> None:
    source, target = resolve_model("demo-m").path, tmp_path / "copy.gguf"
    (row,) = spare_rows(source, 1)
    values = np.linspace(-1, 1, 128, dtype=np.float32)
    spec = RewardSpec(
        name="x", prompt_template="{question}", step_template="{step}\n", tag="\n", good=row, activation="sigmoid",
        context_limit=9,
    )  # fmt: skip
    copy_with_head(source, target, spec, HeadFiles(rows={row: values}, layers={}))
    before, after = (gguf.GGUFReader(path) for path in (source, target))
    old, new = ({each.name: each for each in reader.tensors} for reader in (before, after))
    assert sorted(old) == sorted(new)
    for name in old:
        if name != "output.weight":
            assert (old[name].data == new[name].data).all()
    matrix = gguf.quants.dequantize(new["output.weight"].data, new["output.weight"].tensor_type)
    assert matrix[row] == pytest.approx(values, abs=1e-3)
    fields = {field.name: field.contents() for field in after.fields.values() if not field.name.startswith("GGUF")}
    assert spec_from_metadata(fields) == spec
    assert fields["tokenizer.ggml.tokens"] == before.get_field("tokenizer.ggml.tokens").contents()
    assert not list(tmp_path.glob("*.part"))


def test_a_model_is_not_written_over_itself(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(resolve_model("demo-m").path.read_bytes())
    spec = RewardSpec.model_validate(
        json.loads(
            '{"name":"x","prompt_template":"{question}","step_template":"{step}\\n","tag":"\\n","good":0,'
            '"activation":"sigmoid","context_limit":9}'
        )
    )
    with pytest.raises(UsageError, match="is the model itself"):
        copy_with_head(path, path, spec, HeadFiles(rows={}, layers={}))
    with pytest.raises(UsageError, match="does not fit the output matrix"):
        copy_with_head(path, tmp_path / "n.gguf", spec, HeadFiles(rows={0: np.zeros(3, np.float32)}, layers={}))
    assert not (tmp_path / "n.gguf").exists()


async def test_a_solution_counts_as_often_as_it_was_sampled(tmp_path: Path) -> None:
    steps = ("Mia has 1+1=2 cookies.\n", "The answer is 2.")

    def labels(often: int) -> list[Label]:
        values = ((1.0, often), (0.0, 1))
        return [Label(f"Mia has {n} cookies.", steps, (v, v), count) for n in range(40) for v, count in values]

    even, often = [
        await train_reward(labels(count), "demo-m", tmp_path / f"{count}.gguf", HeadPlan(epochs=20), config=CONFIG)
        for count in (1, 3)
    ]
    assert (even.quality.steps, often.quality.steps) == (6 * 2 * 2, 6 * 4 * 2)
    # The entropy of a half, and the loss of always saying three quarters.
    assert even.quality.loss == pytest.approx(np.log(2), abs=0.02)
    assert often.quality.loss == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), abs=0.02)


class Cut(Exception):
    """Stands for a crash in the middle of the reading."""


async def test_a_training_that_was_cut_reads_the_rest_alone(tmp_path: Path) -> None:
    plan, seen = HeadPlan(epochs=5), list[Reading]()

    async def train(out: str, states: str, watch: Any, kind: Any = "linear") -> Path:
        done = await train_reward(
            LABELS, "demo-m", tmp_path / out, replace(plan, kind=kind), config=CONFIG, states=tmp_path / states,
            on_reading=watch,
        )  # fmt: skip
        return done.path

    def cut(reading: Reading) -> None:
        if reading.done >= 40:
            raise Cut

    whole = await train("whole.gguf", "other", seen.append)
    assert (seen[0].done, seen[0].total, seen[0].found) == (0, 100, 0)
    assert seen[0].tokens == seen[-1].read_tokens and seen[-1].done == 100
    with pytest.raises(Cut):
        await train("own.gguf", "states", cut)
    # A crash of the machine leaves states without their place, and half a place.
    journal = next((tmp_path / "states").glob("*.jsonl"))
    with journal.open("a", encoding="utf-8") as file:
        file.write('{"solution": "x", "at"')
    with journal.with_suffix(".f32").open("ab") as file:
        file.write(b"half")
    seen.clear()
    own = await train("own.gguf", "states", seen.append)
    assert seen[0].found >= 40 and seen[-1].done == 100
    assert head_row(own) == head_row(whole)
    seen.clear()
    await train("mlp.gguf", "states", seen.append, "mlp")
    assert (seen[0].found, seen[0].tokens) == (100, 0)


def head_row(path: Path) -> list[float]:
    reader = gguf.GGUFReader(path)
    (row,) = spare_rows(resolve_model("demo-m").path, 1)
    tensor = next(each for each in reader.tensors if each.name == "output.weight")
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type)[row].tolist()


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


@pytest.mark.parametrize("missing", ["package", "room", "folder", "labels", "problems"])
async def test_what_is_missing_is_told_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def load(*arguments: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("ramify.training.reward_training.Runtime", load)
    labels, out, message = LABELS, tmp_path / "own.gguf", ""
    if missing == "package":
        monkeypatch.setitem(sys.modules, "gguf", None)
        message = "needs the package gguf"
    elif missing == "room":
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1_000_000}))
        message = "the disk has 1 MB free"
    elif missing == "folder":
        (tmp_path / "file").write_text("", "utf-8")
        out, message = tmp_path / "file" / "own.gguf", "cannot be made"
    elif missing == "labels":
        labels, message = [replace(label, values=(1.0, 1.0)) for label in LABELS], "all labels are the same"
    else:
        labels, message = LABELS[:2], "fewer than two problems"
    with pytest.raises(UsageError, match=message):
        await train_reward(labels, "demo-m", out, HeadPlan(), config=CONFIG, states=tmp_path / "states")
