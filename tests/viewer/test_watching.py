"""`await engine.run(...).watch()`: what it shows, and the example notebook, executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ramify.engine.engine import Engine
from ramify.engine.run import Run
from ramify.engine.testing import ScriptedModel
from ramify.errors import UsageError

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


def steps(question: str, path: tuple[int, ...]) -> str:
    return f"Step <b>{path[0]}</b>.\n" if len(path) == 1 else "The answer is 7."


async def test_progress_is_shown_until_the_solution_is_there() -> None:
    shown: list[str] = []
    async with Engine(ScriptedModel(steps), lambda question, path: 0.5) as engine:
        solution = await engine.run("How many <i>?", strategy="rebase").watch(show=shown.append)
        assert solution.answer == "7"
    assert "How many &lt;i&gt;?" in shown[-1]
    assert "answer 7, stopped: completed" in shown[-1]
    assert "32 steps, 16 answers, 0 pruned" in shown[-1]
    assert not any("<b>" in each or "<i>" in each for each in shown)


async def test_a_run_is_still_a_block() -> None:
    async with Engine(ScriptedModel(steps), None) as engine:
        async with engine.run("How many?", strategy="greedy") as run:
            assert isinstance(run, Run)
            assert (await run.result()).answer == "7"


async def test_the_run_is_cancelled_if_the_display_fails() -> None:
    def fail(html: str) -> None:
        raise OSError("no display")

    async with Engine(ScriptedModel(steps, delay_s=0.01), None) as engine:
        with pytest.raises(OSError, match="no display"):
            await engine.run("How many?").watch(show=fail)
        assert (await engine.solve("How many?", strategy="greedy")).answer == "7"


async def test_without_a_notebook_it_says_so() -> None:
    async with Engine(ScriptedModel(steps), None) as engine:
        with pytest.raises(UsageError, match="watch shows progress in a notebook"):
            await engine.run("How many?").watch()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_notebook_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    saved = [cell.get("outputs", []) for cell in notebook.cells]
    client.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    for cell, before in zip(notebook.cells, saved, strict=True):
        if cell.cell_type == "code":
            kinds = [output.output_type for output in cell.outputs]
            assert kinds == [output.output_type for output in before], cell.source
            assert not any(output.get("name") == "stderr" for output in cell.outputs)
