"""The recipe: models learn, stop, resume, come out as GGUF that computes the same, and become a reward model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
native = pytest.importorskip("llama_cpp.llama_cpp")
gguf = pytest.importorskip("gguf")

from ramify.models import generate_problems  # noqa: E402
from ramify.models.recipe import data, train  # noqa: E402
from ramify.models.recipe.decode import complete  # noqa: E402
from ramify.models.recipe.distill import DistillPlan, Tuner, read_rows  # noqa: E402
from ramify.models.recipe.export import REWARD_SPEC, export_gguf, import_gguf, quantize  # noqa: E402
from ramify.models.recipe.network import Decoder, Shape  # noqa: E402
from ramify.models.recipe.policies import POLICIES  # noqa: E402
from ramify.models.recipe.reward import Label, RewardPlan, encode, measure, read_labels, train_reward  # noqa: E402
from ramify.models.recipe.stages import Recipe  # noqa: E402
from ramify.models.recipe.text import BAD, GOOD, prompt_text, split_steps  # noqa: E402
from ramify.models.recipe.tokenizer import load_tokenizer, token_id  # noqa: E402
from ramify.models.tasks.tasks import TASKS  # noqa: E402
from ramify.problem import Problem  # noqa: E402

TOKENIZER = load_tokenizer()
VOCABULARY = TOKENIZER.get_vocab_size()
TINY = Shape(layers=2, width=64, heads=2, hidden=64)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "SHARD_SIZE", 40)
    monkeypatch.setattr(train, "SHARD_SIZE", 40)
    for name in ("s", "lists"):
        monkeypatch.setitem(POLICIES, name, replace(POLICIES[name], shape=TINY))


def trainer(folder: Path, tokens: int, name: str = "s") -> train.Trainer:
    schedule = train.Schedule(tokens, batch_tokens=1024, warm_up=2, watch_every=10**9)
    return train.Trainer(name, schedule, folder, TOKENIZER, torch.float32, compiled=False)


def native_logits(path: Path, ids: list[int]) -> np.ndarray:
    settings = native.llama_model_default_params()
    settings.use_extra_bufts = False
    model = native.llama_model_load_from_file(str(path).encode(), settings)
    assert model
    options = native.llama_context_default_params()
    options.n_ctx, options.n_batch, options.n_threads, options.n_threads_batch = 512, 512, 1, 1
    context = native.llama_init_from_model(model, options)
    batch = native.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
        batch.seq_id[i][0] = 0
    assert native.llama_decode(context, batch) == 0
    shape = (len(ids), VOCABULARY)
    logits = np.ctypeslib.as_array(native.llama_get_logits(context), shape).copy()
    native.llama_batch_free(batch)
    native.llama_free(context)
    native.llama_model_free(model)
    return logits


def test_training_lowers_the_loss_and_resumes(
    tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "greedy_accuracy", lambda *_: {2: (0, 1)})
    _, first = trainer(tmp_path, 5_000).run()
    _, second = trainer(tmp_path, 20_000).run()
    assert second.step > first.step > 4
    assert second.loss < first.loss
    assert 0 < second.real <= second.seen
    model, progress = train.load_policy(tmp_path, "s", VOCABULARY)
    assert progress == second
    assert model.parameter_count() == sum(p.numel() for p in model.parameters())


def test_a_policy_watches_and_learns_its_own_task(
    tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = list[str]()

    def watch(model: Decoder, tokenizer: object, problems: list[Problem], thinks: bool) -> dict[int, tuple[int, int]]:
        watched.extend(str(problem.check) for problem in problems)
        return {2: (0, 1)}

    monkeypatch.setattr(train, "greedy_accuracy", watch)
    trainer(tmp_path, 1_000, "lists").run()
    assert set(watched) == {"exact"}
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["lists"]


@pytest.mark.parametrize("task", ["arithmetic", "lists"])
def test_shards_are_repeatable_and_learn_only_the_solution(tmp_path: Path, small_shards: None, task: str) -> None:
    once = data.load_shard(tmp_path / "a", 5, TOKENIZER, TASKS[task], (1, 9))
    again = data.load_shard(tmp_path / "b", 5, TOKENIZER, TASKS[task], (1, 9))
    assert all(np.array_equal(x.inputs, y.inputs) for x, y in zip(once, again, strict=True))
    for row in once:
        learned = TOKENIZER.decode(row.targets[row.learned].tolist(), skip_special_tokens=False)
        assert learned.endswith("<|end|>") and "<|assistant|>" not in learned
        assert "The answer is" in learned
    found = list(data.batches(once, 2048, 0))
    assert max(b.inputs.size for b in found) <= 2048
    assert sum(len(b.inputs) for b in found) == len(once)
    assert sum(int((b.targets >= 0).sum()) for b in found) == sum(int(r.learned.sum()) for r in once)


def test_gguf_computes_what_torch_computes(tmp_path: Path) -> None:
    model = Decoder(Shape(2, 256, 4, 256), VOCABULARY)
    export_gguf(model, TOKENIZER, tmp_path / "m.f16.gguf", "m")
    problem = generate_problems((3, 3), 1, 1)[0]
    ids = TOKENIZER.encode(f"{prompt_text(problem.question)}{problem.solution}<|end|>").ids
    with torch.no_grad():
        expected = model.head(model(torch.tensor([ids])))[0].numpy()
    scale = np.abs(expected).max()
    assert np.abs(native_logits(tmp_path / "m.f16.gguf", ids) - expected).max() < 0.01 * scale
    for kind, tolerance in (("q8_0", 0.05), ("q4_k_m", 0.4)):
        quantize(tmp_path / "m.f16.gguf", tmp_path / f"m.{kind}.gguf", kind)
        assert np.abs(native_logits(tmp_path / f"m.{kind}.gguf", ids) - expected).max() < tolerance * scale


def test_training_starts_with_the_weights_of_a_file(tmp_path: Path, small_shards: None) -> None:
    source = Decoder(TINY, VOCABULARY)
    with torch.no_grad():
        for weight in source.parameters():
            weight.add_(torch.randn_like(weight))
    export_gguf(source, TOKENIZER, tmp_path / "m.f16.gguf", "m")
    schedule = train.Schedule(1000)
    made = train.Trainer(
        "lists", schedule, tmp_path, TOKENIZER, torch.float32, compiled=False, start=tmp_path / "m.f16.gguf"
    )
    assert all(
        torch.allclose(mine, theirs, rtol=1e-3, atol=1e-6)
        for mine, theirs in zip(made.model.parameters(), source.parameters(), strict=True)
    )
    with pytest.raises(ValueError, match="has no token_embd of shape"):
        import_gguf(Decoder(Shape(2, 32, 2, 32), VOCABULARY), tmp_path / "m.f16.gguf")


def test_gguf_describes_itself(tmp_path: Path) -> None:
    model = Decoder(TINY, VOCABULARY)
    export_gguf(model, TOKENIZER, tmp_path / "prm.gguf", "ramify-demo-prm", reward=True)
    reader = gguf.GGUFReader(tmp_path / "prm.gguf")
    found = {key: field.contents() for key, field in reader.fields.items()}
    assert found["general.license"] == "apache-2.0"
    assert found["ramify.parameter_count"] == model.parameter_count()
    assert (found["ramify.prompt_preset"], found["ramify.step_format"]) == ("plain", "line")
    assert json.loads(found["ramify.reward.spec"]) == REWARD_SPEC
    assert len(set(found["tokenizer.ggml.tokens"])) == VOCABULARY
    assert "add_generation_prompt" in found["tokenizer.chat_template"]


def test_cached_decoding_equals_full_passes() -> None:
    model = Decoder(TINY, VOCABULARY)
    prompts = [prompt_text(p.question) for p in generate_problems((1, 6), 3, 2)]
    together = complete(model, TOKENIZER, prompts, longest=12)
    for prompt, text in zip(prompts, together, strict=True):
        ids, start = TOKENIZER.encode(prompt).ids, len(TOKENIZER.encode(prompt).ids)
        for _ in range(12):
            with torch.no_grad():
                ids.append(int(model.head(model(torch.tensor([ids]))[0, -1]).argmax()))
            if ids[-1] == 0:
                break
        assert TOKENIZER.decode([i for i in ids[start:] if i != 0]) == text


def solution_file(path: Path, count: int) -> Path:
    rows = [{"prompt": p.question, "completion": p.solution} for p in generate_problems((1, 3), count, 3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_solutions_of_searches_are_learned_without_their_questions(tmp_path: Path) -> None:
    rows = read_rows(solution_file(tmp_path / "data.jsonl", 5), TOKENIZER)
    problems = generate_problems((1, 3), 5, 3)
    for row, problem in zip(rows, problems, strict=True):
        learned = TOKENIZER.decode(row.targets[row.learned].tolist(), skip_special_tokens=False)
        assert learned == f"{problem.solution}<|end|>"


def test_tuning_lowers_the_loss_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    rows = read_rows(solution_file(tmp_path / "data.jsonl", 24), TOKENIZER)
    plan = DistillPlan(epochs=4, batch_tokens=1024, rate=0.5)

    def tuner(name: str, epochs: int) -> tuple[Tuner, Decoder]:
        torch.manual_seed(0)
        model = Decoder(TINY, VOCABULARY)
        return Tuner(model, tmp_path / name, replace(plan, epochs=epochs), torch.float32), model

    whole, at_once = tuner("whole.pt", 4)
    progress = whole.run(rows)
    assert (progress.epoch, len(progress.losses)) == (4, 4)
    assert progress.losses[-1] < progress.losses[0]
    done, again = tuner("whole.pt", 4)
    assert done.run(rows) == progress
    assert all(torch.equal(a, b) for a, b in zip(at_once.parameters(), again.parameters(), strict=True))


def labels(count: int) -> list[Label]:
    found = list[Label]()
    for i, problem in enumerate(generate_problems((1, 3), count, 12)):
        steps = split_steps(problem.solution or "")
        if i % 2:
            found.append(Label(question=problem.question, steps=["?"] * len(steps), values=[0.1] * len(steps)))
        else:
            found.append(Label(question=problem.question, steps=steps, values=[0.9] * len(steps)))
    return found


def test_reward_training_tells_good_from_bad(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Decoder(TINY, VOCABULARY)
    plan = RewardPlan(epochs=8, batch_tokens=1500, rate=0.5, held_out=0.2)
    quality = train_reward(model, TOKENIZER, labels(100), plan, torch.float32)
    assert quality.auc > 0.8
    assert quality.loss >= quality.floor


def test_a_solution_counts_as_often_as_it_was_sampled() -> None:
    once = [Label(question=f"q{i}", steps=["a"], values=[1.0]) for i in range(4)]
    often = [Label(question=f"q{i}", steps=["b"], values=[0.0], count=3) for i in range(4)]
    ids = token_id(TOKENIZER, GOOD), token_id(TOKENIZER, BAD)
    model = Decoder(TINY, VOCABULARY)
    counted = measure(model, encode([*once, *often], TOKENIZER), ids)
    spread = [each.model_copy(update={"count": 1}) for each in often * 3]
    repeated = measure(model, encode([*once, *spread], TOKENIZER), ids)
    assert counted.steps == repeated.steps == 16
    assert counted.loss == pytest.approx(repeated.loss)
    assert counted.calibration_error == pytest.approx(repeated.calibration_error)


@pytest.mark.parametrize(("policy", "reward"), [("s", "demo-prm"), ("lists", "demo-lists-prm")])
def test_reward_stage_reads_labels_and_writes_models_and_card(
    tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch, policy: str, reward: str
) -> None:
    monkeypatch.setattr(train, "greedy_accuracy", lambda *_: {2: (0, 1)})
    recipe = Recipe(tmp_path / "work", tmp_path / "models", threads=torch.get_num_threads())
    recipe.models.mkdir()
    TOKENIZER.save(str(recipe.models / "tokenizer.json"))
    trainer(recipe.work, 1_000, policy).run()
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(label.model_dump_json() + "\n" for label in labels(20)), "utf-8")
    recipe.reward([path], policy, RewardPlan(epochs=1))
    recipe.cards()
    names = {p.name for p in recipe.weights.iterdir()}
    files = {f"{reward}.{kind}.gguf" for kind in POLICIES[policy].quantizations}
    assert names == {*files, f"{reward}.json"}
    card = (recipe.models / "cards" / f"{reward}.md").read_text("utf-8")
    assert "Apache-2.0" in card and f"`{POLICIES[policy].task.name}`" in card


def test_a_bad_label_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    good, bad = {"question": "q", "steps": ["a"], "values": [0.5]}, {"question": "q", "steps": ["a"], "values": []}
    path.write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n", "utf-8")
    with pytest.raises(ValueError, match="line 2"):
        read_labels(path)


SLOW = """
import time
bfloat16, float32 = "bfloat16", "float32"

def set_num_threads(count): ...

class Made:
    def __init__(self, dtype): self.dtype = dtype
    def __matmul__(self, other):
        ends = time.process_time() + (0.003 if self.dtype == "{slow}" else 0.0)
        while time.process_time() < ends: ...
        return self
    def sum(self): return self
    def item(self): return 0.0

def ones(rows, columns, dtype): return Made(dtype)
"""


@pytest.mark.parametrize(("slow", "chosen"), [("bfloat16", torch.float32), ("float32", torch.bfloat16)])
def test_training_is_in_the_faster_kind_of_numbers(tmp_path, monkeypatch, slow: str, chosen: torch.dtype):
    (tmp_path / "torch.py").write_text(SLOW.format(slow=slow))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    threads = torch.get_num_threads()
    assert train.prepare(threads) is chosen


def test_training_is_in_float32_where_bfloat16_does_not_work(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("import os\nos.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert train.prepare(torch.get_num_threads()) is torch.float32
