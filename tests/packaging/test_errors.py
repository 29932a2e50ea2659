"""One error tree: every class and every place where ramify raises something on purpose."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import pickle
import pkgutil
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from pydantic import ValidationError

from ramify import errors
from ramify.cli.exits import exit_code_for
from ramify.errors import BadRecord, ExitCode, RamifyError
from ramify.server.api_errors import ApiError


def folder(package: str) -> list[str]:
    return list(importlib.import_module(package).__path__)


EXAMPLES: dict[str, RamifyError] = {
    "BadInput": errors.BadInput("in.jsonl", [BadRecord(3, "it is not JSON")]),
    "QuestionTooLong": errors.QuestionTooLong(900, 512),
    "RewardContextExceeded": errors.RewardContextExceeded(nodes=[3, 4], tokens=9, limit=8),
    "RewardError": errors.RewardError("node 3 cannot be scored", node=3),
}
"""One error of each class whose constructor takes more than a message and a next step."""
CLASSES = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, Exception)]
ROOT = Path(__file__).parents[2]
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
MODULES = sorted(
    name
    for package in PACKAGES
    if package != "ramify.models.recipe"
    for name in [
        package,
        *(f"{package}.{each.name}" for each in pkgutil.iter_modules(folder(package)) if not each.ispkg),
    ]
    if name != "ramify.__main__" and not name.endswith("_program")
)
"""All modules but programs, which run in processes of their own or by hand."""

CAUGHT_IN = {
    "ramify.answers.arithmetic": "ramify.answers.arithmetic",
    "ramify.answers.equality": "ramify.answers.equality",
    "ramify.batch.store.inputs": "ramify.batch.store.inputs",
    "ramify.cli.reward_cases": "ramify.cli.reward_cases",
    "ramify.cli.terminal": "ramify.cli",
    "ramify.engine.metering.counters": "ramify.engine.metering.counters",
    "ramify.engine.history.records": "ramify.engine.history.store",
    "ramify.engine.library.convert.safetensors": "ramify.engine.library.convert.safetensors",
    "ramify.engine.library.hub.client": "ramify.engine.library.hub.client",
    "ramify.engine.policy.prompts.chat_template": "ramify.engine.policy.prompts.prompt",
    "ramify.engine.policy.prompts.prompt_files": "ramify.engine.policy.prompts.prompt_files",
    "ramify.engine.policy.prompts.template_program": "ramify.engine.policy.prompts.template_program",
    "ramify.engine.policy.remote.http": "ramify.engine.policy.remote.policy",
    "ramify.engine.policy.remote.reply": "ramify.engine.policy.remote.policy",
    "ramify.engine.policy.remote.server_reply": "ramify.engine.policy.remote.policy",
    "ramify.engine.policy.remote.session": "ramify.engine.policy.remote.session",
    "ramify.engine.rewards.http_reward": "ramify.engine.rewards.http_reward",
    "ramify.engine.runtime.llama.gguf_check": "ramify.engine.runtime.llama.gguf_check",
    "ramify.engine.store.rows": "ramify.engine.store.rows",
    "ramify.files": "ramify.batch.store.folder",
    "ramify.prices": "ramify.prices",
    "ramify.reward.arithmetic_expressions": "ramify.reward.arithmetic",
    "ramify.reward.specs": "ramify.reward.specs",
    "ramify.search.serialize": "ramify.search.serialize",
    "ramify.search.stopping": "ramify.search.stopping",
    "ramify.tools.calculator": "ramify.tools.toolbox",
    "ramify.tools.mcp_client": "ramify.tools.toolbox",
    "ramify.tools.tool": "ramify.tools.toolbox",
}
"""Modules that raise errors that are no RamifyErrors, and the module that catches these."""


def example(kind: type[RamifyError]) -> RamifyError:
    return EXAMPLES.get(kind.__name__) or kind("the cause", "the next step")


def test_every_class_stands_in_one_module_below_one_root():
    assert all(issubclass(kind, RamifyError) and kind.__module__ == "ramify.errors" for kind in CLASSES)
    everywhere: set[type] = set()
    for name in MODULES:
        importlib.import_module(name)
    kinds = [RamifyError]
    while kinds:
        kind = kinds.pop()
        everywhere.add(kind)
        kinds += kind.__subclasses__()
    assert {kind.__module__ for kind in everywhere if not kind.__module__.startswith("test")} == {"ramify.errors"}


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_can_be_pickled_whole(kind):
    error = example(kind)
    error.add_note("where it came from")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.args, str(copy), vars(copy)) == (error.args, str(error), vars(error))


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_has_a_heading_and_an_exit_code_that_is_told_in_one_place(kind):
    error = example(kind)
    assert exit_code_for(error) is kind.exit_code
    assert kind.title and error.message and str(error).startswith(error.message)
    assert kind.__doc__ and kind.__doc__.startswith(("Raised", "Base of ", "Stands for "))


def test_the_drawn_tree_is_that_of_the_classes():
    drawn = [line.split("──")[-1].split()[:2] for line in (errors.__doc__ or "").splitlines() if "── " in line]
    assert {name: int(code) for name, code in drawn} == {
        kind.__name__: int(kind.exit_code) for kind in CLASSES if kind is not RamifyError
    }


def source(module: str) -> ast.Module:
    file = importlib.import_module(module).__file__
    assert file is not None
    return ast.parse(Path(file).read_text())


@cache
def sources() -> dict[str, ast.Module]:
    """Return the source of each module; it is read by the process that runs these tests, and not kept."""
    return {name: source(name) for name in MODULES}


@cache
def returned() -> dict[str, list[tuple[str, ast.expr | None]]]:
    """Return what the functions of each name return, with their modules."""
    found: dict[str, list[tuple[str, ast.expr | None]]] = {}
    for home, tree in sources().items():
        for each in ast.walk(tree):
            if isinstance(each, ast.FunctionDef):
                found.setdefault(each.name, []).append((home, each.returns))
    return found


@pytest.fixture(scope="module", autouse=True)
def nothing_kept() -> Iterator[None]:
    yield
    sources.cache_clear()
    returned.cache_clear()


def sites() -> Iterator[tuple[str, int, ast.expr, list[ast.AST]]]:
    """Yield module, line, raised expression and the nodes around it, outermost first."""

    def walk(node: ast.AST, around: list[ast.AST]) -> Iterator[tuple[int, ast.expr, list[ast.AST]]]:
        if isinstance(node, ast.Raise) and node.exc is not None:
            yield node.lineno, node.exc, around
        for child in ast.iter_child_nodes(node):
            yield from walk(child, [*around, node])

    for name, tree in sources().items():
        for line, raised, around in walk(tree, []):
            yield name, line, raised, around


def raised_classes(module: str, raised: ast.expr, around: list[ast.AST]) -> list[type]:
    """Return the classes that a raised expression may make an error of; none where a caught error is raised again."""
    if not isinstance(raised, ast.Call):
        last = ast.unparse(raised).split(".")[-1].strip("_")
        named = resolved(module, raised, around) if last[:1].isupper() else None
        return [named] if inspect.isclass(named) else []
    made = resolved(module, raised.func, around)
    if inspect.isclass(made):
        return [made]
    if inspect.ismethod(made) and inspect.isclass(made.__self__):
        return [made.__self__]
    name = ast.unparse(raised.func).split(".")[-1]
    places = returned().get(name, [])
    places = [each for each in places if each[0] == module] or places
    found = [kind for home, returned in places for kind in named_classes(home, returned)]
    assert found, f"{module}: {ast.unparse(raised.func)} does not say what error it returns"
    return found


def named_classes(module: str, annotation: ast.expr | None) -> list[type]:
    """Return the classes of an annotation such as `UsageError | Refused`; all of them must be errors."""
    if isinstance(annotation, ast.BinOp):
        return [*named_classes(module, annotation.left), *named_classes(module, annotation.right)]
    kind = None if annotation is None else resolved(module, annotation, [ast.parse("")])
    return [kind] if inspect.isclass(kind) and issubclass(kind, Exception) else []


def resolved(module: str, expression: ast.expr, around: list[ast.AST]) -> object:
    """Return what a dotted name means at its place: in the class around it, the module, or an import in a function."""
    names = ast.unparse(expression).split(".")
    if names[0] in ("self", "cls"):
        owner = next(each for each in reversed(around) if isinstance(each, ast.ClassDef))
        names[0] = owner.name
    if names[0].startswith("super()"):
        return None
    for node in ast.walk(around[0]):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == names[0]:
                    package = (
                        module if hasattr(importlib.import_module(module), "__path__") else module.rpartition(".")[0]
                    )
                    source = importlib.import_module("." * node.level + (node.module or ""), package)
                    value = getattr(source, alias.name, None) or importlib.import_module(
                        f"{source.__name__}.{alias.name}"
                    )
                    return follow(value, names[1:])
    value = getattr(importlib.import_module(module), names[0], None) or getattr(builtins, names[0], None)
    return follow(value, names[1:])


def follow(value: object, names: list[str]) -> object:
    for name in names:
        value = getattr(value, name, None)
    return value


def allowed(module: str, kind: type, around: list[ast.AST]) -> bool:
    if issubclass(kind, RamifyError | NotImplementedError):
        return True
    if issubclass(kind, click.exceptions.ClickException | click.exceptions.Exit):
        return module.startswith("ramify.cli")
    function = next(
        (each for each in reversed(around) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)), None
    )
    if issubclass(kind, ApiError):
        # The application's handler makes a reply of it.
        return module.startswith("ramify.server.")
    if kind.__module__.startswith("mcp.server."):
        # The library makes a reply of it.
        return module == "ramify.server.mcp_server"
    if issubclass(kind, AttributeError) and function is not None and function.name == "__getattr__":
        return True
    if issubclass(kind, StopAsyncIteration) and function is not None and function.name == "__anext__":
        return True
    if kind.__module__ == "textual.actions" and function is not None and function.name.startswith("action_"):
        return True
    if issubclass(kind, TypeError) and function is not None and function.name == "__reduce__":
        return True
    return module in CAUGHT_IN and is_caught(CAUGHT_IN[module], kind)


def is_caught(module: str, kind: type) -> bool:
    """Tell whether a module has a handler for a class, or for what pydantic makes of a ValueError."""
    for node in ast.walk(sources()[module]):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            for each in node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]:
                handled = resolved(module, each, [sources()[module]])
                if handled in (Exception, BaseException) or not inspect.isclass(handled):
                    continue
                if issubclass(kind, handled) or (kind is ValueError and handled is ValidationError):
                    return True
    return False


def test_every_error_that_is_raised_on_purpose_is_a_ramify_error():
    wrong = [
        f"{module}:{line}: {ast.unparse(raised)[:90]}"
        for module, line, raised, around in sites()
        for kind in raised_classes(module, raised, around)
        if not allowed(module, kind, around)
    ]
    assert wrong == []


def test_exit_codes_of_what_is_no_ramify_error():
    assert exit_code_for(KeyboardInterrupt()) is ExitCode.INTERRUPTED
    assert exit_code_for(click.UsageError("no such option")) is ExitCode.USAGE
    assert exit_code_for(ValueError("a bug")) is ExitCode.INTERNAL


def test_exceptions_that_are_caught_nowhere_would_be_found():
    place = [ast.parse(""), ast.FunctionDef(name="f")]
    assert not allowed("ramify.search.tree", ValueError, place)
    assert not allowed("ramify.search.serialize", RuntimeError, place)
    assert allowed("ramify.search.serialize", ValueError, place)
    assert allowed("ramify.search.tree", errors.TreeError, place)
