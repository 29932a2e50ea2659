"""The calculator in the decoder: values in place of drawn tokens, whatever else is decoded, and within all limits."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ramify
from ramify.engine.policy.llama import LlamaPolicy
from ramify.engine.runtime.decode.calculator import Calculator
from ramify.engine.runtime.decode.decoder import Decoder
from ramify.engine.runtime.decode.draws import RowSampler, uniforms
from ramify.engine.runtime.decode.step_text import StepText
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.reward.arithmetic import false_equations
from ramify.reward.calculator import value_after
from ramify.sampling_params import StepFormat, TokenSampling
from ramify.search.strategy import Strategy
from ramify.testing import ScriptedModel

from .driving import until, worker_pid
from .fake_context import FakeContext, drain, row_of, steps_of

LINE = StepFormat(name="line", pattern=r"\n")
SIGNS = "\x00\n012345+*="
"""Text of each token of the fake vocabulary; the first one ends the text, and 12 is one token."""
PIECES = [*SIGNS, "12"]
PROMPT = (3, 4, 5)
SAMPLER = RowSampler(len(PIECES))


class Sums:
    """A vocabulary of short sums."""

    def piece(self, id: int, /, *, special: bool = True) -> bytes:
        return PIECES[id].encode()

    def is_end(self, id: int) -> bool:
        return id == 0

    def encode(self, text: str, *, special: bool) -> list[int]:
        # Digits that are no token cannot be written.
        if any(each not in SIGNS for each in text):
            return []
        found, rest = list[int](), text
        while rest:
            piece = "12" if rest.startswith("12") else rest[0]
            found.append(PIECES.index(piece))
            rest = rest[len(piece) :]
        return found


def likely(path: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return logits of a model that likes sums: signs after numbers, and numbers after signs."""
    row = row_of(path)
    number = PIECES[path[-1]].isdigit()
    row[[place for place, piece in enumerate(PIECES) if (piece in "+*=" if number else piece.isdigit())]] += 2.0
    return row


class SumContext(FakeContext):
    """A context of that model."""

    def logits(self, rows: int) -> npt.NDArray[np.float32]:
        assert rows == len(self._wanted)
        return np.asarray([likely(path) for path in self._wanted])

    def decode(self, tokens: list[int], positions: list[int], sequences: list[int], outputs: list[bool]) -> int:
        before = len(self.evaluated)
        code = super().decode(tokens, positions, sequences, outputs)
        self._wanted = [path for path, output in zip(self.evaluated[before:], outputs, strict=False) if output]
        return code


def asked(child: int, parent: int = 0, *, max_tokens: int = 24, temperature: float = 1.0) -> StepRequest:
    return StepRequest(
        parent=parent,
        child=child,
        seed=child * 104_729,
        max_tokens=max_tokens,
        sampling=TokenSampling(temperature=temperature),
        calculator=True,
    )


def reference(path: tuple[int, ...], request: StepRequest) -> tuple[tuple[int, ...], str, int, float]:
    """Return tokens, the reason of the end, calculated tokens and log-probability of a request, token by token."""
    tokens, calculated, total, text = list[int](), 0, 0.0, ""
    calculator = Calculator(Sums())
    forced = list[int]()
    while True:
        if forced:
            token, calculated = forced.pop(0), calculated + 1
        else:
            numbers = uniforms([request.seed], [len(tokens)])
            row = likely((*path, *tokens))[None, :]
            drawn, logprobs = SAMPLER.draw(row, [request.sampling], numbers)
            token, total = int(drawn[0]), total + float(logprobs[0])
        tokens.append(token)
        if token == 0:
            return tuple(tokens), "eos", calculated, total
        text += PIECES[token]
        if "\n" in text.lstrip():
            return tuple(tokens), "step", calculated, total
        if len(tokens) >= request.max_tokens:
            return tuple(tokens), "length", calculated, total
        if not forced and PIECES[token] == "=":
            step = StepText(None)
            step.text = text
            found = list(calculator.after(b"=", request.line, step))
            forced = found if len(found) <= request.max_tokens - len(tokens) else []


def same(result: StepResult, expected: tuple[tuple[int, ...], str, int, float]) -> bool:
    found = (result.tokens, result.finish_reason, result.calculated_tokens)
    return found == expected[:3] and result.logprob == pytest.approx(expected[3])


@pytest.mark.parametrize(("lanes", "batch", "cells"), [(60, 32, 10_000), (2, 3, 10_000), (8, 32, 90)])
def test_any_schedule_gives_the_steps_of_one_child_alone(lanes: int, batch: int, cells: int) -> None:
    context = SumContext(batch_tokens=batch, cells=cells)
    decoder = Decoder(context, Sums(), max_lanes=lanes)
    decoder.open_run(1, PROMPT)
    paths, asked_for, results = {0: PROMPT}, dict[int, StepRequest](), dict[int, StepResult]()
    parents, number = [0], 1
    for temperature in (1.0, 0.3, 1.0):
        below = [parent for parent in parents[:6] for _ in range(12)]
        requests = [asked(number + place, parent, temperature=temperature) for place, parent in enumerate(below)]
        number += len(requests)
        asked_for |= {each.child: each for each in requests}
        decoder.expand(1, requests, None, step=LINE)
        level = {child: result for (_, child), result in steps_of(drain(decoder)).items()}
        results |= level
        for child, result in level.items():
            above = paths[asked_for[child].parent]
            assert same(result, reference(above, asked_for[child]))
            paths[child] = above + result.tokens
        parents = [child for child, result in level.items() if result.finish_reason != "eos"]
    assert sum(each.calculated_tokens for each in results.values()) > 30
    assert sum(each.prompt_tokens for each in results.values()) == len(PROMPT)
    # Tokens of the calculator are evaluated once like all others, and nothing is counted twice.
    again = len(context.evaluated) - len(set(context.evaluated))
    assert sum(each.reevaluated_tokens for each in results.values()) == again
    if lanes == 60:
        assert again == 0


def always(*tokens: int, batch_tokens: int = 32) -> SumContext:
    """Return a context in which the model writes these tokens, and then ones."""

    class Context(SumContext):
        def logits(self, rows: int) -> npt.NDArray[np.float32]:
            found = np.full((rows, len(PIECES)), -30.0, dtype=np.float32)
            for row, path in zip(found, self._wanted, strict=True):
                place = len(path) - len(PROMPT)
                row[tokens[place] if place < len(tokens) else PIECES.index("1")] = 30.0
            return found

    return Context(batch_tokens=batch_tokens)


SUM = tuple(PIECES.index(each) for each in "5+5+2=")


@pytest.mark.parametrize(
    ("limit", "allowance", "text", "reason", "calculated"),
    [
        (24, None, "5+5+2=12" + "1" * 17, "length", 1),
        (7, None, "5+5+2=12", "length", 1),
        (6, None, "5+5+2=", "length", 0),
        (24, 7, "5+5+2=12", "budget", 1),
        (24, 6, "5+5+2=", "budget", 0),
    ],
)
def test_a_value_is_written_as_far_as_limits_allow(
    limit: int, allowance: int | None, text: str, reason: str, calculated: int
) -> None:
    decoder = Decoder(always(*SUM), Sums(), max_lanes=4)
    decoder.open_run(1, PROMPT)
    decoder.expand(1, [asked(1, max_tokens=limit)], allowance, step=LINE)
    (result,) = steps_of(drain(decoder)).values()
    assert (result.text, result.finish_reason, result.calculated_tokens) == (text, reason, calculated)
    assert result.generated_tokens == len(result.tokens)


def test_a_value_of_several_tokens_never_stands_in_part() -> None:
    # With room for one of the two tokens, the model goes on by itself.
    long = tuple(PIECES.index(each) for each in "5*5+5=")
    for limit, text, calculated in ((8, "5*5+5=30", 2), (7, "5*5+5=1", 0)):
        decoder = Decoder(always(*long), Sums(), max_lanes=4)
        decoder.open_run(1, PROMPT)
        decoder.expand(1, [asked(1, max_tokens=limit)], None, step=LINE)
        (result,) = steps_of(drain(decoder)).values()
        assert (result.text, result.calculated_tokens) == (text, calculated)


def test_without_a_calculator_nothing_is_put_in() -> None:
    decoder = Decoder(always(*SUM), Sums(), max_lanes=4)
    decoder.open_run(1, PROMPT)
    decoder.expand(1, [replace(asked(1, max_tokens=9), calculator=False)], None, step=LINE)
    (result,) = steps_of(drain(decoder)).values()
    assert (result.text, result.calculated_tokens) == ("5+5+2=111", 0)


def test_shared_sequences_take_a_value_together_and_count_it_for_each() -> None:
    context = always(*SUM)
    decoder = Decoder(context, Sums(), max_lanes=4)
    decoder.open_run(1, PROMPT)
    decoder.expand(1, [asked(child, max_tokens=10) for child in range(1, 6)], 50, step=LINE)
    results = list(steps_of(drain(decoder)).values())
    assert {each.text for each in results} == {"5+5+2=12111"}
    assert [each.calculated_tokens for each in results] == [1] * 5
    assert len(context.evaluated) == len(PROMPT) + 9
    assert sum(each.shared_tokens for each in results) == 4 * 9


def test_a_step_cut_while_its_value_waits_goes_on_without_repetition() -> None:
    context = always(*SUM, batch_tokens=4)
    decoder = Decoder(context, Sums(), max_lanes=4)
    decoder.open_run(1, PROMPT)
    decoder.expand(1, [asked(1), asked(2)], None, step=LINE)
    results = list[tuple[int, object]]()
    while not any("12" in each.text for each in [*map(_text_of, decoder._scheduler.working)]):
        results += decoder.step()
    decoder.interrupt(1)
    first = steps_of(drain(decoder))
    assert {each.text for each in first.values()} == {"5+5+2=12"}
    decoder.expand(1, [asked(3, 1, max_tokens=3)], None, step=LINE)
    (last,) = steps_of(drain(decoder)).values()
    assert (last.text, last.reevaluated_tokens, last.prompt_tokens) == ("111", 0, 0)
    assert len(set(context.evaluated)) == len(context.evaluated)


def _text_of(job: object) -> StepText:
    return getattr(job, "text", None) or StepText(None)


def test_an_expression_may_begin_in_the_step_before() -> None:
    step = StepText(None)
    step.text = "2+3="
    calculator = Calculator(Sums())
    assert calculator.after(b"=", "", step) == (PIECES.index("5"),)
    assert calculator.after(b"=", "1", step) == (PIECES.index("1"), PIECES.index("5"))
    assert calculator.after(b"=", "x*", step) == ()
    # 7 is in no token here.
    step.text = "4+3="
    assert calculator.after(b"=", "", step) == ()
    step.text = "```\n2+3="
    assert calculator.after(b"=", "", step) == ()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PIECES[1:]), max_size=40), st.text("012345+*= \n", max_size=12))
def test_any_text_is_completed_exactly_or_not_at_all(pieces: list[str], line: str) -> None:
    step = StepText(None)
    step.text = "".join(pieces) + "="
    tokens = Calculator(Sums()).after(b"=", line, step)
    assert "".join(PIECES[each] for each in tokens) in ("", value_after(line + step.text))


# The bundled models


@pytest.mark.parametrize("strategy", [ramify.MajorityVote(width=8), ramify.Rebase(width=8), ramify.Greedy()])
async def test_paths_of_a_bundled_model_hold_no_false_equation(strategy: Strategy) -> None:
    problems = ramify.generate_problems(steps=(5, 8), count=3, seed=4)
    calculated = 0
    async with ramify.Engine(isolation="thread") as engine:
        assert isinstance(engine.policy, LlamaPolicy)
        for problem in problems:
            solution = await engine.solve(problem, strategy=strategy, calculator=True, seed=1)
            assert solution.tree is not None
            assert not any(false_equations(node.text) for node in solution.tree)
            policy = solution.usage.policy
            assert policy.reevaluated_tokens == 0
            assert policy.generated_tokens == sum(node.token_count for node in solution.tree)
            assert solution.to_dict()["usage"]["policy"]["calculated_tokens"] == policy.calculated_tokens
            calculated += policy.calculated_tokens
        assert "calculated_tokens" not in (await engine.solve(problems[0])).to_dict()["usage"]["policy"]
    assert calculated > 20


async def test_a_worker_that_dies_is_replaced_and_the_new_one_calculates() -> None:
    problem = ramify.generate_problems(steps=(8, 8), count=1, seed=4)[0]
    options = {"strategy": ramify.MajorityVote(width=64), "calculator": True, "seed": 3}
    async with ramify.Engine(reward=None) as engine:
        assert isinstance(engine.policy, LlamaPolicy)
        async with engine.run(problem, **options) as run:
            await until(lambda: run.usage.policy.calculated_tokens > 0)
            os.kill(worker_pid(engine.policy.model), signal.SIGKILL)
            replayed = await run.result()
    assert replayed.tree is not None
    assert replayed.tree.finished_count == 64
    assert not any(false_equations(node.text) for node in replayed.tree)
    told = sum(node.token_count for node in replayed.tree)
    assert replayed.usage.policy.generated_tokens == told


async def test_a_policy_that_cannot_write_with_a_calculator_refuses_it() -> None:
    async with ramify.Engine(ScriptedModel({(0,): "2"}), None) as engine:
        with pytest.raises(ramify.UsageError, match="calculator"):
            await engine.solve("1+1?", strategy=ramify.Greedy(), calculator=True)
