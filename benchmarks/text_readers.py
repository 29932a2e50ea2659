"""Time that ramify's readers of text take on hostile texts of 10^3 to 10^6 characters, and how it grows.

    python benchmarks/text_readers.py [READER ...] [--largest 1000000] [--kept 60] [--limit 2]

For each reader the slowest shapes are printed: nanoseconds of processor time per character at the last length, and the
exponent of growth from the length before (1 is linear, 2 quadratic). The slowest shapes of one length go on to the
next; a length at which a reading might take longer than the limit of seconds is left out.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Mapping

from ramify.answers import extract_answer, last_number, normalise
from ramify.answers.checkers import make_checker
from ramify.answers.equality import decide_quickly, same_in_votes_quickly
from ramify.answers.forms import parse_form
from ramify.answers.kinds import code_in, guess_kind, options_of
from ramify.answers.similarity import similarity
from ramify.engine.policy.prompts.step_formats import STEP_FORMATS, split_steps
from ramify.engine.runtime.decode.step_text import StepText, open_block
from ramify.reward.arithmetic import find_equations
from ramify.search.export import TREE_FORMATS, export_tree
from ramify.search.tree import ROOT, SearchTree
from ramify.tables import markdown_text, text_table
from ramify.text import cut, one_line, printable, shorten, width_of, xml_text
from ramify.tui.state.markup import readable_markdown, readable_text, unicode_math
from ramify.tui.state.rows import wrapped

Reader = Callable[[str], object]

_numeric = make_checker("numeric").accepts


def token_by_token(text: str) -> None:
    """Grow a step by pieces of three characters, as generation does, and begin another after each."""
    step = StepText(STEP_FORMATS["blank-line"])
    for start in range(0, len(text), 3):
        if step.add(text[start : start + 3].encode("utf-8", "replace")) is not None or len(step.text) > 3000:
            step = StepText(STEP_FORMATS["blank-line"])


NODE_CHARACTERS = 100


def tree_of(text: str, form: str) -> SearchTree:
    """Return a tree whose steps are the text's pieces: a chain, or a star of paths of one step."""
    tree, above = SearchTree(), ROOT
    for start in range(0, len(text), NODE_CHARACTERS):
        node = tree.add_pending(above)
        tree.complete(node.id, text[start : start + NODE_CHARACTERS])
        above = node.id if form == "chain" else ROOT
    return tree


READERS: Mapping[str, Reader] = {
    "extract": extract_answer,
    "last number": last_number,
    "normalise": normalise,
    "form": lambda text: parse_form.__wrapped__(text),
    "numeric": lambda text: _numeric(text, "1"),
    "equal": lambda text: decide_quickly(text, "1"),
    "votes": lambda text: same_in_votes_quickly(text, "1"),
    **{f"steps {name}": lambda text, each=each: split_steps(text, each) for name, each in STEP_FORMATS.items()},
    "open block": open_block,
    "tokens": token_by_token,
    "printable": printable,
    "xml": xml_text,
    "one line": one_line,
    "shorten": lambda text: shorten(text, 60),
    "cut": lambda text: cut(text, 60),
    "width": width_of,
    "kind": guess_kind,
    "options": options_of,
    "code": code_in,
    "similarity": lambda text: similarity(text, text[::-1]),
    "equations": find_equations,
    "math set": unicode_math,
    "text set": readable_text,
    "Markdown set": readable_markdown,
    "wrapped": lambda text: wrapped(text, 60, 4),
    "table": lambda text: text_table(("A", "B"), [(line, line[:9]) for line in text.split("\n")]),
    "Markdown cell": markdown_text,
    **{
        f"{ending} of a {form}": lambda text, ending=ending, form=form: export_tree(tree_of(text, form), ending)
        for ending in TREE_FORMATS
        for form in ("chain", "star")
    },
}
"""The functions that read what models and files say, by name."""

UNITS = (
    *" \n\t\r\u2028a1.,;:(){}[]<>$*_`\"'#\\|=+-/^~&%!\u221a\u00bd\u00b2\u2082\uff11\u0301\u200b\u00d7",
    *"\u2212\u00b0\x1b\U0001f600",
    *(
        "\n\n",
        " \n",
        "a ",
        "1 ",
        "1,",
        "1,000,",
        "1 000 ",
        "1.",
        ".5",
        "1/",
        "1/2 ",
        "0.(1)",
        "1e5",
        "1^",
        "10^",
        "x^{",
    ),
    *("the ", "and ", " or ", "is ", "a. ", "A. ", "J. K. ", "St. ", "A) ", "(A) ", "A:", "\nA: ", "B: "),
    *("answer ", "the answer is ", "The answer is: ", "Answer:", "Answer:\n", "Final Answer\n", "answer to the "),
    *("####", "#### ", "\n#### 1", "<answer>", "</answer>", "Question:", "\nQuestion: ", "\nQ", "<|a|>", "<|"),
    *("\\boxed{", "\\boxed ", "\\boxed{1}", "\\fbox", "\\frac", "\\frac{1}{", "\\text{", "\\text{a}", "\\text{ a} "),
    *("\\sqrt", "sqrt(", "\u221a(", "\\left", "\\!", "1,\\!", "1\\, ", "\\,", "\\ ", "\\\\", "\\{", "\\}", "\\quad"),
    *(
        "\\pi",
        "pi",
        "\\circ",
        "^\\circ",
        "^ \\circ",
        "^{ ",
        "\\cup",
        "\\pm",
        "\\infty",
        "\\in ",
        "\\leq",
        "\\overline{",
    ),
    *("\\begin{pmatrix}", "\\begin{a}", "\\end{a}", "\\[", "\\]", "\\(", "\\)", "$$", "$ ", "**", "** ", "**a", "__"),
    *(
        "<a>",
        "<a></a>",
        "<b>x",
        "```",
        "```\n",
        "\n```",
        "~~~\n",
        "---\n",
        "***\n",
        "Step 1:",
        "\nStep 1:",
        "## a\n",
        "**a**\n",
    ),
    *("\n**a", "$$\n\n", "a\n\n", "\\[\n\n", "- ", "\n1. ", "1st ", "x=", "x=1,", "<x", "x<", "{1,2}", "(1,2)", "\\$"),
    *("5 km ", "$5", "5%", "half ", "dozen ", "per ", " m/s", "1 ft 2 in ", "minus ", "1_2", "1_{10}", " base "),
    *("approximately ", "therefore, ", "correct ", "which ", ", which ", "because ", "is 1", "x is 1 ", "\u00b0 "),
)
"""Texts that are repeated up to a length."""


def shapes(length: int) -> Iterator[tuple[str, str]]:
    """Yield hostile texts of a length with their names."""
    for unit in UNITS:
        repeated = (unit * (length // len(unit) + 1))[:length]
        yield repr(unit), repeated
        yield f"boxed {unit!r}", f"\\boxed{{{repeated}}}"
        yield f"said {unit!r}", f"The answer is {repeated}x"
        yield f"fenced {unit!r}", f"```\n{repeated}"
        yield f"starred {unit!r}", f"**{repeated}\n\n" + "a\n\n" * (length // 12)
    for opening, closing in (
        ("(", ")"),
        ("{", "}"),
        ("[", "]"),
        ("\\boxed{", "}"),
        ("$", "$"),
        ("<a>", "</a>"),
        ('"', '"'),
    ):
        times = length // (len(opening) + len(closing))
        yield f"nested {opening}{closing}", opening * times + closing * times
        yield f"nested {opening}1{closing}", opening * times + "1" + closing * times


def seconds_of(reader: Reader, text: str) -> float:
    """Return the processor time of one reading."""
    start = time.process_time()
    reader(text)
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", help="names of readers; all without")
    parser.add_argument("--largest", type=int, default=1_000_000, help="largest length in characters")
    parser.add_argument("--limit", type=float, default=2.0, help="seconds that one reading may take")
    parser.add_argument(
        "--kept", type=int, default=60, help="shapes, the slowest of one length, that go on to the next"
    )
    parser.add_argument("--show", type=int, default=3, help="shapes shown for each reader")
    options = parser.parse_args()
    lengths = [10**power for power in range(3, 9) if 10**power <= options.largest]
    print(f"{'reader':16} {'ns/character':>12} {'exponent':>8} {'length':>9}  shape")
    for name in options.readers or READERS:
        found: dict[str, list[tuple[int, float]]] = {}
        kept: set[str] | None = None
        for length in lengths:
            for shape, text in shapes(length):
                times = found.setdefault(shape, [])
                if kept is None or (shape in kept and times[-1][1] * 20 < options.limit):
                    times.append((length, seconds_of(READERS[name], text)))
            slowest = sorted(found, key=lambda shape: found[shape][-1][1], reverse=True)
            kept = set([shape for shape in slowest if found[shape][-1][0] == length][: options.kept])
        rows = sorted(((*grown(times), shape) for shape, times in found.items() if len(times) > 1), reverse=True)
        for each, exponent, length, shape in rows[: options.show]:
            print(f"{name:16} {each * 1e9:12.1f} {exponent:8.2f} {length:9}  {shape}", flush=True)


def grown(times: list[tuple[int, float]]) -> tuple[float, float, int]:
    """Return the seconds per character at the largest length, the exponent over the last two, and the length."""
    length, seconds = times[-1]
    before = times[-2][1] if len(times) > 1 else seconds
    return seconds / length, math.log10(max(seconds, 1e-5) / max(before, 1e-5)), length


if __name__ == "__main__":
    main()
