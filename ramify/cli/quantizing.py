"""`ramify models quantize`: a smaller file of the same model."""

from __future__ import annotations

import click

from ..text import size_text
from . import diagnostics, output


@click.command()
@click.argument("model", metavar="IN")
@click.argument("out", metavar="OUT|TYPE")
@click.option("--type", "kind", metavar="TYPE", help="Type.  [default: as the name of OUT tells]")
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@click.option("--allow-requantize", is_flag=True, help="Take a file that is quantized already.")
@click.option("--threads", type=click.IntRange(min=1), help="Processor threads.  [default: all available]")
def quantize(model: str, out: str, kind: str | None, force: bool, allow_requantize: bool, threads: int | None) -> None:
    """Quantize the model IN, best from F16 or F32, to the file OUT or to a TYPE.

    Types, smallest first: q2_k, q3_k_s, q3_k_m, q3_k_l, iq4_xs, iq4_nl, q4_0, q4_1, q4_k_s, q4_k_m, q5_0, q5_1, q5_k_s,
    q5_k_m, q6_k, q8_0, bf16, f16, f32. With a TYPE alone, the file lies beside IN, or in your model folder if IN is a
    name.
    """
    from ramify.engine.library.quantize import plan_quantization
    from ramify.engine.library.quantize import quantize as write

    plan = plan_quantization(model, out, kind=kind, force=force, allow_requantize=allow_requantize)
    if plan.quantized:
        diagnostics.note(f"{plan.source.name} is quantized already; the result is worse than one from the original")
    progress = _TensorLine()
    diagnostics.say(f"quantizing {plan.source} to {plan.kind}")
    try:
        done = write(plan, progress.show, threads=threads)
    finally:
        progress.clear()
    if done.fallbacks:
        diagnostics.note(
            f"{done.fallbacks} of {done.tensors} tensors have a shape that {plan.kind} cannot have and got another type"
        )
    share = done.after_bytes / done.before_bytes
    diagnostics.say(f"{size_text(done.before_bytes)} before, {size_text(done.after_bytes)} after ({share:.0%})")
    output.write(str(done.path))
    if done.head_path is not None:
        output.write(str(done.head_path))


class _TensorLine:
    """Shows on a terminal which tensor is being written."""

    def __init__(self) -> None:
        self._status = diagnostics.StatusLine()
        self._interactive = diagnostics.is_interactive()

    def show(self, tensor: int, tensors: int) -> None:
        if self._interactive:
            self._status.show(f"tensor {tensor} of {tensors}")

    def clear(self) -> None:
        self._status.clear()
