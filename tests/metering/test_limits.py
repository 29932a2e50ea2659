"""Energy and cost in the usage of runs, and as hard limits."""

from __future__ import annotations

import json

import pytest

import ramify
from ramify.engine.control.meter import LOOK_S, Meter
from ramify.engine.metering.machine import MachineMeter
from ramify.engine.runtime.messages import StepResult
from ramify.errors import BudgetError, UsageError
from ramify.prices import Charge, Prices, TokenPrices
from ramify.search.budget import Budget, TokenPrice
from ramify.search.node import FinishReason
from ramify.search.stopping import StopReason
from ramify.testing import ScriptedModel
from ramify.usage import RoleUsage, Usage


def result(node: int, tokens: int, *, prompt: int = 0) -> StepResult:
    return StepResult(
        child=node, text="", tokens=(), logprob=None, finish_reason=FinishReason.STEP,
        generated_tokens=tokens, prompt_tokens=prompt,
    )  # fmt: skip


def charge(*, output: float = 0.0, read: float = 0.0, **prices: float) -> Charge:
    found = Prices(models={"p": TokenPrices(input=read, output=output)}, **prices)
    return Charge.of(found, "p", None)


# The meter


def test_joules_are_used_by_time_and_end_ordinary_work(counter, clock):
    machine = MachineMeter(counter, processors=lambda: None, clock=clock)
    meter = Meter(Budget(joules=80), clock=clock, machine=machine)
    meter.start()
    assert meter.reserve(4, 100).children == 4
    assert meter.time_left() == LOOK_S
    counter.joules, clock.now = {"rapl": 69.0}, 101.0
    assert meter.usage().energy_j == 69.0
    assert meter.exhausted() is None
    # An eighth is withheld until a path has finished.
    counter.joules, clock.now = {"rapl": 70.0}, 102.0
    assert meter.time_left() == 0.0
    assert meter.reached() is StopReason.BUDGET_JOULES
    assert meter.exhausted() is StopReason.BUDGET_JOULES
    assert meter.reserve(1, 100).children == 0
    assert meter.time_to_cut() == LOOK_S
    assert meter.reserve_finish(100).children == 1
    meter.note_finished()
    counter.joules, clock.now = {"rapl": 80.0}, 103.0
    assert meter.time_to_cut() == 0.0
    assert meter.progress() == 1.0


def test_energy_that_is_lost_counts_as_used_up(counter, clock):
    machine = MachineMeter(counter, processors=lambda: None, clock=clock)
    meter = Meter(Budget(joules=80), clock=clock, machine=machine)
    meter.start()
    counter.broken, clock.now = True, 101.0
    assert meter.exhausted() is StopReason.BUDGET_JOULES
    assert meter.usage().energy_j is None


def test_tokens_that_cost_money_are_reserved_before_they_are_written(clock):
    # 1000 per million tokens: a budget of 1 buys 1000 tokens.
    meter = Meter(Budget(cost=1.0), TokenPrice(), clock=clock, charge=charge(output=1000.0, read=1000.0))
    meter.start()
    meter.foresee_prompts(100)
    first = meter.reserve(4, 200)
    # 900 are left after the prompt, of which an eighth is withheld.
    assert first.tokens == 787
    meter.begin(first, [1, 2, 3, 4])
    assert meter.reserve(1, 100).children == 0
    for node in (1, 2, 3, 4):
        meter.written(result(node, 150, prompt=100 if node == 1 else 0))
        meter.settle(node)
    assert meter.usage().cost == pytest.approx(0.7)
    assert meter.reserve(4, 200).tokens == 187
    assert meter.time_left() is None


def test_money_passes_with_the_hours_of_the_machine(clock):
    machine = MachineMeter(None, clock=clock)
    meter = Meter(Budget(cost=1.0), clock=clock, machine=machine, charge=charge(machine_hour=360.0))
    meter.start()
    clock.now += 5
    assert meter.usage().cost == pytest.approx(0.5)
    assert meter.time_left() == LOOK_S
    clock.now += 4
    assert (meter.time_left(), meter.reached()) == (0.0, StopReason.BUDGET_COST)
    assert meter.exhausted() is StopReason.BUDGET_COST
    meter.note_finished()
    assert meter.reserve(1, 10).children == 1


def test_limits_that_cannot_be_checked_are_refused(clock):
    with pytest.raises(BudgetError, match="nothing measures"):
        Meter(Budget(joules=1), clock=clock)
    with pytest.raises(BudgetError, match="nothing measures"):
        Meter(Budget(joules=1), clock=clock, machine=MachineMeter(None))
    with pytest.raises(BudgetError, match="no prices"):
        Meter(Budget(cost=1), clock=clock)
    meter = Meter(Budget(), clock=clock)
    with pytest.raises(BudgetError, match="no prices"):
        meter.change(Budget(cost=1))


def test_a_run_that_ends_takes_no_more_energy(counter, clock):
    machine = MachineMeter(counter, processors=lambda: None, clock=clock)
    meter = Meter(Budget(), clock=clock, machine=machine)
    meter.start()
    counter.joules, clock.now = {"rapl": 7.0}, 101.0
    meter.stop()
    counter.joules, clock.now = {"rapl": 90.0}, 900.0
    assert (meter.usage().energy_j, meter.usage().energy_source) == (7.0, "rapl")


# Usage


def test_usage_without_energy_and_cost_reads_as_before():
    data = Usage(seconds=2.0).to_dict()
    assert not {"energy_j", "energy_source", "cost", "currency"} & data.keys()
    assert Usage.from_dict(data) == Usage(seconds=2.0)


def test_energy_and_cost_survive_json():
    usage = Usage(seconds=1.0, energy_j=3.5, energy_source="rapl", cost=0.25, currency="EUR")
    assert Usage.from_dict(json.loads(json.dumps(usage.to_dict()))) == usage


def test_sums_know_only_what_both_parts_know():
    one = Usage(seconds=1.0, energy_j=3.0, energy_source="rapl", cost=1.0, currency="EUR")
    two = Usage(seconds=1.0, energy_j=4.0, energy_source="nvml+rapl", cost=2.0, currency="EUR")
    total = one + two
    assert (total.energy_j, total.energy_source, total.cost, total.currency) == (7.0, "rapl+nvml", 3.0, "EUR")
    assert (Usage() + one).energy_j == (one + Usage()).energy_j == 3.0
    assert (Usage() + one).currency == "EUR"
    unknown = one + Usage(policy=RoleUsage(generated_tokens=3), seconds=1.0)
    assert (unknown.energy_j, unknown.energy_source, unknown.cost) == (None, None, None)
    other = one + Usage(seconds=1.0, energy_j=1.0, energy_source="rapl", cost=1.0, currency="USD")
    assert (other.energy_j, other.cost, other.currency) == (4.0, None, None)


# Runs


def scripted() -> ScriptedModel:
    return ScriptedModel(lambda question, path: ("one\n", "two\n", "The answer is 7.")[len(path) - 1])


async def test_an_estimate_is_called_one_and_is_the_power_times_the_time():
    async with ramify.Engine(scripted(), None, watts=100.0) as engine:
        solution = await engine.solve("q", strategy="majority")
    usage = solution.usage
    assert usage.energy_source == "estimate"
    assert usage.energy_j == pytest.approx(100 * usage.seconds, abs=1.0)


async def test_runs_have_a_cost_by_the_file_of_prices(price_file):
    path = price_file('currency = "EUR"\n[models."*"]\ninput = 10\noutput = 100\n')
    async with ramify.Engine(scripted(), None, prices=str(path)) as engine:
        usage = (await engine.solve("q", strategy="majority")).usage
        assert usage.cost == pytest.approx(
            (usage.policy.generated_tokens * 100 + (usage.policy.prompt_tokens + usage.policy.cached_tokens) * 10) / 1e6
        )
        assert usage.currency == "EUR"
        limited = await engine.solve("q", strategy="majority", budget=ramify.Budget(cost=usage.cost / 2))
    assert limited.stop_reason is StopReason.BUDGET_COST
    assert limited.usage.cost is not None
    assert limited.usage.cost <= usage.cost / 2


async def test_limits_need_what_they_are_checked_by(price_file, monkeypatch):
    monkeypatch.setattr("ramify.engine.metering.plan.machine_meter", lambda watts, gpu: MachineMeter(None))
    async with ramify.Engine(scripted(), None) as engine:
        with pytest.raises(UsageError, match="--watts"):
            await engine.solve("q", budget=ramify.Budget(joules=5))
        with pytest.raises(UsageError, match="--prices"):
            await engine.solve("q", budget=ramify.Budget(cost=5))
    with pytest.raises(UsageError, match="is no file of prices"):
        async with ramify.Engine(scripted(), None, prices=str(price_file("kwh = -1"))):
            pass
    async with ramify.Engine(scripted(), None, prices=str(price_file("kwh = 1"))) as engine:
        with pytest.raises(UsageError, match="energy has a price"):
            await engine.solve("q")
    path = str(price_file("[models.other]\noutput = 1"))
    async with ramify.Engine(scripted(), None, prices=path) as engine:
        with pytest.raises(UsageError, match="has none for"):
            await engine.solve("q", budget=ramify.Budget(cost=5))
