"""`ramify doctor`: does ramify work here, and if not, why."""

from __future__ import annotations

import click

from ..errors import ExitCode
from . import diagnostics, output
from .exits import Finished


@click.command()
@click.option("--model", "-m", default="demo-m", show_default=True, help="Model of the test run: name or path.")
@click.option("--no-run", is_flag=True, help="Do not load the model.")
@click.option("--bench", is_flag=True, help="Measure how fast the model writes with 1 to 64 paths.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def doctor(model: str, no_run: bool, bench: bool, as_json: bool) -> None:
    """Check this installation: versions, processor, llama.cpp, models, and a test run."""
    from . import throughput
    from .health import describe, examine

    with output.owned_stdout():
        report = examine(run=not no_run, model=model)
        if bench and not report["problems"]:
            report["throughput"] = throughput.measure(model)
        if as_json:
            output.write_json(report, indent=2)
        else:
            for line in (*describe(report), *throughput.describe(report.get("throughput", []))):
                output.write(line)
    for problem in report["problems"]:
        diagnostics.error(problem)
    if report["problems"]:
        raise Finished(ExitCode.MODEL)
