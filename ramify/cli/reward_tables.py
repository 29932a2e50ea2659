"""Tables of `ramify reward eval` and `ramify reward check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import terminal

if TYPE_CHECKING:
    from ramify.training.check import CheckReport, StepQuality


def write_check(report: CheckReport) -> None:
    """Write the report of a check."""
    rows = [
        (str(each.number), str(each.right), str(each.wrong), *map(number_or_dash, _step_figures(each)))
        for each in report.steps
    ]
    terminal.write_table(("STEP", "RIGHT", "WRONG", "MEAN RIGHT", "MEAN WRONG", "AUC"), rows)
    usage, full = report.usage, report.full_tokens
    spent = usage.evaluated_tokens + usage.reevaluated_tokens + usage.generated_tokens
    terminal.write(
        f"AUC {number_or_dash(report.auc)}, between solutions of one problem {number_or_dash(report.auc_within)}, "
        f"{report.cases} solutions, {report.reward}"
    )
    terminal.write(f"{spent} tokens ({full} if every path were read anew), {report.seconds:.1f} s")


def _step_figures(step: StepQuality) -> tuple[float | None, ...]:
    return step.mean_right, step.mean_wrong, step.auc


def write_report(report: Mapping[str, Any]) -> None:
    """Write the report of an evaluation."""
    qualities: dict[str, dict[str, Any]] = report["quality"]
    terminal.write_table(("", *qualities), [(name, *map(show, qualities.values())) for name, show in _FIGURES])
    for name, each in qualities.items():
        terminal.write("")
        head = (f"AFTER STEP ({name})", "SCORES", "MEAN SCORE", "RIGHT ANSWER", "CALIBRATION ERROR", "BRIER SCORE")
        steps = enumerate(each["by_step"], start=1)
        terminal.write_table(head, [_calibration_row(number, step) for number, step in steps])
    if report["search"]:
        terminal.write("")
        head = (
            "METHOD",
            "REWARD",
            "ACCURACY",
            "95 % INTERVAL",
            "MINUS MAJORITY",
            "MINUS OTHER",
            "GENERATED",
            "REWARD TOKENS",
        )
        terminal.write_table(head, [_row(row) for row in report["search"]])
    terminal.write("")
    terminal.write(report["verdict"])


def _calibration_row(number: int, step: Mapping[str, Any]) -> tuple[str, ...]:
    from ramify.training.quality import LAST_STEP

    figures = (number_or_dash(step[name]) for name in ("score", "value", "error", "brier"))
    return (f"{number} and later" if number == LAST_STEP else str(number), str(step["count"]), *figures)


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = row["interval"]
    return (
        row["method"],
        row["reward"] or "none",
        f"{row['accuracy']:.3f}",
        f"{low:.3f} to {high:.3f}",
        _difference(row["versus_majority"]),
        _difference(row["versus_other"]),
        f"{row['generated_tokens']:.0f}",
        f"{row['reward_tokens']:.0f}",
    )


def _difference(found: Sequence[float] | None) -> str:
    return "" if found is None else f"{found[0]:+.3f} [{found[1]:+.3f}, {found[2]:+.3f}] p={found[3]:.2f}"


def number_or_dash(value: float | None) -> str:
    """Return a number with three decimals, "-" for None."""
    return "-" if value is None else f"{value:.3f}"


def _preference(quality: Mapping[str, Any]) -> str:
    interval = quality["prefers_right_interval"]
    spread = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return number_or_dash(quality["prefers_right"]) + spread


def _of(part: str, name: str, quality: Mapping[str, Any]) -> str:
    found = quality[part]
    return number_or_dash(None if found is None else found[name])


_FIGURES: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("problems, paths, steps", lambda each: f"{each['problems']}, {each['paths']}, {each['steps']}"),
    ("AUC of steps", lambda each: number_or_dash(each["auc_steps"])),
    ("AUC of steps of one problem", lambda each: number_or_dash(each["auc_steps_within"])),
    ("AUC of whole paths", lambda each: number_or_dash(each["auc_paths"])),
    ("prefers the right path of a problem", _preference),
    ("first error F1", lambda each: _of("first_error", "f1", each)),
    ("  on wrong paths", lambda each: _of("first_error", "accuracy_wrong", each)),
    ("  on right paths", lambda each: _of("first_error", "accuracy_right", each)),
    ("  threshold", lambda each: _of("first_error", "threshold", each)),
    ("expected calibration error", lambda each: _of("calibration", "error", each)),
    ("Brier score", lambda each: _of("calibration", "brier", each)),
)
