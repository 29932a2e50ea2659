"""`ramify calibrate`: measurement of strategies and widths, for the strategy "auto"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..files import is_file
from . import terminal
from .option_types import COUNT, WIDTHS, WORDS
from .options import setting_option

if TYPE_CHECKING:
    from ramify.engine.planning.profile import Point, Profile

    from ..problem import Problem

STRATEGIES = "greedy,majority,weighted,best-of-n,rebase,beam,dvts,particle,mcts"


@click.command(
    epilog="Problems come from --problems FILE (anything that `ramify batch run` reads, with answers) or, for the "
    "bundled models, from the generator. An interrupted calibration goes on from its --out file."
)
@setting_option("model", help="Bundled name or path of a .gguf file.")
@setting_option("reward", help="Reward model, or 'none'.", unset="the bundled one")
@click.option("--problems", "source", type=click.Path(path_type=Path), help="File of problems with answers.")
@click.option("--count", type=COUNT, default=100, show_default=True, help="Number of problems, at most.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the generated problems and of the sampling.")
@click.option("--strategies", type=WORDS, default=STRATEGIES, show_default=True, help="Names, joined with commas.")
@click.option(
    "--widths", type=WIDTHS, default="2,4,8,16,32", show_default=True, help="Numbers of paths, joined with commas."
)
@setting_option("threads")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Profile to be written, a .json file.")
def calibrate(**options: Any) -> None:
    """Measure strategies on problems with known answers and write a profile for --strategy auto."""
    import anyio

    from ramify.engine.planning.profile import load_profile

    out: Path = options["out"]
    known = load_profile(out) if is_file(out) else None
    problems, source = _problems(options)
    with terminal.owned_stdout():
        profile = anyio.run(_measure, options, problems, source, known)
    profile.save(out)
    terminal.write(_table(profile))


def _problems(options: dict[str, Any]) -> tuple[list[Problem], str]:
    if options["source"] is None:
        from ramify.models.tasks import generate_problems

        made = generate_problems(steps=(2, 8), count=options["count"], seed=options["seed"])
        return made, f"generate_problems(steps=(2, 8), count={options['count']}, seed={options['seed']})"
    from ramify.batch import read_problems

    problems = list(read_problems(options["source"]))[: options["count"]]
    if not problems:
        raise UsageError(f"{options['source']} holds no problems", "give a file with at least a few dozen")
    return problems, str(options["source"])


async def _measure(options: dict[str, Any], problems: list[Problem], source: str, known: Profile | None) -> Profile:
    from ramify.engine.engine import Engine
    from ramify.training.calibration import calibrate as measure
    from ramify.training.calibration import grid

    reward = None if options["reward"] == "none" else options["reward"]

    def keep(point: Point, so_far: Profile) -> None:
        terminal.say(_line(point))
        so_far.save(options["out"])

    async with Engine(model=options["model"], reward=reward, threads=options["threads"]) as engine:
        strategies = grid(
            options["strategies"],
            options["widths"],
            has_reward=engine.reward is not None,
            temperature=engine.default_temperature,
        )
        return await measure(
            engine, problems, strategies, source=source, seed=options["seed"], on_point=keep, known=known
        )


def _line(point: Point) -> str:
    costs = point.costs
    return (
        f"{_name(point)}: {point.right} of {point.problems} right, "
        f"{costs['generated_tokens'].mean:,.0f} tokens, {costs['flops'].mean:.3g} FLOPs"
    )


def _table(profile: Profile) -> str:
    rows = ["FLOPs      accuracy  fitted  strategy"]
    rows += [
        f"{point.costs['flops'].mean:<9.3g}  {point.accuracy:<8.3f}  {point.fitted:<6.3f}  {_name(point)}"
        for point in profile.front("flops")
    ]
    return "\n".join(rows)


def _name(point: Point) -> str:
    width = point.strategy.get("width")
    return str(point.strategy["name"]) + (f" of {width}" if width else "")
