"""Placement of engines, and refusals before any of them is started."""

from __future__ import annotations

import sys

import anyio
import pytest

from ramify import Greedy, ModelLoadError, UsageError
from ramify.batch import BatchConfig, run_batch
from ramify.batch.executors.actor import check_files, portable
from ramify.batch.executors.ray_executor import places
from ramify.errors import EngineDied, ModelCrashed, QuestionTooLong, UnpicklableError


def node(name: str, *, alive: bool = True, **resources: float) -> dict[str, object]:
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": 8.0, **resources}}


def found(nodes, actors) -> list[tuple[str, float, int | None]]:
    return [(each.node, each.gpus, each.threads) for each in places(nodes, actors)]


def test_one_engine_for_each_node_that_is_alive():
    nodes = [node("a"), node("b", alive=False), node("c")]
    assert found(nodes, None) == [("a", 0, None), ("c", 0, None)]
    assert found(nodes, 1) == [("a", 0, None)]


def test_engines_of_one_node_share_its_processors():
    assert found([node("a"), node("b")], 3) == [("a", 0, 4), ("b", 0, None), ("a", 0, 4)]
    assert found([node("a", CPU=2.0)], 5) == [("a", 0, 1)] * 5


def test_one_engine_for_each_gpu_if_there_are_any():
    nodes = [node("a"), node("b", GPU=2.0)]
    assert found(nodes, None) == [("b", 1, None), ("b", 1, None)]
    assert found(nodes, 1) == [("b", 1, None)]
    shares = [each.gpus for each in places(nodes, 6)]
    assert len(shares) == 6 and all(0.3 < each <= 1 / 3 for each in shares)


def test_a_cluster_without_nodes_is_refused():
    with pytest.raises(UsageError, match="no node that is alive"):
        places([node("a", alive=False)], None)


def test_a_node_has_to_have_the_same_files(tmp_path):
    path = tmp_path / "model.gguf"
    with pytest.raises(ModelLoadError, match="does not have the model"):
        check_files({str(path): 3})
    path.write_bytes(b"abc")
    check_files({str(path): 3})
    with pytest.raises(ModelLoadError, match=r"has 3 bytes on the node .* and 4 here"):
        check_files({str(path): 4})


class Unsendable(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def test_errors_that_cannot_be_sent_keep_their_text():
    sent = portable(QuestionTooLong(9, 5))
    assert isinstance(sent, QuestionTooLong) and not hasattr(sent, "__notes__")
    stand_in = portable(Unsendable("one", "two"))
    assert (type(stand_in), str(stand_in)) == (UnpicklableError, "Unsendable: one and two")
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError as error:
        (note,) = portable(error).__notes__
    assert "test_executors.py" in note


async def test_without_ray_the_extra_is_named_and_the_folder_stays_usable(problems, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"Ray is not installed; install it with pip install 'ramify\[ray\]'"):
        await run_batch(problems, tmp_path, BatchConfig(executor="ray", strategy=Greedy()))


def test_ray_needs_asyncio(problems, tmp_path):
    with pytest.raises(UsageError, match="event loop of asyncio"):
        anyio.run(run_batch, problems, tmp_path, BatchConfig(executor="ray", strategy=Greedy()), backend="trio")


async def test_an_open_engine_is_not_sent_to_a_cluster(scripted, problems, tmp_path):
    async with scripted() as engine:
        with pytest.raises(UsageError, match="cannot be sent to a cluster"):
            await run_batch(problems, tmp_path, BatchConfig(executor="ray"), engine=engine)


def test_actors_belong_to_a_cluster():
    with pytest.raises(UsageError, match="engines of a Ray cluster"):
        BatchConfig(actors=2)


async def test_an_item_whose_engine_died_is_given_to_another_and_not_for_ever(
    scripted, script, problems, rows, tmp_path
):
    deaths = {"add 1": 1, "add 2": 100}

    def dies(question, path):
        if deaths.get(question, 0):
            deaths[question] -= 1
            raise EngineDied("the engine died")
        return script(question, path)

    async with scripted(dies) as engine:
        report = await run_batch(problems, tmp_path, BatchConfig(strategy=Greedy(), parallel=2), engine=engine)
    assert (report.done, report.failed, report.errors) == (6, 1, {"EngineDied": 1})
    attempts = {row["id"]: (row["status"], row["attempt"]) for row in rows(tmp_path)}
    assert (attempts["p1"], attempts["p2"], attempts["p3"]) == (("ok", 2), ("failed", 4), ("ok", 1))


async def test_an_item_that_crashes_a_model_and_then_ends_its_engine_has_a_row(scripted, script, problems, tmp_path):
    ends = [ModelCrashed("the model's worker died twice"), EngineDied("the engine died")]

    def dies(question, path):
        if question == "add 1" and ends:
            raise ends.pop(0)
        return script(question, path)

    async with scripted(dies) as engine:
        report = await run_batch(problems, tmp_path, BatchConfig(strategy=Greedy(), parallel=2), engine=engine)
    assert (report.stop_reason, report.done, report.failed, report.pending) == ("completed", 6, 1, 0)
