"""Particle filtering: weights and resampling in numbers, exact trees, and properties over all scripts."""

from __future__ import annotations

from collections import Counter
from math import floor
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.search.node import NodeState
from ramify.search.strategies.particle import ParticleFilter, Resampling, particle_weights, resample
from ramify.search.tree import SearchTree

from .scripted import Path, Step, play, record


def test_weights_are_the_softmax_of_the_logits() -> None:
    # The odds of 0.8 and 0.5 are 4 and 1; at temperature 2 their square roots count.
    assert particle_weights([0.8, 0.5], 1.0) == pytest.approx([0.8, 0.2])
    assert particle_weights([0.8, 0.5], 2.0) == pytest.approx([2 / 3, 1 / 3])


def test_certain_scores_have_finite_weights() -> None:
    weights = particle_weights([1.0, 0.0, 1.0], 0.5)
    assert weights == pytest.approx([0.5, 0.0, 0.5])


class Fixed(Random):
    def __init__(self, *values: float) -> None:
        self._values = list(values)

    def random(self) -> float:
        return self._values.pop(0)


def test_systematic_points_are_evenly_spaced() -> None:
    # Points 0.125, 0.375, 0.625, 0.875 against the edges 0.5, 0.6, 1.0.
    assert resample([0.5, 0.1, 0.4], 4, Resampling.SYSTEMATIC, Fixed(0.5)) == [2, 0, 2]
    # Points 0.225, 0.475, 0.725, 0.975; then 0.0, 0.25, 0.5 (which belongs to the next), 0.75.
    assert resample([0.5, 0.1, 0.4], 4, Resampling.SYSTEMATIC, Fixed(0.9)) == [2, 0, 2]
    assert resample([0.5, 0.1, 0.4], 4, Resampling.SYSTEMATIC, Fixed(0.0)) == [2, 1, 1]


def test_multinomial_points_are_independent() -> None:
    assert resample([0.5, 0.1, 0.4], 3, Resampling.MULTINOMIAL, Fixed(0.1, 0.55, 0.59)) == [1, 2, 0]


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
    st.integers(1, 50),
    st.integers(0, 10**6),
    st.sampled_from(Resampling),
)
def test_every_draw_is_made(scores: list[float], count: int, seed: int, how: Resampling) -> None:
    weights = particle_weights(scores, 1.0)
    drawn = resample(weights, count, how, Random(seed))
    assert sum(drawn) == count
    if how is Resampling.SYSTEMATIC:
        assert all(
            floor(count * w - 1e-9) <= n <= floor(count * w + 1e-9) + 1 for w, n in zip(weights, drawn, strict=True)
        )


@pytest.mark.parametrize("how", Resampling)
def test_draws_are_proportional_to_the_weights_on_average(how: Resampling) -> None:
    weights, totals, rounds = [0.55, 0.3, 0.1, 0.05], Counter[int](), 4000
    for seed in range(rounds):
        totals.update(dict(enumerate(resample(weights, 7, how, Random(seed)))))
    # Five standard errors of the mean of a multinomial count.
    for index, weight in enumerate(weights):
        assert abs(totals[index] / rounds - 7 * weight) < 5 * (7 * weight * (1 - weight) / rounds) ** 0.5


def test_finished_particles_are_kept_and_not_resampled() -> None:
    """(0) finishes at once; the three places left are drawn among (1), (2), (3), of which (2) has all the weight."""

    def script(path: Path) -> Step:
        if path == (0,):
            return Step(0.5, "early")
        return Step(1.0 if path[0] == 2 else 0.0, None if len(path) == 1 else "late")

    tree = play(ParticleFilter(width=4, temperature=0.5), script)
    assert [node.path for node in tree.finished_nodes()] == [(0,), (2, 0), (2, 1), (2, 2)]
    assert [node.path for node in tree if node.state is NodeState.PRUNED] == [(1,), (3,)]


def test_the_seed_and_the_depth_fix_the_draws() -> None:
    def ask(seed: int) -> list[tuple[int, int]]:
        strategy, tree = ParticleFilter(width=8, resampling_seed=seed), SearchTree()
        for _ in range(8):
            record(tree, tree.add_pending(0).id, Step(0.6), scored=True)
        return [(wish.node, wish.children) for wish in strategy.decide(tree).expansions]

    assert ask(1) == ask(1)
    assert sum(count for _, count in ask(1)) == 8


def test_equal_weights_keep_every_particle() -> None:
    tree = play(ParticleFilter(width=5), lambda path: Step(0.5, None if len(path) < 4 else "x"))
    assert tree.finished_count == 5
    assert not any(node.state is NodeState.PRUNED for node in tree)
