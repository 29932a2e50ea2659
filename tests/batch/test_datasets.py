"""Data sets for training: their forms, filters and cards, from run folders and saved runs."""

from __future__ import annotations

import json
import re

import pytest

import ramify
from ramify.batch import run_batch
from ramify.batch.datasets.examples import ExampleMaker
from ramify.batch.datasets.filters import read_filters
from ramify.batch.datasets.sources import Source
from ramify.batch.datasets.writing import export
from ramify.batch.store.config import BatchConfig
from ramify.config import RunConfig
from ramify.errors import RunFolderError, UsageError
from ramify.history import RunStore
from ramify.problem import Problem
from ramify.search.strategies.beam import BeamSearch
from ramify.search.strategies.sampling import BestOfN, MajorityVote
from ramify.testing import ScriptedModel


def script(question: str, path: tuple[int, ...]) -> str:
    """Paths 0 and 1 are right, the others wrong; of the question `all` each is right, of `none` each is wrong."""
    right = "all" in question or ("none" not in question and path[0] < 2)
    if len(path) == 1:
        return f"Step of {path[0]}.\n"
    return "The answer is 7." if right else "The answer is 8."


def scores(question: str, steps: list[str]) -> float:
    return 0.9 if "7" in steps[-1] or "Step of 0" in steps[0] else 0.2


async def batch(folder, questions=("some", "all", "none"), *, width=4, trees=True, reward=scores, strategy=None):
    problems = [Problem(id=str(n), question=each, answer="7") for n, each in enumerate(questions)]
    chosen = strategy or (BestOfN(width=width) if reward else MajorityVote(width=width))
    async with ramify.Engine(ScriptedModel(script), reward) as engine:
        config = BatchConfig(strategy=chosen, run=RunConfig(), save_trees=trees, parallel=1)
        await run_batch(problems, folder, config, engine=engine)
    return folder


def made(folders, out, kind, filters="right", **options):
    maker = ExampleMaker(kind=kind, filters=read_filters(filters), **options)
    counts = export([Source(str(each), trees=kind == "steps") for each in folders], maker, out)
    return [json.loads(line) for line in (out / "data.jsonl").read_text("utf-8").splitlines()], counts


async def test_solutions_are_conversations_with_right_ends(tmp_path):
    folder = await batch(tmp_path / "run")
    rows, counts = made([folder], tmp_path / "out", "sft")
    assert rows[0] == {
        "messages": [
            {"role": "user", "content": "some"},
            {"role": "assistant", "content": "Step of 0.\nThe answer is 7."},
        ]
    }
    assert [row["messages"][0]["content"] for row in rows] == ["some"] * 2 + ["all"] * 4
    assert (counts.problems, counts.used, counts.examples, counts.repeated) == (3, 2, 6, 0)
    plain, _ = made([folder], tmp_path / "out", "sft", form="text", most=1)
    assert plain[0] == {"prompt": "some", "completion": "Step of 0.\nThe answer is 7."}
    assert len(plain) == 2


async def test_preferences_are_pairs_within_a_problem(tmp_path):
    folder = await batch(tmp_path / "run")
    rows, _ = made([folder], tmp_path / "out", "preference")
    assert [row["prompt"] for row in rows] == [[{"role": "user", "content": "some"}]] * 2
    assert [row["chosen"][0]["content"][:9] for row in rows] == ["Step of 0", "Step of 1"]
    assert [row["rejected"][0]["content"][:9] for row in rows] == ["Step of 2", "Step of 3"]
    assert all(row["chosen"][0]["content"].endswith("7.") for row in rows)
    assert all(row["rejected"][0]["content"].endswith("8.") for row in rows)
    plain, _ = made([folder], tmp_path / "out", "preference", form="text")
    assert {type(value) for row in plain for value in row.values()} == {str}


async def test_steps_are_good_where_a_right_path_goes_through_them(tmp_path):
    def forked(question: str, path: tuple[int, ...]) -> str:
        if len(path) < 2:
            return f"Begin {path[0]}.\n"
        return "The answer is 7." if path[0] == 0 and path[1] == 0 else "The answer is 8."

    problems = [Problem(id="0", question="q", answer="7")]
    async with ramify.Engine(ScriptedModel(forked), lambda question, steps: 0.5) as engine:
        config = BatchConfig(strategy=BeamSearch(width=4, children=2), run=RunConfig(), save_trees=True)
        await run_batch(problems, tmp_path / "run", config, engine=engine)
    rows, counts = made([tmp_path / "run"], tmp_path / "out", "steps", most=None)
    labels = {tuple(row["completions"]): row["labels"] for row in rows}
    assert labels["Begin 0.", "The answer is 7."] == [True, True]
    assert labels["Begin 0.", "The answer is 8."] == [True, False]
    assert labels["Begin 1.", "The answer is 8."] == [False, False]
    assert {row["prompt"] for row in rows} == {"q"}
    assert counts.labels["true"] == sum(value for row in rows for value in row["labels"])


async def test_items_without_a_saved_tree_are_counted(tmp_path):
    folder = await batch(tmp_path / "run", trees=False)
    with pytest.raises(UsageError, match="none of 0 problems"):
        made([folder], tmp_path / "out", "steps")
    assert not (tmp_path / "out" / "data.jsonl").exists()


async def test_filters_by_vote_and_by_reward(tmp_path):
    folder = await batch(tmp_path / "run", ("all", "some", "none"), width=8)
    by_vote, _ = made([folder], tmp_path / "out", "sft", "vote:0.99", most=None)
    # Six of eight paths of "some" give 8, which is not clear enough; "none" is clear and wrong.
    assert {row["messages"][0]["content"] for row in by_vote} == {"all", "none"}
    by_reward, _ = made([folder], tmp_path / "out", "sft", "reward:0.8", most=None)
    assert {
        row["messages"][1]["content"].split(".")[0] for row in by_reward if "none" in row["messages"][0]["content"]
    } == {"Step of 0"}
    both, _ = made([folder], tmp_path / "out", "sft", "right,reward:0.8", most=None)
    assert all(row["messages"][1]["content"].endswith("7.") for row in both)


async def test_an_example_is_written_once(tmp_path):
    one, two = await batch(tmp_path / "one"), await batch(tmp_path / "two")
    rows, counts = made([one, two], tmp_path / "out", "sft")
    assert (len(rows), counts.repeated, counts.problems) == (6, 6, 6)


async def test_the_card_says_where_the_examples_come_from(tmp_path):
    folder = await batch(tmp_path / "run")
    made([folder], tmp_path / "out", "steps", "right,reward:0.3")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert card.startswith("---\nconfigs:\n- config_name: default\n  data_files: data.jsonl\n")
    for told in ("`completions`", "Filters: right, reward:0.3", "configuration_hash", str(folder), "labels true"):
        assert told in card


async def test_saved_runs_are_sources_too(tmp_path):
    store = RunStore(tmp_path / "history")
    async with ramify.Engine(ScriptedModel(script), None) as engine:
        solution = await engine.solve("all", strategy=MajorityVote(width=8))
    run = store.save(solution, {})
    maker = ExampleMaker(kind="sft", filters=read_filters("vote"))
    counts = export([Source(run, trees=False, store=store)], maker, tmp_path / "out")
    assert counts.examples == 4
    with pytest.raises(UsageError, match="none of 1 problems"):
        export(
            [Source(run, trees=False, store=store)],
            ExampleMaker(kind="sft", filters=read_filters("right")),
            tmp_path / "o2",
        )


def test_what_is_no_source_and_no_filter_is_told(tmp_path):
    with pytest.raises(UsageError, match="there is no run folder"):
        Source("nowhere", trees=False, store=RunStore(tmp_path / "history"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunFolderError, match="is no run folder"):
        Source(str(tmp_path / "folder"), trees=False)
    for text in ("wright", "right:0.5", "vote:2", "reward:x", ""):
        with pytest.raises(UsageError):
            read_filters(text)
    with pytest.raises(UsageError, match=re.escape("did you mean 'right'")):
        read_filters("wright")


async def test_the_library_datasets_reads_the_folders(tmp_path):
    datasets = pytest.importorskip("datasets")
    folder = await batch(tmp_path / "run")
    wanted = {
        "sft": {"messages"},
        "preference": {"prompt", "chosen", "rejected"},
        "steps": {"prompt", "completions", "labels"},
    }
    for kind, columns in wanted.items():
        made([folder], tmp_path / kind, kind)
        found = datasets.load_dataset(str(tmp_path / kind), split="train", cache_dir=str(tmp_path / "cache"))
        assert {*found.column_names} == columns
        assert found.num_rows > 0


async def test_a_step_has_one_label_wherever_it_is_written(tmp_path):
    """Independent paths write equal steps as nodes of their own."""

    def script(_, path):
        return "Add 3 and 4.\n" if len(path) == 1 else f"The answer is {7 if path[0] == 0 else 8}."

    problem = Problem(id="a", question="How many?", answer="7")
    config = BatchConfig(strategy=MajorityVote(width=2), save_trees=True)
    async with ramify.Engine(ScriptedModel(script), None) as engine:
        await run_batch([problem], tmp_path / "run", config, engine=engine)
    rows, _ = made([tmp_path / "run"], tmp_path / "out", "steps", most=None)
    assert [each["labels"] for each in rows] == [[True, True], [True, False]]
