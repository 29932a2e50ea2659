"""Command line of the recipe: `python -m ramify.models.recipe STAGE`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from .policies import POLICIES
from .stages import LABELLINGS, Recipe


def main(arguments: list[str] | None = None) -> None:
    """Run one stage, or all."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe(options.work, options.models, options.threads)
    policies = (options.policy,) if options.policy else tuple(POLICIES)
    if options.stage == "distill":
        recipe.distill(
            options.policy or "s", tuple(options.sources), problems=options.problems, measured=options.measured
        )
        return
    if options.stage in ("tokenizer", "all"):
        recipe.tokenizer()
    for name in policies:
        if options.stage in ("train", "all"):
            recipe.train(name, options.tokens)
        if options.stage in ("export", "all"):
            recipe.export(name)
        if options.stage in ("evaluate", "all"):
            recipe.evaluate(name)
    for name in (options.policy,) if options.policy else tuple(LABELLINGS):
        if options.stage in ("label", "all"):
            recipe.label(name)
        if options.stage in ("prm", "all"):
            recipe.reward(options.labels or recipe.label_files(name), name)
    if options.stage in ("cards", "all"):
        recipe.cards()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ramify.models.recipe", description=__doc__)
    stages = ("tokenizer", "train", "export", "evaluate", "label", "prm", "cards", "distill", "all")
    parser.add_argument("stage", choices=stages, help="what to do; every stage can be repeated or resumed")
    parser.add_argument("--policy", choices=sorted(POLICIES), help="only this policy (for prm: the one to start as)")
    parser.add_argument(
        "--from", dest="sources", type=Path, nargs="+", default=(), metavar="RUN",
        help="run folders to distill from (default: new searches)",
    )  # fmt: skip
    parser.add_argument("--problems", type=int, help="training problems to search for distill")
    parser.add_argument("--measured", type=int, help="problems that distill measures on")
    parser.add_argument("--tokens", type=int, help="length of training instead of the recipe's own")
    parser.add_argument("--labels", type=Path, nargs="+", help="label files for prm (default: those of label)")
    parser.add_argument("--work", type=Path, default=Path("build/recipe"), help="checkpoints, data and figures")
    parser.add_argument(
        "--models", type=Path, default=Path(__file__).resolve().parent.parent, help="where the bundled files go"
    )
    parser.add_argument("--threads", type=int, help="threads to train with (default: all cores)")
    return parser


if __name__ == "__main__":
    main()
