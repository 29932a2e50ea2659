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
    from ramify.engine.planning.profile import Point, Profile, Unit
    from ramify.training.calibration import Files

    from ..problem import Problem

PLOTTED = ("flops", "generated_tokens", "total_tokens", "seconds", "joules", "cost")
"""Costs that the table and the plot can have."""
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
@setting_option("prices")
@setting_option("watts")
@click.option("--plot", type=click.Path(path_type=Path), help="Image of accuracy against a cost, .png, .svg or .pdf.")
@click.option(
    "--plot-cost",
    type=click.Choice(PLOTTED),
    default="flops",
    show_default=True,
    help="The cost of --plot and the table.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Profile to be written, a .json file.")
def calibrate(**options: Any) -> None:
    """Measure strategies on problems with known answers and write a profile for --strategy auto."""
    import anyio

    from ramify.engine.planning.profile import load_profile
    from ramify.training.preflight import check_output, sole_writer

    out: Path = options["out"]
    picture: Path | None = options["plot"]
    check_output(out)
    if picture is not None:
        _check_plot(picture)
    problems, source = _problems(options)
    with sole_writer(out, "calibration"):
        known = load_profile(out) if is_file(out) else None
        _check_cost(options, known)
        with terminal.owned_stdout():
            profile = anyio.run(_measure, options, problems, source, known)
        profile.save(out)
    unit = options["plot_cost"]
    if not profile.front(unit):
        raise UsageError(f"the profile has no {unit}", "measure with --watts or --prices into another --out")
    terminal.write(_table(profile, unit))
    if picture is not None:
        _draw(profile, unit, picture)


def _problems(options: dict[str, Any]) -> tuple[list[Problem], str]:
    if options["source"] is None:
        from ramify.models.tasks import generate_problems

        made = generate_problems(steps=(2, 8), count=options["count"], seed=options["seed"])
        return made, f"generate_problems(steps=(2, 8), count={options['count']}, seed={options['seed']})"
    from ramify.batch import read_problems
    from ramify.training.preflight import problems_key

    problems = list(read_problems(options["source"]))[: options["count"]]
    if not problems:
        raise UsageError(f"{options['source']} holds no problems", "give a file with at least a few dozen")
    return problems, f"{options['source']} ({len(problems)} problems, {problems_key(problems)})"


async def _measure(options: dict[str, Any], problems: list[Problem], source: str, known: Profile | None) -> Profile:
    from ramify.engine.engine import Engine
    from ramify.training.calibration import calibrate as measure
    from ramify.training.calibration import check_calibration, grid

    reward, files = _models(options)
    names, widths = options["strategies"], options["widths"]
    if not grid(names, widths, has_reward=reward is not None):
        raise UsageError("all --strategies need a reward, and there is none", "name one with --reward")
    check_calibration(problems, source=source, seed=options["seed"], known=known, files=files)

    def keep(point: Point, so_far: Profile) -> None:
        terminal.say(_line(point))
        so_far.save(options["out"])

    settings = {name: options[name] for name in ("threads", "prices", "watts")}
    async with Engine(model=options["model"], reward=reward, **settings) as engine:
        strategies = grid(
            names,
            widths,
            has_reward=engine.reward is not None,
            temperature=engine.default_temperature,
        )
        return await measure(
            engine,
            problems,
            strategies,
            source=source,
            seed=options["seed"],
            on_point=keep,
            known=known,
            files=files,
        )


def _models(options: dict[str, Any]) -> tuple[str | None, Files]:
    """Return the reward, None for none, and the files of both models.

    Raises:
        ModelLoadError: if there is no such model or reward.
        UsageError: if a name is malformed.
    """
    from ramify.engine.loading import chosen_reward
    from ramify.engine.rewards.descriptions import describe_model, describe_reward
    from ramify.engine.rewards.naming import check_reward
    from ramify.training.calibration import Files

    model: str = options["model"]
    asked: str | None = options["reward"]
    policy, reward = describe_model(model, None), chosen_reward(model, asked)
    if reward is None:
        return None, Files(policy["sha256"])
    check_reward(reward)
    return reward, Files(policy["sha256"], describe_reward(reward, None)["sha256"])


def _check_cost(options: dict[str, Any], known: Profile | None) -> None:
    """Check that the cost of the table and the plot will be known, or is in the profile already."""
    from ramify.engine.loading import asks_server
    from ramify.engine.metering.plan import check_before_loading
    from ramify.engine.policy.remote.address import is_remote
    from ramify.search.budget import Budget

    from ..config import EngineConfig

    unit, model = options["plot_cost"], options["model"]
    if known is not None and known.front(unit):
        return
    if unit == "cost" and options["prices"] is None:
        raise UsageError("--plot-cost cost needs prices", "give a file of prices with --prices")
    if unit == "joules":
        remote = is_remote(model) or asks_server(options["reward"])
        try:
            check_before_loading(EngineConfig(watts=options["watts"]), Budget(joules=1.0), model, remote=remote)
        except UsageError:
            hint = "give the machine's power with --watts to estimate it"
            raise UsageError("--plot-cost joules needs the energy, which cannot be measured here", hint) from None


def _line(point: Point) -> str:
    costs = point.costs
    parts = [
        f"{_name(point)}: {point.right} of {point.problems} right",
        f"{costs['generated_tokens'].mean:,.0f} tokens",
        f"{costs['flops'].mean:.3g} FLOPs",
    ]
    parts += [f"{costs[unit].mean:.3g} {_unit_text(point, unit)}" for unit in ("joules", "cost") if unit in costs]
    return ", ".join(parts)


def _unit_text(point: Point, unit: Unit) -> str:
    """Return the name of a cost, with the source of the energy or the currency of the money."""
    if unit == "joules":
        return f"joules ({point.energy_source})"
    return point.currency or unit if unit == "cost" else {"flops": "FLOPs"}.get(unit, unit)


def _table(profile: Profile, unit: Unit) -> str:
    front = profile.front(unit)
    head = _unit_text(front[0], unit)
    rows = [f"{head:<9}  accuracy  fitted  strategy"]
    rows += [
        f"{f'{point.costs[unit].mean:.3g}':<{max(9, len(head))}}  {point.accuracy:<8.3f}  {point.fitted:<6.3f}  "
        f"{_name(point)}"
        for point in front
    ]
    return "\n".join(rows)


def _check_plot(path: Path) -> None:
    from ramify.training.preflight import check_output

    from ..plots import SUFFIXES, require_matplotlib

    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path} is no image file", f"use one of {', '.join(SUFFIXES)}")
    require_matplotlib("--plot needs")
    check_output(path, option="--plot")


def _draw(profile: Profile, unit: Unit, path: Path) -> None:
    """Draw the accuracy of each strategy against a cost, and the front of all."""
    from ..plots import COLOURS, drawing, logarithmic_axis, new_figure, save_figure

    known = [point for point in profile.points if unit in point.costs]
    names = sorted({str(point.strategy["name"]) for point in known})
    with drawing():
        figure = new_figure(7.0, 4.5)
        axes = figure.add_subplot()
        for number, name in enumerate(names):
            own = sorted((p for p in known if p.strategy["name"] == name), key=lambda p: p.costs[unit].mean)
            axes.plot(
                [p.costs[unit].mean for p in own], [p.accuracy for p in own],
                label=name, marker="os^vD"[number // 6 % 5],
                color=COLOURS[number % len(COLOURS)], markersize=4, linewidth=1,
            )  # fmt: skip
        costs = [point.costs[unit].mean for point in known if point.costs[unit].mean > 0]
        if costs:
            logarithmic_axis(axes, min(costs), max(costs))
        axes.set(xlabel=f"{_unit_text(known[0], unit)} a problem", ylabel="accuracy", title=profile.policy)
        axes.grid(visible=True, alpha=0.25)
        axes.legend(fontsize="small")
        save_figure(figure, path, option="--plot")


def _name(point: Point) -> str:
    width = point.strategy.get("width")
    return str(point.strategy["name"]) + (f" of {width}" if width else "")
