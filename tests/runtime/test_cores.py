"""Threads of a decode while other programs use the same processors."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.cores import WINDOW_S, FreeCores, idle_times, thread_waits
from ramify.engine.runtime.llama.library import library
from ramify.engine.runtime.llama.native import Context, Model


@dataclass
class Machine:
    """Processors on which `others` threads of other programs run, and those of a model that takes turns with them."""

    processors: int
    others: int = 0
    now_s: float = 0.0
    ran_s: float = 0.0
    waited_s: float = 0.0
    idle_s: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.idle_s = [0.0] * self.processors

    def cores(self) -> FreeCores:
        return FreeCores(
            self.processors,
            waits=lambda: {"1": (self.ran_s, self.waited_s)},
            idle_seconds=lambda: list(self.idle_s),
            clock=lambda: self.now_s,
        )

    def run(self, cores: FreeCores, seconds: float, *, decoding: bool = True) -> list[int]:
        """Decode for so long; return the number of threads of each window."""
        found = list[int]()
        for _ in range(round(seconds / WINDOW_S)):
            threads = cores.threads()
            found.append(threads)
            wanted = self.others + (threads if decoding else 0)
            share = min(1.0, self.processors / wanted) if wanted else 0.0
            self.now_s += WINDOW_S
            if decoding:
                self.ran_s += threads * share * WINDOW_S
                self.waited_s += threads * (1 - share) * WINDOW_S
            for number in range(min(wanted, self.processors), self.processors):
                self.idle_s[number] += WINDOW_S
        return found


def test_on_a_quiet_machine_all_threads_are_used() -> None:
    machine = Machine(4)
    assert set(machine.run(machine.cores(), 5)) == {4}


@pytest.mark.parametrize(("processors", "others", "left"), [(2, 2, 1), (2, 1, 1), (4, 2, 2), (8, 4, 5), (8, 16, 1)])
def test_threads_are_given_up_to_other_programs_and_taken_again(processors: int, others: int, left: int) -> None:
    machine = Machine(processors)
    cores = machine.cores()
    machine.run(cores, 1)
    machine.others = others
    assert machine.run(cores, 20)[-1] == left
    machine.others = 0
    assert machine.run(cores, 20)[-1] == processors


def test_pauses_of_the_model_itself_take_no_threads_away() -> None:
    machine = Machine(2)
    cores = machine.cores()
    for _ in range(10):
        assert set(machine.run(cores, 1)) == {2}
        machine.run(cores, 1, decoding=False)


def test_a_program_that_comes_and_goes_is_followed_ever_more_slowly() -> None:
    machine = Machine(2)
    cores = machine.cores()
    changes = list[int]()
    for _ in range(4):
        threads = list[int]()
        for _ in range(40):
            # The other program is idle whenever the model uses one thread: each raise is in vain.
            machine.others = 2 if cores._threads == 2 else 0
            threads += machine.run(cores, WINDOW_S)
        changes.append(sum(one != other for one, other in pairwise(threads)))
    assert changes[-1] < changes[0]


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100), st.floats(0, 5)), max_size=30),
)
def test_the_number_is_always_between_one_and_the_most(
    most: int, readings: list[tuple[float, float, float, float]]
) -> None:
    machine = Machine(most)
    cores = machine.cores()
    for machine.ran_s, machine.waited_s, idle_s, pause_s in readings:
        machine.idle_s = [idle_s] * most
        machine.now_s += pause_s
        assert 1 <= cores.threads() <= most


def test_a_system_that_tells_nothing_leaves_all_threads(tmp_path: Path) -> None:
    assert thread_waits(tmp_path) == {}
    assert idle_times(tmp_path) == []
    cores = FreeCores(3, waits=dict, idle_seconds=list, clock=iter(range(100)).__next__)
    assert {cores.threads() for _ in range(50)} == {3}


def test_the_times_of_this_system_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "self/task/71"
    folder.mkdir(parents=True)
    (folder / "schedstat").write_text("2500000000 500000000 17\n")
    assert thread_waits(tmp_path) == {"71": (2.5, 0.5)}
    (tmp_path / "self/task/72").mkdir()
    assert set(thread_waits(tmp_path)) <= {"71"}
    (tmp_path / "stat").write_text("cpu  1 2 3 4 5\n" + "".join(f"cpu{each} 1 2 3 {each} 5\n" for each in range(512)))
    assert all(idle_s > 0 for idle_s in idle_times(tmp_path))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_logits_do_not_depend_on_the_number_of_threads(model: Model, tiny: Path, count: int) -> None:
    found = list[np.ndarray]()
    for threads in (1, 2, 3):
        context = Context(model, ModelConfig(path=str(tiny), threads=threads, context_tokens=1024))
        try:
            library().llama_set_n_threads(context.pointer, threads, threads)
            assert context.decode([5] * 300, list(range(300)), [0] * 300, [False] * 300) == 0
            assert context.decode([9] * count, list(range(300, 300 + count)), [0] * count, [True] * count) == 0
            found.append(context.logits(count).copy())
        finally:
            context.close()
    assert all(np.array_equal(each, found[0]) for each in found)


def test_contexts_follow_the_number_and_keep_it_for_single_tokens_of_flash_attention(tiny: Path) -> None:
    machine = Machine(4)
    model = Model(ModelConfig(path=str(tiny), threads=4))
    lib = library()
    try:
        model.free_cores = machine.cores()
        for flash, singles in (("off", 2), ("on", 4)):
            machine.others = 0
            machine.run(model.free_cores, 20)
            context = Context(model, ModelConfig(path=str(tiny), threads=4, flash_attention=flash, context_tokens=512))
            machine.others = 2
            machine.run(model.free_cores, 5)
            try:
                assert context.decode([5, 6], [0, 1], [0, 0], [True, True]) == 0
                assert lib.llama_n_threads(context.pointer) == 2
                assert context.decode([5], [2], [0], [True]) == 0
                assert lib.llama_n_threads(context.pointer) == singles
                assert context.decode([5, 6], [3, 4], [0, 0], [True, True]) == 0
                assert lib.llama_n_threads(context.pointer) == 2
            finally:
                context.close()
    finally:
        model.close()
