from __future__ import annotations

import json
from dataclasses import replace

import anyio
import pytest

from ramify import Budget, Greedy, MajorityVote, ModelCrashed, Solution, UsageError
from ramify.batch import BatchConfig, BatchControl, RunFolderError, run_batch
from ramify.batch.report.totals import summarise
from ramify.config import RunConfig
from ramify.problem import Problem
from ramify.search.stopping import make_stop_rule

TWO = MajorityVote(width=2)
TOKENS = 2 * 8
"""Generated tokens of an item: two paths of "Let me think." (3) and "The answer is N." (4) with its end (1)."""


def config(**options) -> BatchConfig:
    return BatchConfig(**{"strategy": TWO, "parallel": 2, **options})


async def test_every_item_is_solved_graded_and_written_down(scripted, problems, rows, tmp_path):
    async with scripted() as engine:
        report = await run_batch(problems, tmp_path, config(), engine=engine)
    found = {row["id"]: row for row in rows(tmp_path)}
    assert [found[f"p{n}"]["correct"] for n in range(6)] == [True, True, True, True, False, False]
    assert all(row["status"] == "ok" and row["error"] is None for row in found.values())
    assert [found["p3"][key] for key in ("gold", "repeat", "index", "metadata")] == ["3", 0, 3, {"level": 1}]
    assert (found["p3"]["nodes"], found["p3"]["finish_reasons"]) == (4, {"eos": 2, "step": 2})
    assert (report.items, report.done, report.pending, report.graded, report.correct) == (6, 6, 0, 6, 4)
    assert (report.accuracy, report.stop_reason) == (4 / 6, "completed")
    assert report.usage.policy.generated_tokens == 6 * TOKENS


async def test_a_row_is_a_solution(scripted, problems, rows, tmp_path):
    async with scripted() as engine:
        await run_batch(problems[:1], tmp_path, config(), engine=engine)
        alone = await engine.solve(problems[0], strategy=TWO)
    (row,) = rows(tmp_path)
    read = Solution.from_dict(row)
    assert (read.answer, read.text, read.candidates, read.problem_id) == (
        alone.answer,
        alone.text,
        alone.candidates,
        alone.problem_id,
    )


async def test_the_report_is_on_disk(scripted, problems, tmp_path):
    async with scripted() as engine:
        report = await run_batch(problems, tmp_path, config(), engine=engine)
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    assert summarise(tmp_path).to_dict() == {**report.to_dict(), "stop_reason": None}


async def test_a_finished_run_is_left_as_it_is(scripted, problems, tmp_path):
    async with scripted() as engine:
        first = await run_batch(problems, tmp_path, config(), engine=engine)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    async with scripted(lambda question, path: pytest.fail("a model was asked")) as engine:
        again = await run_batch(problems, tmp_path, config(), engine=engine)
    assert again == first
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


async def test_draining_finishes_what_is_in_flight_and_the_next_call_does_the_rest(scripted, problems, rows, tmp_path):
    control = BatchControl()

    def watch(progress):
        if progress.done == 2:
            control.drain()

    async with scripted() as engine:
        report = await run_batch(problems, tmp_path, config(), engine=engine, control=control, watch=watch)
        assert report.stop_reason == "interrupted"
        assert 2 <= report.done < 6 and report.pending == 6 - report.done
        report = await run_batch(problems, tmp_path, config(), engine=engine)
    assert (report.stop_reason, report.pending) == ("completed", 0)
    assert sorted(row["id"] for row in rows(tmp_path)) == [f"p{n}" for n in range(6)]
    assert {row["leg"] for row in rows(tmp_path)} == {1, 2}
    assert report.usage.policy.generated_tokens == 6 * TOKENS


async def test_cancelling_keeps_what_is_done_and_counts_what_was_lost(scripted, problems, rows, tmp_path):
    reached = anyio.Event()

    def watch(progress):
        if progress.done >= 2:
            reached.set()

    async with scripted(delay_s=0.005) as engine:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: run_batch(problems, tmp_path, config(), engine=engine, watch=watch))
            await reached.wait()
            tasks.cancel_scope.cancel()
        kept = rows(tmp_path)
        stopped = json.loads((tmp_path / "report.json").read_text())
        assert (stopped["stop_reason"], stopped["done"]) == ("aborted", len(kept))
        report = await run_batch(problems, tmp_path, config(), engine=engine)
    assert rows(tmp_path)[: len(kept)] == kept
    assert sorted(row["id"] for row in rows(tmp_path)) == [f"p{n}" for n in range(6)]
    assert report.usage.policy.generated_tokens == 6 * TOKENS
    lost = [json.loads(line) for line in (tmp_path / "attempts.jsonl").read_text().splitlines()]
    assert 1 <= len(lost) <= 2
    assert report.other_usage.policy.generated_tokens == sum(
        each["usage"]["policy"]["generated_tokens"] for each in lost
    )
    assert {row["attempt"] for row in rows(tmp_path) if row["key"] in {each["key"] for each in lost}} == {2}


async def test_a_bad_item_keeps_its_error_and_stops_nothing(scripted, script, problems, rows, tmp_path):
    def bad(question, path):
        if question == "add 2" and len(path) == 2:
            raise RuntimeError("the second step cannot be written")
        return script(question, path)

    async with scripted(bad) as engine:
        report = await run_batch(problems, tmp_path, config(), engine=engine)
    assert (report.done, report.failed, report.ok, report.graded) == (6, 1, 5, 5)
    assert report.errors == {"RuntimeError": 1}
    (row,) = [row for row in rows(tmp_path) if row["status"] == "failed"]
    assert (row["id"], row["answer"], row["correct"], row["gold"]) == ("p2", None, None, "2")
    assert row["error"]["message"] == "the second step cannot be written"
    assert row["usage"]["policy"]["generated_tokens"] == 2 * 3
    assert "item 'p2' failed: RuntimeError" in (tmp_path / "events.log").read_text()


async def test_failed_items_are_run_again_only_when_asked(scripted, script, problems, rows, tmp_path):
    def bad(question, path):
        if question == "add 2":
            raise RuntimeError("no")
        return script(question, path)

    notes: list[str] = []
    async with scripted(bad) as engine:
        await run_batch(problems, tmp_path, config(), engine=engine)
    async with scripted() as engine:
        report = await run_batch(problems, tmp_path, config(), engine=engine, note=notes.append)
        assert report.failed == 1
        assert notes == ["1 of the items failed before; --retry-failed runs them again"]
        report = await run_batch(problems, tmp_path, config(retry_failed=True), engine=engine)
    assert (report.done, report.failed, report.correct) == (6, 0, 4)
    assert sorted((row["id"], row["attempt"]) for row in rows(tmp_path)) == [
        (f"p{n}", 2 if n == 2 else 1) for n in range(6)
    ]
    (old,) = [json.loads(line) for line in (tmp_path / "attempts.jsonl").read_text().splitlines()]
    assert (old["id"], old["attempt"], old["error"]["type"]) == ("p2", 1, "RuntimeError")


async def test_a_crash_with_a_model_is_tried_once_more_alone(scripted, script, problems, rows, tmp_path):
    crashes = {"add 1": 1, "add 2": 2}
    in_flight: list[int] = []

    def crash(question, path):
        if crashes.get(question, 0):
            crashes[question] -= 1
            raise ModelCrashed("the model's worker died twice")
        return script(question, path)

    def watch(progress):
        in_flight.append(progress.in_flight)

    async with scripted(crash) as engine:
        report = await run_batch(problems, tmp_path, config(parallel=3), engine=engine, watch=watch)
    found = {row["id"]: (row["status"], row["attempt"]) for row in rows(tmp_path)}
    assert found["p1"] == ("ok", 2)
    assert found["p2"] == ("failed", 2)
    assert (report.done, report.failed, report.errors) == (6, 1, {"ModelCrashed": 1})
    assert [row["id"] for row in rows(tmp_path)][-2:] == ["p1", "p2"]
    assert max(in_flight[-2:]) <= 1


async def test_max_failures_ends_the_call(scripted, problems, tmp_path):
    async with scripted(lambda question, path: 1 / 0) as engine:
        report = await run_batch(problems, tmp_path, config(parallel=1, max_failures=2), engine=engine)
    assert (report.done, report.failed, report.pending, report.stop_reason) == (2, 2, 4, "failures")


async def test_a_budget_for_the_whole_run_starts_nothing_beyond_it(scripted, problems, rows, tmp_path):
    async with scripted() as engine:
        report = await run_batch(problems, tmp_path, config(budget_generated_tokens=3 * TOKENS), engine=engine)
        assert (report.stop_reason, report.usage.policy.generated_tokens) == ("budget", 3 * TOKENS)
        again = await run_batch(problems, tmp_path, config(budget_generated_tokens=3 * TOKENS), engine=engine)
        assert (again.stop_reason, again.done) == ("budget", 3)
        report = await run_batch(problems, tmp_path, config(budget_generated_tokens=5 * TOKENS - 1), engine=engine)
        assert (report.stop_reason, report.done) == ("budget", 5)
        report = await run_batch(problems, tmp_path, config(), engine=engine)
    assert (report.stop_reason, report.done) == ("completed", 6)
    assert len({row["key"] for row in rows(tmp_path)}) == 6


async def test_repeats_have_their_own_seeds_and_may_be_added_later(scripted, problems, rows, tmp_path):
    async with scripted() as engine:
        await run_batch(problems[:2], tmp_path, config(run=RunConfig(seed=7)), engine=engine)
        report = await run_batch(problems[:2], tmp_path, config(run=RunConfig(seed=7), repeat=3), engine=engine)
    assert report.done == 6
    assert sorted((row["id"], row["repeat"], row["seed"]) for row in rows(tmp_path)) == [
        (name, n, 7 + n) for name in ("p0", "p1") for n in range(3)
    ]


async def test_equal_questions_are_items_of_their_own(scripted, rows, tmp_path):
    twins = [Problem("a", "add 1", "1"), Problem("b", "add 1", "1")]
    async with scripted() as engine:
        report = await run_batch(twins, tmp_path, config(), engine=engine)
    assert report.done == 2
    assert sorted(row["id"] for row in rows(tmp_path)) == ["a", "b"]


async def test_selections_and_orders(scripted, problems, rows, tmp_path):
    async with scripted() as engine:

        async def ids(name, **options):
            await run_batch(problems, tmp_path / name, config(parallel=1, **options), engine=engine)
            return [row["id"] for row in rows(tmp_path / name)]

        assert await ids("limit", limit=2) == ["p0", "p1"]
        assert await ids("ids", ids=("p4", "p1")) == ["p4", "p1"]
        shuffled = await ids("shuffle", shuffle=True, shuffle_seed=3)
        assert sorted(shuffled) == [f"p{n}" for n in range(6)] != shuffled
        assert await ids("both", shuffle=True, shuffle_seed=3, limit=2) == shuffled[:2]
        with pytest.raises(UsageError, match="no problem has the id 'p9'"):
            await ids("none", ids=("p9",))


async def test_a_selection_can_grow_in_the_same_folder(scripted, problems, rows, tmp_path):
    async with scripted() as engine:
        first = await run_batch(problems, tmp_path, config(limit=2), engine=engine)
        assert (first.items, first.pending) == (2, 0)
        report = await run_batch(problems, tmp_path, config(), engine=engine)
    assert (report.items, report.done) == (6, 6)
    assert len(rows(tmp_path)) == 6


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"strategy": MajorityVote(width=3)}, "strategy.width was 2 and is now 3"),
        ({"strategy": Greedy()}, "strategy.name was majority and is now greedy"),
        ({"run": RunConfig(seed=1)}, "seed was 0 and is now 1"),
        ({"run": RunConfig(budget=Budget(nodes=50))}, "budget.nodes was null and is now 50"),
        ({"run": RunConfig(max_step_tokens=9)}, "max_step_tokens was 256 and is now 9"),
    ],
)
async def test_another_configuration_is_refused(scripted, problems, tmp_path, change, difference):
    async with scripted() as engine:
        await run_batch(problems, tmp_path, config(), engine=engine)
        with pytest.raises(RunFolderError, match=difference):
            await run_batch(problems, tmp_path, config(**change), engine=engine)


async def test_what_changes_only_the_speed_is_not_refused(scripted, problems, tmp_path):
    async with scripted() as engine:
        await run_batch(problems, tmp_path, config(limit=2), engine=engine)
        report = await run_batch(problems, tmp_path, config(parallel=5, save_trees=True), engine=engine)
    assert report.done == 6
    assert len(list((tmp_path / "trees").iterdir())) == 4


async def test_other_problems_and_other_gold_answers_are_refused(scripted, problems, tmp_path):
    async with scripted() as engine:
        await run_batch(problems, tmp_path, config(), engine=engine)
        with pytest.raises(RunFolderError, match="'p0' is not in the input"):
            await run_batch([Problem("p0", "another question")], tmp_path, config(), engine=engine)
        changed = [Problem(each.id, each.question, "77") for each in problems]
        with pytest.raises(RunFolderError, match="was '0' and is now '77'"):
            await run_batch(changed, tmp_path, config(), engine=engine)


async def test_problems_may_be_added_and_moved(scripted, problems, rows, tmp_path):
    async with scripted() as engine:
        await run_batch(problems[:3], tmp_path, config(), engine=engine)
        report = await run_batch(problems[::-1], tmp_path, config(), engine=engine)
    assert report.done == 6
    assert len({row["key"] for row in rows(tmp_path)}) == 6


async def test_a_tree_is_saved_before_its_row(scripted, problems, rows, tmp_path):
    from ramify import SearchTree

    async with scripted() as engine:
        await run_batch(problems, tmp_path, config(save_trees=True), engine=engine)
    for row in rows(tmp_path):
        tree = SearchTree.from_dict(json.loads((tmp_path / "trees" / f"{row['key']}.json").read_text()))
        assert tree.generated_tokens == row["usage"]["policy"]["generated_tokens"]


async def test_a_torn_item_is_done_again(scripted, problems, rows, tmp_path):
    async with scripted() as engine:
        await run_batch(problems, tmp_path, config(parallel=1), engine=engine)
        path = tmp_path / "items.jsonl"
        path.write_bytes(path.read_bytes()[:-40])
        assert summarise(tmp_path).done == 5
        report = await run_batch(problems, tmp_path, config(), engine=engine)
    assert (report.done, report.correct) == (6, 4)
    assert sorted(row["id"] for row in rows(tmp_path)) == [f"p{n}" for n in range(6)]


async def test_a_folder_that_is_full_ends_the_call_and_keeps_what_is_there(
    scripted, problems, rows, tmp_path, monkeypatch
):
    from ramify.journals import Journal

    append = Journal.append
    left = [3]

    def full(self, row):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        append(self, row)

    async with scripted() as engine:
        monkeypatch.setattr(Journal, "append", full)
        with pytest.raises(RunFolderError, match="no room"):
            await run_batch(problems, tmp_path, config(), engine=engine)
        assert len(rows(tmp_path)) == 3
        monkeypatch.setattr(Journal, "append", append)
        report = await run_batch(problems, tmp_path, config(), engine=engine)
    assert report.done == 6


async def test_problems_without_gold_answers_are_not_graded(scripted, tmp_path, rows):
    async with scripted() as engine:
        report = await run_batch([Problem("a", "add 1")], tmp_path, config(), engine=engine)
    assert rows(tmp_path)[0]["correct"] is None
    assert (report.graded, report.accuracy) == (0, None)


async def test_the_progress_ends_at_the_totals(scripted, problems, tmp_path):
    seen = []
    async with scripted() as engine:
        await run_batch(
            problems, tmp_path, config(budget_generated_tokens=10 * TOKENS), engine=engine, watch=seen.append
        )
    last = seen[-1]
    assert (last.items, last.done, last.failed, last.in_flight) == (6, 6, 0, 0)
    assert (last.graded, last.correct, last.generated_tokens, last.budget_fraction) == (6, 4, 6 * TOKENS, 0.6)
    assert last.eta_s == 0
    assert [each.done for each in seen] == sorted(each.done for each in seen)


@pytest.mark.parametrize("name", ["parallel", "repeat", "limit", "budget_generated_tokens", "max_failures"])
def test_settings_below_one_are_refused(name):
    with pytest.raises(UsageError, match=f"{name} is 0"):
        BatchConfig(**{name: 0})


async def test_a_retry_cut_short_half_way_counts_nothing_twice(scripted, script, problems, rows, tmp_path):
    def bad(question, path):
        if question == "add 2" and len(path) == 2:
            raise RuntimeError("no")
        return script(question, path)

    async with scripted(bad) as engine:
        await run_batch(problems, tmp_path, config(), engine=engine)
    (failed,) = [row for row in rows(tmp_path) if row["status"] == "failed"]
    (tmp_path / "attempts.jsonl").write_text(json.dumps(failed) + "\n")
    assert summarise(tmp_path).other_usage.policy.generated_tokens == 0
    async with scripted() as engine:
        report = await run_batch(problems, tmp_path, config(retry_failed=True), engine=engine)
    assert len((tmp_path / "attempts.jsonl").read_text().splitlines()) == 1
    assert (report.done, report.failed, report.other_usage.policy.generated_tokens) == (6, 0, 6)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_both_event_loops(scripted, problems, tmp_path, backend):
    async def work():
        async with scripted() as engine:
            return await run_batch(problems, tmp_path, config(), engine=engine)

    assert anyio.run(work, backend=backend).correct == 4


async def test_the_models_of_the_configuration_are_loaded_only_if_needed(problems, tmp_path):
    from ramify.engine.library.catalog import list_bundled

    if "demo-m" not in {entry.name for entry in list_bundled()}:
        pytest.skip("the bundled models are not in this checkout")
    settings = BatchConfig(strategy=Greedy(), run=RunConfig(budget=Budget(generated_tokens=60)))
    report = await run_batch(problems[:2], tmp_path, settings)
    assert (report.done, report.failed, report.usage.reward.prompt_tokens) == (2, 0, 0)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["model"]["name"], manifest["reward"]) == ("demo-m", None)


async def test_a_strategy_without_its_reward_is_refused_before_anything_is_written(problems, tmp_path):
    with pytest.raises(UsageError, match="needs a reward model"):
        await run_batch(problems, tmp_path / "out", BatchConfig(strategy="rebase", reward=None))
    assert not (tmp_path / "out").exists()


async def test_stop_rules_belong_to_the_configuration(scripted, problems, rows, tmp_path):
    rule = make_stop_rule("lead")
    five = config(strategy=MajorityVote(width=5), run=RunConfig(stop=rule))
    async with scripted() as engine:
        report = await run_batch(problems, tmp_path, five, engine=engine)
        with pytest.raises(RunFolderError, match="stop was"):
            await run_batch(problems, tmp_path, config(strategy=MajorityVote(width=5)), engine=engine)
    assert report.stop_reasons == {"early_stop": 6}
    assert all(row["stop"]["rule"] == "lead" for row in rows(tmp_path))


async def test_the_best_strategy_of_a_profile_becomes_the_configuration(problems, tmp_path):
    from ramify.engine.loading import default_reward
    from ramify.engine.planning.profile import profile_path

    if profile_path("demo-m", default_reward("demo-m")) is None:
        pytest.skip("there is no profile of the bundled models")
    settings = BatchConfig(strategy="auto", run=RunConfig(budget=Budget(generated_tokens=60)))
    await run_batch(problems[:1], tmp_path, settings)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["configuration"]["strategy"]["name"] != "auto"


def test_the_old_name_of_the_limit_is_understood():
    with pytest.warns(DeprecationWarning, match="budget_generated_tokens"):
        config_ = BatchConfig(budget_total_tokens=7)
    assert config_.budget_generated_tokens == 7
    assert replace(config_, parallel=2).budget_generated_tokens == 7
