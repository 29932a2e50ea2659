"""Program of a sandbox that runs one piece of code against tests, against examples, or on inputs.

Its source is run as `python -c SOURCE` in the sandbox, never imported by the code that it starts; only the standard
library is used. It reads the JSON object {task, mark, code, setup, text} from its input. `text` are the tests, or the
question whose examples are taken. It writes the mark and the JSON of its reply; output of the code itself is thrown
away. A reply that is missing says that the code ended the process.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import json
import math
import os
import random
import re
import signal
import sys
import textwrap
import types
from collections.abc import Callable
from typing import Any, cast

CALL_S = 1.0
"""Processor time of one call."""
GENERATED_INPUTS = 16
MOST_EXAMPLES = 32
LONGEST_VALUE = 500
"""Characters by which returned values are compared."""
_MODULE = "program"
_QUOTES = re.compile(r"^\s*(?:\"\"\"|'''|```\w*)\s*$|(?:\"\"\"|''')\s*$", re.MULTILINE)
_PROMPT = re.compile(
    r"^[ \t]*>>>[ \t]?(.*(?:\n[ \t]*\.\.\.[ \t]?.*)*)\n((?:(?![ \t]*>>>)[ \t]*\S.*\n?)*)", re.MULTILINE
)
_ASSERT = re.compile(r"^[ \t]*(assert[ \t(].+)$", re.MULTILINE)
_RESULT = re.compile(r"\s*(?:==?>|==?|->|➞|→|⇒|➔|returns?\b|should return\b|should be\b)[:\s]*(.+)$")
_CONSTANTS = {"true": "True", "false": "False", "none": "None", "null": "None"}
_VALUES: dict[str, list[Any]] = {
    "int": [0, 1, 2, 3, 5, 10, 17, 100, -1, -7],
    "float": [0.0, 1.0, 0.5, 2.75, -1.5, 100.0],
    "str": ["", "a", "abc", "Hello World", "racecar", "12 34", "a,b;c"],
    "bool": [True, False],
    "list": [[], [1], [1, 2, 3], [3, 1, 2], [5, 5, 0, -2], ["a", "b"], [1.5, 2.5]],
    "dict": [{}, {"a": 1}, {"b": 2, "a": 1}],
    "tuple": [(), (1, 2), (3, 1, 2)],
}


class OutOfTime(BaseException):
    """Raised in a call that takes too long; code that catches exceptions lets it pass."""


def main() -> None:
    """Do the task of the input."""
    request = json.loads(sys.stdin.read())
    out, null = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for each in (0, 1, 2):
        os.dup2(null, each)
    signal.signal(signal.SIGPROF, out_of_time)
    task = {"tests": passes, "examples": examples_passed, "behaviour": behaviour}[request["task"]]
    reply = request["mark"] + json.dumps(task(request))
    written = reply.encode("utf-8", "replace")
    while written:
        written = written[os.write(out, written) :]
    os._exit(0)


def out_of_time(*_: object) -> None:
    """End the call at work."""
    raise OutOfTime


def source_of(code: str, setup: str) -> str:
    """Return the first that compiles: the code itself, or the setup with the code as its end; the code if none does."""
    flat = textwrap.dedent(code)
    opened = setup.rstrip() + "\n"
    for each in (code, flat, opened + code, opened + textwrap.indent(flat, "    ")):
        if compiles(each):
            return each
    return code


def compiles(source: str) -> bool:
    """Tell whether a source is a program."""
    try:
        compile(source, "<code>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def loaded(code: str, setup: str) -> dict[str, Any]:
    """Return the names that the setup and the code define."""
    module = types.ModuleType(_MODULE)
    sys.modules[_MODULE] = module
    names = module.__dict__
    for each in (setup, setup.rstrip() + "\n    pass\n"):
        if setup.strip() and compiles(each):
            exec(compile(each, "<setup>", "exec"), names)
            break
    exec(compile(source_of(code, setup), "<code>", "exec"), names)
    return names


def timed(call: Callable[[], Any], seconds: float = CALL_S) -> Any:
    """Return the result of a call under a limit of processor time."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def passes(request: dict[str, Any]) -> dict[str, Any]:
    """Run the code and then the tests; the limit of time is the sandbox's."""
    try:
        names = loaded(request["code"], request["setup"])
        exec(compile(request["text"], "<tests>", "exec"), names)
    except BaseException as error:
        return {"passed": False, "error": f"{type(error).__name__}: {error}"[:LONGEST_VALUE]}
    return {"passed": True, "error": ""}


def examples_passed(request: dict[str, Any]) -> dict[str, Any]:
    """Count the examples of the question that the code passes."""
    found = examples(request["text"])
    try:
        names = timed(lambda: loaded(request["code"], request["setup"]))
    except BaseException:
        return {"passed": 0, "total": len(found), "runs": False}
    passed = sum(holds(source, wanted, names) for source, wanted in found)
    return {"passed": passed, "total": len(found), "runs": True}


def examples(question: str) -> list[tuple[str, str | None]]:
    """Return the examples in a question: expressions with the text of their value, None for assertions."""
    text = _QUOTES.sub("", question) + "\n"
    found = list[tuple[str, str | None]]()
    for match in _PROMPT.finditer(text):
        source = re.sub(r"\n[ \t]*\.\.\.[ \t]?", "\n", match[1])
        found.append((source, textwrap.dedent(match[2]).strip()))
    if not found:
        found += [(match[1], None) for match in _ASSERT.finditer(text) if compiles(match[1])]
    if not found:
        found += stated(text)
    return found[:MOST_EXAMPLES]


def stated(text: str) -> list[tuple[str, str | None]]:
    """Return calls of the question's own function whose value is told in the same line: `f(3) == 4`, `f(3) => 4`."""
    name = own_function(text)
    found = list[tuple[str, str | None]]()
    for line in text.splitlines() if name else ():
        place = re.search(rf"(?<!def )\b{name}\(", line)
        end = None if place is None else closing(line, place.end())
        if place is None or end is None or line.lstrip().startswith("def "):
            continue
        told = _RESULT.match(line[end:])
        value = "" if told is None else told[1].strip().rstrip(".;")
        value = _CONSTANTS.get(value, value)
        call = line[place.start() : end]
        if arguments_in(call, str(name)) is not None and literal(value) is not MISSING:
            found.append((call, value))
    return found


def closing(line: str, start: int) -> int | None:
    """Return where the bracket ends that was opened before `start`."""
    depth, quote = 1, ""
    for place in range(start, len(line)):
        sign = line[place]
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
            if not depth:
                return place + 1
    return None


def own_function(text: str) -> str | None:
    """Return the name of the function that a text defines last at its left edge, None if there is none."""
    found = re.findall(r"^(?:async )?def (\w+)\(", text, re.MULTILINE)
    return found[-1] if found else None


MISSING = object()


def literal(text: str) -> Any:
    """Return the value of a literal, MISSING if it is none."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return MISSING


def holds(source: str, wanted: str | None, names: dict[str, Any]) -> bool:
    """Tell whether an example holds."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            value = timed(lambda: evaluated(source, names))
    except BaseException as error:
        return bool(wanted) and "Traceback" in str(wanted) and type(error).__name__ in str(wanted)
    if wanted is None:
        return True
    if not wanted:
        return value is None or value is True
    told = literal(wanted)
    if told is not MISSING and alike(value, told):
        return True
    shown = printed.getvalue() + ("" if value is None else repr(value))
    return " ".join(shown.split()) == " ".join(wanted.split())


def evaluated(source: str, names: dict[str, Any]) -> Any:
    """Return the value of an expression, None of a statement."""
    try:
        expression = compile(source, "<example>", "eval")
    except SyntaxError:
        exec(compile(source, "<example>", "exec"), names)
        return None
    return eval(expression, names)


def alike(value: Any, told: Any) -> bool:
    """Return whether a value equals the told one, floats up to rounding."""
    if isinstance(value, float) and isinstance(told, int | float) and not isinstance(told, bool):
        return math.isclose(value, told, rel_tol=1e-6, abs_tol=1e-9)
    if isinstance(value, list | tuple) and isinstance(told, list | tuple):
        left, right = cast("list[Any]", value), cast("list[Any]", told)
        return len(left) == len(right) and all(alike(*pair) for pair in zip(left, right, strict=True))
    return bool(value == told) and isinstance(value, bool) == isinstance(told, bool)


def behaviour(request: dict[str, Any]) -> dict[str, Any]:
    """Return the results of the code's function on inputs that follow from the question, or the output of a script."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            names = timed(lambda: loaded(request["code"], request["setup"]))
    except BaseException as error:
        return {"values": [f"error: {type(error).__name__}"], "works": False}
    function = entry(request, names)
    if function is None:
        text = printed.getvalue()
        return {"values": [text[:LONGEST_VALUE]], "works": bool(text.strip())}
    values = [told_value(function, each) for each in inputs(request, function)]
    return {"values": values, "works": any(not each.startswith("error: ") for each in values)}


def entry(request: dict[str, Any], names: dict[str, Any]) -> Callable[..., Any] | None:
    """Return the function of a program: the question's own, else one that it names, else the last."""
    own = [
        name
        for name, value in names.items()
        if isinstance(value, types.FunctionType) and value.__code__.co_filename in ("<code>", "<setup>")
    ]
    asked = own_function(request["text"])
    if asked in own:
        return names[str(asked)]
    named = [name for name in own if re.search(rf"\b{re.escape(name)}\b", request["text"])]
    found = (named or own)[-1:]
    return names[found[0]] if found else None


def told_value(function: Callable[..., Any], arguments: list[Any]) -> str:
    """Return the value of a call as text, or the kind of its error."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            value = timed(lambda: shown(function(*copy.deepcopy(arguments))))
    except OutOfTime:
        return "error: time"
    except BaseException as error:
        return f"error: {type(error).__name__}"
    return value


def shown(value: Any) -> str:
    """Return a value as a text that equal ones have in common."""
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(shown, cast("set[Any]", value)))) + "}"
    if isinstance(value, list | tuple):
        ends = "[]" if isinstance(value, list) else "()"
        return (ends[0] + ", ".join(map(shown, cast("list[Any]", value))) + ends[1])[:LONGEST_VALUE]
    if isinstance(value, dict):
        pairs = (f"{shown(key)}: {shown(each)}" for key, each in cast("dict[Any, Any]", value).items())
        return "{" + ", ".join(sorted(pairs)) + "}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:LONGEST_VALUE]


def inputs(request: dict[str, Any], function: Callable[..., Any]) -> list[list[Any]]:
    """Return the arguments of the calls: those of the question's examples, changed ones, or values that suit hints."""
    name = own_function(request["text"]) or function.__name__
    given = [each for source, _ in examples(request["text"]) if (each := arguments_in(source, name)) is not None]
    chance = random.Random(request["text"])
    if given:
        return given + [[changed(value, chance) for value in chance.choice(given)] for _ in range(GENERATED_INPUTS)]
    columns = [suited(hint) for hint in hints(request["text"], function)]
    if not columns:
        return [[]]
    return [[chance.choice(column) for column in columns] for _ in range(2 * GENERATED_INPUTS)]


def arguments_in(source: str, name: str) -> list[Any] | None:
    """Return the literal arguments of the first call of a function in a source, None if there is none."""
    try:
        tree = ast.parse(source.strip())
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            values = [literal(ast.unparse(each)) for each in node.args]
            return None if node.keywords or any(each is MISSING for each in values) else values
    return None


def hints(question: str, function: Callable[..., Any]) -> list[str]:
    """Return the annotation of each parameter that has no default, "" where there is none."""
    head = re.search(rf"^(?:async )?def {function.__name__}\(.*?\).*?:", question, re.MULTILINE | re.DOTALL)
    source = f"{head[0]} pass" if head else ""
    defined = ast.parse(source).body[0] if source and compiles(source) else None
    if not isinstance(defined, ast.FunctionDef | ast.AsyncFunctionDef):
        count = function.__code__.co_argcount - len(function.__defaults__ or ())
        return ["" for _ in range(count)]
    parameters = defined.args
    wanted = parameters.args[: len(parameters.args) - len(parameters.defaults)]
    return ["" if each.annotation is None else ast.unparse(each.annotation) for each in wanted]


def suited(hint: str) -> list[Any]:
    """Return values that suit an annotation."""
    plain = hint.lower().replace("typing.", "")
    outer, _, inner = plain.partition("[")
    items = _VALUES.get(inner.rstrip("]"))
    if outer in ("list", "sequence", "iterable") and items:
        return [[], items[:1], items[:3], items[::-1], items + items[:2]]
    return _VALUES.get(outer) or [*_VALUES["int"][:4], *_VALUES["str"][:4], *_VALUES["list"][:4]]


def changed(value: Any, chance: random.Random) -> Any:
    """Return a value of the same type that may differ."""
    if isinstance(value, bool):
        return chance.choice([True, False])
    if isinstance(value, int):
        return chance.choice([value, value + 1, value - 1, 2 * value, -value, 0, 1, chance.randint(0, 30)])
    if isinstance(value, float):
        return chance.choice([value, value + 0.5, value / 2, -value, 0.0, float(round(value))])
    if isinstance(value, str):
        place = chance.randrange(len(value) + 1)
        more = value[:place] + chance.choice("aeZ 1.,()") + value[place:]
        return chance.choice([value, "", value[::-1], value[: len(value) // 2], value + value, value.swapcase(), more])
    if isinstance(value, list | tuple):
        items = list(cast("list[Any]", value))
        each = [changed(item, chance) for item in items]
        less = [-item if isinstance(item, int | float) else item for item in items]
        found = chance.choice([items, [], items[::-1], items[:-1], items[1:], items + items[:1], less, each, each])
        return tuple(found) if isinstance(value, tuple) else found
    if isinstance(value, dict):
        given = cast("dict[Any, Any]", value)
        kept = {key: changed(item, chance) for key, item in given.items() if chance.random() < 0.8}
        return chance.choice([given, {}, kept, kept])
    return value


if __name__ == "__main__":
    main()
