"""One place that opens files for writing, and one that reads JSON and TOML from outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "answers",
    "batch",
    "engine",
    "models",
    "ramify",
    "reward",
    "scaling",
    "search",
    "server",
    "tools",
    "training",
    "tui",
    "viewer",
)
FILES = "ramify/files.py"
READERS = {
    "tools/code_program.py": "a program that runs as a file and reads what ramify writes",
    "tools/sandbox_program.py": "a program that runs as a file and reads what ramify writes",
    "ramify/json_text.py": "the reader itself",
    "ramify/limited_program.py": "a program that runs as a file and reads what ramify writes",
}
STREAMS = {
    "ramify/cli/terminal.py": "the null device",
    "tools/code_program.py": "the null device",
    "tools/mcp_client.py": "the null device",
    "tools/sandbox_program.py": "files of the kernel about the process itself",
    "engine/runtime/llama/quantize_child.py": "the temporary file that its parent made",
    "tui/common/logs.py": "a temporary file that it made itself",
}
"""Modules that open something that is no file of a user, by its name."""
PARSERS = {
    "json": {"load", "loads", "JSONDecoder"},
    "tomllib": {"load", "loads"},
    "pickle": {"load", "Unpickler"},
}
"""Readers by their modules. pickle.loads is called once, on what the same line pickled."""
LIBRARIES = {"dill", "filelock", "orjson", "pandas", "simplejson", "ujson", "yaml"}
WRITERS = {"GGUFWriter", "llama_model_quantize", "save", "savefig", "savez", "savez_compressed"}
"""Functions of other packages that open a file for writing by its name."""
COPIES = {"copy", "copy2", "copyfile", "copytree", "move"}
SUSPECTS = WRITERS | COPIES | {"open", "write_text", "write_bytes"}


def calls(tree: ast.AST, around: tuple[ast.AST, ...] = ()) -> Iterator[tuple[ast.Call, tuple[ast.AST, ...]]]:
    if isinstance(tree, ast.Call):
        yield tree, around
    for child in ast.iter_child_nodes(tree):
        yield from calls(child, (*around, tree))


def name_of(call: ast.Call) -> tuple[str, str]:
    """Return the object and the name of a called function, the object "" for a plain name."""
    if isinstance(call.func, ast.Attribute):
        return ast.unparse(call.func.value), call.func.attr
    return "", ast.unparse(call.func)


def mode_of(call: ast.Call) -> str:
    # A method `open` with a variable is that of a session or model.
    method = isinstance(call.func, ast.Attribute)
    given = [each.value for each in call.keywords if each.arg == "mode"] + call.args[not method :][:1]
    return "".join(str(each.value) if isinstance(each, ast.Constant) else "" if method else "w" for each in given)


def is_covered(call: ast.Call, around: tuple[ast.AST, ...]) -> bool:
    """Tell whether a call stands in, or beside, the temporary file of `replacing` or `exporting`."""
    for node in around:
        if isinstance(node, ast.With):
            for item in node.items:
                if isinstance(item.context_expr, ast.Call) and name_of(item.context_expr)[1] in (
                    "exporting",
                    "replacing",
                ):
                    return True
    return False


def opens_for_writing(call: ast.Call, around: tuple[ast.AST, ...]) -> bool:
    if (call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")) not in SUSPECTS:
        return False
    owner, name = name_of(call)
    if name == "open" and owner in ("os", "io", "gzip", "bz2", "lzma", "codecs"):
        return True
    if name == "open":
        writes = bool(set(mode_of(call)) & set("wax+"))
        guarded = bool(call.args) and isinstance(call.args[0], ast.Call) and name_of(call.args[0])[1] == "open_guarded"
        return writes and not guarded and not is_covered(call, around)
    if name in ("write_text", "write_bytes"):
        return owner not in ("", "formatter")
    if owner == "shutil" and name in COPIES:
        return True
    if name == "GGUFWriter" or (name in WRITERS and owner in ("figure", "canvas", "np", "numpy", "torch", "native")):
        return not is_covered(call, around) and not any("buffer" in ast.unparse(each) for each in call.args)
    return False


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("path.open('w')", True),
        ("path.open('rb')", False),
        ("path.open()", False),
        ("open(path, mode='ab')", True),
        ("open(path, 'r+')", True),
        ("open(open_guarded(path, 1), 'ab')", False),
        ("os.open(path, os.O_RDONLY)", True),
        ("path.write_text(text)", True),
        ("write_text(path, text)", False),
        ("formatter.write_text(text)", False),
        ("with replacing(path) as part, part.open('wb') as file: pass", False),
        ("with replacing(path) as part:\n    torch.save(state, part)", False),
        ("torch.save(state, path)", True),
        ("figure.savefig(path)", True),
        ("figure.savefig(buffer)", False),
        ("shutil.copy2(a, b)", True),
    ],
)
def test_the_search_for_writers_finds_them(code, wrong):
    assert any(opens_for_writing(*each) for each in calls(ast.parse(code))) is wrong


@pytest.fixture(scope="module")
def sources() -> dict[str, ast.Module]:
    """Return the source of each module by its path."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in paths}


def test_files_are_opened_for_writing_in_one_place(sources):
    wrong = [
        f"{name}:{call.lineno}: {ast.unparse(call)[:90]}"
        for name, tree in sources.items()
        if name != FILES and name not in STREAMS
        for call, around in calls(tree)
        if opens_for_writing(call, around)
    ]
    assert wrong == []


def test_json_and_toml_are_read_in_one_place(sources):
    wrong = list[str]()
    for name, tree in sources.items():
        if name in READERS:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and (
                (isinstance(node.value, ast.Name) and node.attr in PARSERS.get(node.value.id, ()))
                or node.attr in ("model_validate_json", "model_validate_strings", "validate_json", "raw_decode")
            ):
                wrong.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
            elif isinstance(node, ast.Import):
                wrong += [f"{name}: {each.name}" for each in node.names if each.name.split(".")[0] in LIBRARIES]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                module = str(node.module)
                if module.split(".")[0] in LIBRARIES or any(
                    each.name in PARSERS.get(module, ()) for each in node.names
                ):
                    wrong.append(f"{name}: from {module}")
    assert wrong == []


def test_csv_is_written_in_one_place(sources):
    assert [name for name, tree in sources.items() if "csv.writer" in ast.unparse(tree)] == ["ramify/tables.py"]


def test_tasks_are_started_in_one_place(sources):
    wrong = [
        f"{name}:{call.lineno}"
        for name, tree in sources.items()
        if name != "ramify/event_loop.py"
        for call, _ in calls(tree)
        if name_of(call)[1] == "start_soon"
    ]
    assert wrong == []
