"""Training of a likelihood head on labelled solutions, and its verdict on held-out problems."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import numpy.typing as npt

from ramify.answers.reading import AnswerReader
from ramify.config import EngineConfig
from ramify.engine.engine import Engine
from ramify.engine.library.catalog import resolve_model
from ramify.engine.many import for_each
from ramify.engine.rewards.confidence import LikelihoodHeadReward, LikelihoodHeadSession
from ramify.engine.rewards.loading import reader
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.serve.client import Runtime
from ramify.errors import RewardContextExceeded, UsageError
from ramify.files import write_text
from ramify.problem import Problem
from ramify.reward.arithmetic import false_equations
from ramify.reward.arithmetic_reward import FALSE_SCORE
from ramify.reward.likelihood_head import FEATURES, LikelihoodHead, sha256_of
from ramify.reward.protocol import ScoredStep
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import MajorityVote
from ramify.statistics import auc, paired_difference

from .calibration import measure
from .gains import share_interval
from .head_training import platt_scaling
from .labelling import LabelledSolution
from .preflight import check_output
from .quality import preference, score_calibration

Floats = npt.NDArray[np.float64]
TEMPERATURES = (0.1, 0.2, 0.3, 0.5)
"""Temperatures of REBASE that are tried."""
PARALLEL_PROBLEMS = 8
"""Problems that are read at a time."""
HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodPlan:
    """Settings of a training: AdamW with a linearly falling rate, `hidden` units in each of two inner layers.

    `held_out` is the share of problems that are measured alone, drawn by `seed`.
    """

    epochs: int = 12
    rate: float = 2e-3
    decay: float = 1e-2
    batch: int = 512
    hidden: int = 32
    held_out: float = 0.15
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SolutionFeatures:
    """A labelled solution with the features [steps, 14] of its steps under the judge."""

    label: LabelledSolution
    rows: Floats

    @property
    def targets(self) -> list[float]:
        """1 for each step before the first error, 0 from there on."""
        error = self.label.first_error
        return [float(error is None or number < error) for number in range(len(self.rows))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Features of all labels that fit the judge's context, with the cost of the reading."""

    solutions: list[SolutionFeatures]
    tokens: int
    seconds: float
    too_long: int


async def train_likelihood_head(
    labels: Sequence[LabelledSolution],
    judge: str | Path,
    out: Path,
    plan: LikelihoodPlan,
    *,
    config: EngineConfig | None = None,
    on_problem: Callable[[int, int], None] = lambda done, total: None,
) -> LikelihoodHead:
    """Train a head on labelled steps and write it to `out`; its report holds the verdict on the held-out problems.

    `on_problem` gets the numbers of problems that were read and of all.

    Raises:
        UsageError: before the judge is loaded, if torch is not installed, `out` cannot be written, or the labels do not
            suffice.
        ModelLoadError: if the judge cannot be loaded.
    """
    require_torch()
    check_output(out)
    check_labels(labels, plan)
    ref = resolve_model(judge)
    found = await read_features(labels, ref.path, config or EngineConfig(), on_problem)
    kept, rest = _split(found.solutions, plan)
    if not kept or not rest:
        raise UsageError("there are no labels that fit the judge's context", "label other problems")
    head = fit_head(rest, plan)
    head = replace(head, judge=ref.name if ref.bundled else str(ref.path), files={ref.path.name: sha256_of(ref.path)})
    head = _calibrated(head, kept)
    report = held_out_report(head, kept)
    report["training"] = {"problems": len({each.label.question for each in rest}), "solutions": len(rest)}
    report["cost"] = {"tokens": found.tokens, "seconds": round(found.seconds, 1), "too_long": found.too_long}
    head = replace(head, report=report)
    write_text(out, head.to_json())
    return head


def require_torch() -> None:
    """Check that torch is there.

    Raises:
        UsageError: if it is not.
    """
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise UsageError("the training of a likelihood head needs torch", "pip install torch")


def check_labels(labels: Sequence[LabelledSolution], plan: LikelihoodPlan) -> None:
    """Check that a head can be trained on labels.

    Raises:
        UsageError: if they are of fewer than two problems, or all steps are right or all wrong.
    """
    if len({label.question for label in labels}) < 2:
        raise UsageError("the labels are of fewer than two problems", "label more problems")
    if len({label.first_error is None for label in labels}) < 2:
        raise UsageError("all labels are the same", "label problems of which the model solves some and not all")


async def read_features(
    labels: Sequence[LabelledSolution],
    judge: Path,
    config: EngineConfig,
    on_problem: Callable[[int, int], None] = lambda done, total: None,
) -> Features:
    """Return the features of all labels; solutions that share steps share the reading."""
    questions: dict[str, list[LabelledSolution]] = {}
    for label in labels:
        questions.setdefault(label.question, []).append(label)
    blank = LikelihoodHead(judge="", files={}, mean=np.zeros(FEATURES), spread=np.ones(FEATURES), layers=())
    found: dict[str, list[SolutionFeatures]] = {question: [] for question in questions}
    tokens = done = 0
    started_s = time.monotonic()
    async with Runtime(config.isolation) as runtime:
        loaded = await runtime.load(ModelConfig.of(config, judge))
        reward = LikelihoodHeadReward(blank, reader(loaded, config.prompt_preset), name="features")

        async def work(question: str) -> None:
            nonlocal tokens, done
            own = questions[question]
            try:
                session = await reward.open(question)
                try:
                    rows = await _read_question(session, own)
                    tokens += session.usage.evaluated_tokens
                finally:
                    with anyio.CancelScope(shield=True):
                        await session.close()
                found[question] = [
                    SolutionFeatures(label, np.array(row))
                    for label, row in zip(own, rows, strict=True)
                    if row is not None
                ]
            except RewardContextExceeded:
                pass  # The question alone fills the context; its solutions count as too long.
            done += 1
            on_problem(done, len(questions))

        await for_each(list(questions), work, parallel=PARALLEL_PROBLEMS)
    solutions = [each for own in found.values() for each in own]
    too_long = len(labels) - len(solutions)
    return Features(solutions=solutions, tokens=tokens, seconds=time.monotonic() - started_s, too_long=too_long)


async def _read_question(
    session: LikelihoodHeadSession, labels: Sequence[LabelledSolution]
) -> list[list[tuple[float, ...]] | None]:
    """Return the features of each solution's steps, level by level; None for one beyond the context."""
    known: dict[tuple[str, ...], tuple[int, tuple[float, ...]]] = {}
    for depth in range(1, max(len(label.steps) for label in labels) + 1):
        prefixes = dict.fromkeys(label.steps[:depth] for label in labels if len(label.steps) >= depth)
        asked = [
            ScoredStep(node=len(known) + number, parent=known[prefix[:-1]][0] if depth > 1 else None, path=prefix)
            for number, prefix in enumerate((each for each in prefixes if depth == 1 or each[:-1] in known), 1)
        ]
        while asked:
            try:
                rows = await session.features(asked)
            except RewardContextExceeded as error:
                asked = [step for step in asked if step.node not in set(error.nodes)]
                continue
            known.update((step.path, (step.node, row)) for step, row in zip(asked, rows, strict=True))
            break
    return [
        [known[label.steps[:end]][1] for end in range(1, len(label.steps) + 1)] if label.steps in known else None
        for label in labels
    ]


def fit_head(solutions: Sequence[SolutionFeatures], plan: LikelihoodPlan) -> LikelihoodHead:
    """Return a head trained on solutions, weighted by how often each was sampled; it names no judge yet."""
    rows = np.concatenate([each.rows for each in solutions])
    targets = np.concatenate([each.targets for each in solutions])
    weights = np.concatenate([[float(each.label.count)] * len(each.rows) for each in solutions])
    mean = np.average(rows, axis=0, weights=weights)
    spread = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weights)) + 1e-6
    blank = LikelihoodHead(judge="", files={}, mean=mean, spread=spread, layers=())
    return replace(blank, layers=_descend(blank.standardised(rows), targets, weights, plan))


def _descend(rows: Floats, targets: Floats, weights: Floats, plan: LikelihoodPlan) -> tuple[tuple[Floats, Floats], ...]:
    # torch leaves the types of many of its members open.
    torch: Any = import_module("torch")
    nn: Any = torch.nn
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        chance = torch.Generator().manual_seed(plan.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            inner = plan.hidden
            linears = [nn.Linear(FEATURES, inner), nn.Linear(inner, inner), nn.Linear(inner, 1)]
        network = nn.Sequential(linears[0], nn.SiLU(), linears[1], nn.SiLU(), linears[2])
        inputs, goals, shares = (torch.tensor(each, dtype=torch.float32) for each in (rows, targets, weights))
        batches = -(-len(inputs) // plan.batch)
        optimizer = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=plan.decay)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, max(1, plan.epochs * batches))
        for _ in range(plan.epochs):
            for chosen in torch.randperm(len(inputs), generator=chance).split(plan.batch):
                optimizer.zero_grad()
                logits = network(inputs[chosen])[:, 0]
                losses = nn.functional.binary_cross_entropy_with_logits(logits, goals[chosen], reduction="none")
                ((losses * shares[chosen]).sum() / shares[chosen].sum()).backward()
                optimizer.step()
                schedule.step()
        return tuple(
            (
                np.array(each.weight.detach().tolist(), np.float64),
                np.array(each.bias.detach().tolist(), np.float64),
            )
            for each in linears
        )
    finally:
        torch.set_num_threads(threads)


def _split(
    solutions: Sequence[SolutionFeatures], plan: LikelihoodPlan
) -> tuple[list[SolutionFeatures], list[SolutionFeatures]]:
    """Return held-out and training solutions, which share no problem."""
    problems = sorted({each.label.question for each in solutions})
    random.Random(plan.seed).shuffle(problems)
    chosen = set(problems[: max(1, round(len(problems) * plan.held_out))])
    inside = [each for each in solutions if each.label.question in chosen]
    return inside, [each for each in solutions if each.label.question not in chosen]


def _calibrated(head: LikelihoodHead, kept: Sequence[SolutionFeatures]) -> LikelihoodHead:
    """Return the head with a scale and an offset under which the held-out labels are likeliest."""
    logits = np.concatenate([np.repeat(head.logits(each.rows), each.label.count) for each in kept])
    values = np.concatenate([np.repeat(each.targets, each.label.count) for each in kept])
    scale, offset = platt_scaling(logits, values)
    return replace(head, scale=scale, offset=offset)


def held_out_report(head: LikelihoodHead, kept: Sequence[SolutionFeatures]) -> dict[str, Any]:
    """Return a head's figures on held-out solutions: steps, pairs, votes and the verdict, in plain JSON types.

    Votes are those of the sampled solutions of each problem; an answer is right if a path with it is.
    """
    scored = [(each, head.chances(each.rows)) for each in kept]
    steps = [
        (score, target)
        for each, scores in scored
        for score, target in zip(scores, each.targets, strict=True)
        for _ in range(each.label.count)
    ]
    fit = score_calibration([score for score, _ in steps], [target for _, target in steps])
    plain = {each.label.id + "".join(each.label.steps): scores[-1] for each, scores in scored}
    checked = {
        each.label.id + "".join(each.label.steps): scores[-1]
        * (FALSE_SCORE if false_equations("".join(each.label.steps)) else 1.0)
        for each, scores in scored
    }
    report: dict[str, Any] = {
        "problems": len({each.label.question for each in kept}),
        "paths": sum(each.label.count for each in kept),
        "step_auc": auc([s for s, t in steps if t >= HALF], [s for s, t in steps if t < HALF]),
        "calibration_error": None if fit is None else fit.error,
        "head": _choices(kept, plain),
        "head * arithmetic": _choices(kept, checked),
    }
    report["helps"], report["verdict"] = _verdict(report["head"])
    return report


def _choices(kept: Sequence[SolutionFeatures], scores: Mapping[str, float]) -> dict[str, Any]:
    """Return the pairs within a problem that a score decides rightly, and what it buys in votes."""
    problems: dict[str, list[tuple[LabelledSolution, float]]] = {}
    for each in kept:
        score = scores[each.label.id + "".join(each.label.steps)]
        problems.setdefault(each.label.question, []).append((each.label, score))
    sides = {
        question: tuple(
            [score for label, score in own for _ in range(label.count) if (label.first_error is None) is right]
            for right in (True, False)
        )
        for question, own in problems.items()
    }
    pairs = list(preference(sides).values())  # pyright: ignore[reportArgumentType]
    total = sum(count for _, count in pairs)
    outcomes = [_votes(own) for own in problems.values()]
    facts: dict[str, Any] = {
        "pairs": total,
        "pairs_right": sum(wins for wins, _ in pairs) / total if total else None,
        "pairs_interval": share_interval(pairs),
        "majority": sum(each["majority"] for each in outcomes) / len(outcomes),
    }
    for method in ("best-of-n", "weighted"):
        gain = paired_difference([each[method] for each in outcomes], [each["majority"] for each in outcomes])
        facts[f"{method} minus majority"] = [gain.value, gain.low, gain.high]
    return facts


def _votes(own: Sequence[tuple[LabelledSolution, float]]) -> dict[str, bool]:
    """Return for each vote over one problem's solutions whether its answer is right."""
    read = AnswerReader()
    answers = [(read.read("".join(label.steps)), label, score) for label, score in own]
    right = {answer for answer, label, _ in answers if answer is not None and label.first_error is None}
    counts, weights = Counter[str](), Counter[str]()
    best: tuple[float, str | None] = (-1.0, None)
    for answer, label, score in answers:
        if answer is not None:
            counts[answer] += label.count
            weights[answer] += label.count * score  # pyright: ignore[reportArgumentType]
            best = max(best, (score, answer), key=lambda each: each[0])
    leaders = {"majority": counts, "weighted": weights}
    chosen = {name: max(votes, key=lambda a: votes[a], default=None) for name, votes in leaders.items()}
    return {name: answer in right for name, answer in (*chosen.items(), ("best-of-n", best[1]))}


def _verdict(facts: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether the head helps, and a sentence with its figures."""
    interval = facts["pairs_interval"]
    if interval is None:
        return False, "does not help: no held-out problem has both right and wrong solutions"
    low, high = interval
    gain = facts["weighted minus majority"]
    points = f"{gain[0] * 100:+.1f} points [{gain[1] * 100:+.1f}, {gain[2] * 100:+.1f}]"
    figures = (
        f"the right path scores higher in {facts['pairs_right']:.1%} of {facts['pairs']} pairs "
        f"[{low:.1%}, {high:.1%}], and the weighted vote is {points} from the majority"
    )
    return (low > HALF), ("helps: " if low > HALF else "does not help: ") + figures


async def choose_temperature(
    head: LikelihoodHead,
    file: Path,
    policy: str | Path,
    problems: Sequence[Problem],
    *,
    width: int = 16,
    seed: int = 0,
    parallel: int = 4,
    config: EngineConfig | None = None,
    on_strategy: Callable[[str], None] = lambda text: None,
) -> LikelihoodHead:
    """Search problems by REBASE at several temperatures with the head times the check of equations, against majority.

    The temperature with the most right answers, the lowest of equals, goes into the head's `file` with all figures.

    Raises:
        UsageError: if a problem has no answer.
    """
    reward = f'"head:{file}@{head.judge}" * arithmetic'
    rows = dict[str, Any]()
    async with Engine(policy, reward, config=config or EngineConfig()) as engine:
        options = {"seed": seed, "parallel": parallel}
        base = await measure(engine, problems, MajorityVote(width=width), **options)
        rows["majority"] = {"accuracy": base.right / base.problems, "gflops": base.costs["flops"].mean / 1e9}
        on_strategy(f"majority of {width}: {base.right} of {base.problems} right")
        right = dict[float, int]()
        for temperature in TEMPERATURES:
            point = await measure(engine, problems, Rebase(width=width, temperature=temperature), **options)
            gain = paired_difference([each == "1" for each in point.outcomes], [each == "1" for each in base.outcomes])
            right[temperature] = point.right
            rows[f"rebase {temperature}"] = {
                "accuracy": point.right / point.problems,
                "minus majority": [gain.value, gain.low, gain.high],
                "gflops": point.costs["flops"].mean / 1e9,
            }
            on_strategy(f"REBASE of {width} at temperature {temperature}: {point.right} of {point.problems} right")
    best = max(right, key=lambda each: (right[each], -each))
    found = {"policy": str(policy), "width": width, "problems": len(problems), **rows}
    chosen = replace(head, temperature=best, report={**head.report, "search": found})
    write_text(file, chosen.to_json())
    return chosen
