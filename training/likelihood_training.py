"""Training of a head on a judge from labelled solutions, with its verdict and REBASE's temperature in its file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ramify.config import EngineConfig
from ramify.engine.engine import Engine
from ramify.engine.library.catalog import resolve_model
from ramify.errors import UsageError
from ramify.files import write_text
from ramify.problem import Problem
from ramify.reward.likelihood_head import LikelihoodHead, Reads, sha256_of
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import MajorityVote
from ramify.statistics import paired_difference

from .calibration import measure
from .judge_features import read_features
from .judge_fitting import LikelihoodPlan, calibrated, fit_head, split_problems
from .judge_verdict import held_out_report
from .labelling import LabelledSolution
from .preflight import check_answered, check_output

TEMPERATURES = (0.1, 0.2, 0.3, 0.5)
"""Temperatures of REBASE that are tried."""
PURPOSE = "choose the temperature on"
"""What the problems of `choose_temperature` are for, in errors."""


async def train_judge_head(
    labels: Sequence[LabelledSolution],
    judge: str | Path,
    out: Path,
    plan: LikelihoodPlan,
    *,
    reads: Reads = "tokens",
    config: EngineConfig | None = None,
    cache: Path | None = None,
    on_problem: Callable[[int, int], None] = lambda done, total: None,
) -> LikelihoodHead:
    """Train a head on labelled steps and write it to `out`; its report holds the verdict on the held-out problems.

    `reads` names the outputs of the judge that the head reads. `cache` is the folder that keeps them, None for none.
    `on_problem` gets the numbers of problems that were read and of all.

    Raises:
        UsageError: before the judge is loaded, if torch is not installed, `out` cannot be written, or the labels do not
            suffice.
        ModelLoadError: if the judge cannot be loaded.
    """
    require_torch()
    check_output(out)
    check_labels(labels)
    ref = resolve_model(judge)
    found = await read_features(labels, ref.path, config or EngineConfig(), on_problem, reads=reads, cache=cache)
    kept, rest = split_problems(found.solutions, plan)
    if not kept or not rest:
        raise UsageError("there are no labels that fit the judge's context", "label other problems")
    head = calibrated(fit_head(rest, plan, reads), kept)
    head = replace(head, judge=ref.name if ref.bundled else str(ref.path), files={ref.path.name: sha256_of(ref.path)})
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
        raise UsageError("the training of a head on a judge needs torch", "pip install torch")


def check_labels(labels: Sequence[LabelledSolution]) -> None:
    """Check that a head can be trained on labels.

    Raises:
        UsageError: if they are of fewer than two problems, or all steps are right or all wrong.
    """
    if len({label.question for label in labels}) < 2:
        raise UsageError("the labels are of fewer than two problems", "label more problems")
    if len({label.first_error is None for label in labels}) < 2:
        raise UsageError("all labels are the same", "label problems of which the model solves some and not all")


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
        UsageError: before a model is loaded, if there are no problems or one has no answer.
    """
    if not problems:
        raise UsageError("there are no problems to choose the temperature on", "give some with answers")
    check_answered(problems, PURPOSE)
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
