"""Judges of a model's sampled paths: candidates trained on some problems and compared on others, from saved trees.

    ramify batch run TRAIN.jsonl --model P.gguf -s majority -w 8 --save-trees --out TRAIN
    ramify batch run TEST.jsonl --model P.gguf -s majority -w 8 --save-trees --out TEST
    python benchmarks/judges.py --train TRAIN --test TEST --policy P.gguf --judge J.gguf --out FOLDER

TRAIN and TEST are folders of batches, or label files that `--keep` has written of them, compressed if they end with
.gz; there may be several of each.

Candidates are the mean and the sum of the judge's log probabilities, a likelihood head on the judge and on the policy,
states heads on the hidden states of both, the check of equations, and each of these times the check. Labels are those
of the answer: a solution is right or wrong as a whole, and a step with a false equation is wrong from there on. What a
model has read is kept in FOLDER, so the same command goes on where it was cut. The verdicts, with bootstrap intervals
over problems, are those of `ramify reward train`.

Of a problem whose solutions are all right or all wrong one solution is read, in the place of all: no score changes the
answer there, and heads are calibrated on all problems nevertheless. `--reads` leaves candidates out. A model is read
once: what a states head reads of it begins with what a likelihood head reads.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np

from ramify.answers.checkers import make_checker
from ramify.config import EngineConfig
from ramify.engine.library.catalog import resolve_model
from ramify.files import write_text
from ramify.json_text import json_lines
from ramify.reward.arithmetic import false_equations
from ramify.reward.likelihood_head import Reads
from ramify.search.tree import SearchTree
from ramify.training.judge_features import SolutionFeatures, likelihood_part, read_features
from ramify.training.judge_fitting import PLANS, calibrated, fit_head, split_problems
from ramify.training.judge_verdict import arithmetic_factor, choices, verdict_on
from ramify.training.label_files import read_labels
from ramify.training.labelling import LabelledSolution

TOTAL, MEAN = 6, 7
"""Places of the sum and the mean of all log probabilities of a path among the features of its last step."""
READS = ("judge:tokens", "judge:states", "policy:tokens", "policy:states")
"""Models and their features, in the order of reading."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of the test solutions by one candidate; those beyond the model's context have none."""

    name: str
    values: dict[tuple[str, tuple[str, ...]], float]


def solutions_of(source: Path, first: int, last: int | None, out: Path) -> list[LabelledSolution]:
    """Return the rows of a label file, or the finished paths of a batch's items `first` to `last` with their labels.

    Items count by their place in the input. A compressed file is unpacked into `out`.
    """
    if source.is_dir():
        return _of_batch(source, first, last)
    if source.suffix == ".gz":
        packed, source = source, out / source.stem
        source.write_bytes(gzip.decompress(packed.read_bytes()))
    return list(read_labels(source))


def _of_batch(folder: Path, first: int, last: int | None) -> list[LabelledSolution]:
    items = [json.loads(line) for _, line in json_lines((folder / "items.jsonl").read_text("utf-8"))]
    chosen = [item for item in items if item["index"] >= first and (last is None or item["index"] < last)]
    return [each for item in sorted(chosen, key=lambda item: item["index"]) for each in _of_item(folder, item)]


def _of_item(folder: Path, item: dict[str, Any]) -> Iterator[LabelledSolution]:
    path = folder / "trees" / f"{item['key']}.json"
    if not path.is_file() or item.get("gold") is None:
        return
    tree, checker = SearchTree.from_dict(json.loads(path.read_text())), make_checker("math")
    counts: dict[tuple[str, ...], int] = {}
    right: dict[tuple[str, ...], bool] = {}
    for leaf in tree.finished_nodes():
        if leaf.answer is None:
            continue
        steps = tuple(node.text for node in tree.path_nodes(leaf.id))
        counts[steps] = counts.get(steps, 0) + 1
        right[steps] = checker.accepts(leaf.answer, item["gold"])
    for steps, count in counts.items():
        yield LabelledSolution(
            id=item["id"],
            question=item["question"],
            steps=steps,
            values=tuple(_values(steps, right=right[steps])),
            count=count,
        )


def _values(steps: Sequence[str], *, right: bool) -> Iterator[float]:
    """Yield the label of each step: 0 in a wrong solution from its first false equation on, all of it without one."""
    if right:
        yield from [1.0] * len(steps)
        return
    false = [number for number in range(len(steps)) if false_equations("".join(steps[: number + 1]))]
    first = false[0] if false else 0
    yield from (float(number < first) for number in range(len(steps)))


def thinned(labels: Sequence[LabelledSolution]) -> list[LabelledSolution]:
    """Return labels with one solution in the place of all where those of a problem are all right or all wrong."""
    problems: dict[str, list[LabelledSolution]] = {}
    for label in labels:
        problems.setdefault(label.question, []).append(label)
    found = list[LabelledSolution]()
    for own in problems.values():
        if len({label.first_error is None for label in own}) > 1:
            found += own
        else:
            found.append(replace(own[0], count=sum(label.count for label in own)))
    return found


async def features_of(
    labels: Sequence[LabelledSolution], model: Path, reads: Reads, out: Path, config: EngineConfig
) -> tuple[list[SolutionFeatures], dict[str, Any]]:
    """Return the features of labels under a model, kept in `out`, and the cost of the reading."""
    started_s = time.monotonic()

    def tell(done: int, total: int) -> None:
        print(
            f"{model.name}, {reads}: {done} of {total} problems, {time.monotonic() - started_s:.0f} s", file=sys.stderr
        )

    found = await read_features(labels, model, config, tell, reads=reads, cache=out / "features")
    cost = {"tokens": found.tokens, "seconds": round(found.seconds, 1), "too_long": found.too_long}
    return found.solutions, cost


def key_of(label: LabelledSolution) -> tuple[str, tuple[str, ...]]:
    """Return the key of a solution."""
    return label.question, label.steps


def trained(name: str, reads: Reads, train: list[SolutionFeatures], test: list[SolutionFeatures]) -> Scores:
    """Return the scores of a head that was fitted on `train` and calibrated on a part of its problems."""
    plan = PLANS[reads]
    kept, rest = split_problems(train, plan)
    head = calibrated(fit_head(rest, plan, reads), kept)
    return Scores(name, {key_of(each.label): head.chances(each.rows)[-1] for each in test})


def plain(name: str, place: int, test: list[SolutionFeatures]) -> Scores:
    """Return exp of a feature of each solution's last step."""
    return Scores(name, {key_of(each.label): float(np.exp(each.rows[-1][place])) for each in test})


def candidates_of(role: str, kind: Reads, train: list[SolutionFeatures], test: list[SolutionFeatures]) -> list[Scores]:
    """Return the scores by what is read of a model: a head, and for its log probabilities also mean and sum."""
    if kind == "states":
        return [trained(f"states head on the {role}", kind, train, test)]
    return [
        plain(f"mean-logprob of the {role}", MEAN, test),
        plain(f"sum-logprob of the {role}", TOTAL, test),
        trained(f"likelihood head on the {role}", kind, train, test),
    ]


def roles_of(wanted: Sequence[str]) -> dict[str, list[Reads]]:
    """Return for each model the kinds of its features that are wanted: one reading for states gives both kinds."""
    found = dict[str, list[Reads]]()
    for each in wanted:
        role, _, kind = each.partition(":")
        found.setdefault(role, []).append("tokens" if kind == "tokens" else "states")
    return found


def compared(labels: Sequence[LabelledSolution], candidates: Sequence[Scores]) -> list[dict[str, Any]]:
    """Return the figures of all candidates, alone and times the check of equations, on the solutions that all score."""
    common = [label for label in labels if all(key_of(label) in each.values for each in candidates)]
    if not common:
        sys.exit("no test solution fits the contexts of all models")
    checks = [arithmetic_factor(label) for label in common]
    rows = [{"candidate": "arithmetic", **choices(common, checks)}]
    for each in candidates:
        scores = [each.values[key_of(label)] for label in common]
        rows.append({"candidate": each.name, **choices(common, scores)})
        products = [score * check for score, check in zip(scores, checks, strict=True)]
        rows.append({"candidate": f"{each.name} * arithmetic", **choices(common, products)})
    for row in rows:
        row["helps"], row["verdict"] = verdict_on(row)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [
        "| candidate | right path preferred | best-of-n minus majority | weighted vote minus majority |",
        "|---|---|---|---|",
    ]
    for row in rows:
        interval = row["pairs_interval"] or (float("nan"),) * 2
        pairs = f"{row['pairs_right'] or float('nan'):.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
        gains = [
            "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row[f"{name} minus majority"]) for name in ("best-of-n", "weighted")
        ]
        lines.append(f"| {row['candidate']} | {pairs} | {gains[0]} | {gains[1]} |")
    return "\n".join(lines)


async def main() -> None:
    """Read, fit, compare and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="folders of batches with trees, or labels")
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="the same of other problems")
    parser.add_argument("--keep", action="store_true", help="write train.jsonl.gz and test.jsonl.gz into --out")
    parser.add_argument("--train-items", default="0:", help="places in the input, FIRST:LAST")
    parser.add_argument("--test-items", default="0:", help="places in the input, FIRST:LAST")
    parser.add_argument("--policy", required=True)
    parser.add_argument("--judge", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--reads", default=",".join(READS), help=f"features that candidates use, some of {READS}")
    options = parser.parse_args()
    wanted = options.reads.split(",")
    if not set(wanted) <= set(READS):
        parser.error(f"--reads: {options.reads!r} is not a list of {', '.join(READS)}")
    config = EngineConfig(threads=options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    train, test = (
        [each for source in sources for each in solutions_of(source, *_places(items), options.out)]
        for sources, items in ((options.train, options.train_items), (options.test, options.test_items))
    )
    shared = {label.question for label in train} & {label.question for label in test}
    if shared or not train or not test:
        sys.exit(f"{len(train)} training and {len(test)} test solutions, {len(shared)} problems in both")
    if options.keep:
        for name, labels in (("train", train), ("test", test)):
            rows = "".join(json.dumps(asdict(label)) + "\n" for label in labels)
            (options.out / f"{name}.jsonl.gz").write_bytes(gzip.compress(rows.encode(), mtime=0))
    candidates, costs = list[Scores](), dict[str, Any]()
    models = {"judge": resolve_model(options.judge).path, "policy": resolve_model(options.policy).path}
    thin_train, thin_test = thinned(train), thinned(test)
    kept = {key_of(label) for label in thin_test}
    for role, kinds in roles_of(wanted).items():
        reads: Reads = "states" if "states" in kinds else "tokens"
        both, costs[f"{role}, {reads}"] = await features_of(
            [*thin_train, *thin_test], models[role], reads, options.out, config
        )
        for kind in kinds:
            used = likelihood_part(both) if kind == "tokens" else both
            tests = [each for each in used if key_of(each.label) in kept]
            trains = [each for each in used if key_of(each.label) not in kept]
            candidates += candidates_of(role, kind, trains, tests)
    rows = compared(thin_test, candidates)
    facts = {
        "models": {role: path.name for role, path in models.items()},
        "train": {"problems": len({each.question for each in train}), "solutions": sum(each.count for each in train)},
        "test": {"problems": len({each.question for each in test}), "solutions": sum(each.count for each in test)},
        "costs": costs,
        "rows": rows,
    }
    write_text(options.out / "judges.json", json.dumps(facts, indent=1) + "\n")
    print(table(rows))


def _places(text: str) -> tuple[int, int | None]:
    first, _, last = text.partition(":")
    return int(first or 0), int(last) if last else None


if __name__ == "__main__":
    anyio.run(main)
