from __future__ import annotations

import pytest

from ramify.engine.library.catalog import list_bundled


@pytest.fixture
def files(tmp_path):
    (tmp_path / "text.gguf").write_text("This is a text and not a model, whatever its name says.")
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "short.gguf").write_bytes(b"GGUF\x03\x00\x00\x00" + b"\x05" + b"\x00" * 30)
    (tmp_path / "folder.gguf").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--model", "no-such-model", "q"], 3, "there is no model 'no-such-model'"),
        (["--model", "{files}/missing.gguf", "q"], 3, "there is no file"),
        (["--model", "{files}/text.gguf", "q"], 3, "not a GGUF file"),
        (["--model", "{files}/empty.gguf", "q"], 3, "not a GGUF file"),
        (["--model", "{files}/short.gguf", "q"], 3, "short.gguf"),
        (["--model", "{files}/folder.gguf", "q"], 3, "is a folder"),
        (["--model", "{files}", "q"], 3, "is a folder"),
        (["--model", "x" * 300, "q"], 3, "there is no model"),
        (["--model", "x" * 300 + ".gguf", "q"], 3, "there is no file"),
        (["--model", "{files}/" + "x" * 300, "q"], 3, "there is no file"),
        (["--model", "~nobody-of-this-name/x.gguf", "q"], 3, "there is no file"),
        (["--model", "a\0b/c", "q"], 3, "there is no file"),
        (["--fallback", "x" * 300, "q"], 3, "there is no model"),
        (["--save-tree", "{files}/" + "x" * 300 + "/t.dot", "q"], 2, "there is no folder"),
        (["--reward-spec", "x" * 300, "q"], 2, "is neither a built-in reward spec"),
        (["models", "info", "x" * 300], 3, "there is no model"),
        (["batch", "report", "x" * 300], 2, "x"),
        (["batch", "run", "x" * 300, "--out", "{files}/run"], 2, "cannot be read"),
        (["batch", "run", "a\0b", "--out", "{files}/run"], 2, "cannot be"),
        (["grade", "x" * 300], 2, "cannot be read"),
        (["How many \udcff are there?"], 2, "the question is not UTF-8 text"),
        (["--model", "hf:someone/model", "q"], 2, "names a whole repository"),
        ([""], 2, "the question is empty"),
        (["   "], 2, "the question is empty"),
        (["solve"], 2, "there is no question"),
        (["--width", "0", "q"], 2, "--width"),
        (["--width", "many", "q"], 2, "--width"),
        (["--max-generated-tokens", "0", "q"], 2, "--max-generated-tokens"),
        (["--max-nodes", "-3", "q"], 2, "--max-nodes"),
        (["--max-seconds", "soon", "q"], 2, "--max-seconds"),
        (["--max-flops", "nan", "q"], 2, "--max-flops"),
        (["--temperature", "-1", "q"], 2, "--temperature"),
        (["--temperature", "nan", "q"], 2, "--temperature"),
        (["--top-p", "0", "q"], 2, "--top-p"),
        (["--min-p", "2", "q"], 2, "--min-p"),
        (["--tree-temperature", "0", "q"], 2, "--tree-temperature"),
        (["--seed", "x", "q"], 2, "--seed"),
        (["--isolation", "hope", "q"], 2, "--isolation"),
        (["--strategy", "rebas", "q"], 2, "did you mean 'rebase'"),
        (["--strategy", "greedy", "--width", "4", "q"], 2, "has no --width"),
        (["--strategy", "majority", "--tree-temperature", "1", "q"], 2, "has no --tree-temperature"),
        (["--strategy", "rebase", "--reward", "none", "q"], 2, "needs a reward model"),
        (["--save-tree", "{files}/tree.png", "q"], 2, "--save-tree"),
        (["--save-tree", "{files}/none/tree.dot", "q"], 2, "there is no folder"),
        (["--no-such-option", "q"], 2, "no such option"),
        (["-5 + 3 = ?"], 2, "comes after --"),
        (["-m", "demo-s", "-x^2 = 4"], 2, "comes after --"),
        (["slove", "q"], 2, "did you mean 'solve'"),
        (["models", "lst"], 2, "no such command"),
        (["models", "info"], 2, "missing argument"),
        (["models", "info", "no-such-model"], 3, "there is no model"),
        (["models", "info", "{files}/text.gguf"], 3, "not a GGUF file"),
        (["doctor", "surplus"], 2, "surplus"),
    ],
)
def test_one_line_on_stderr_and_the_right_exit_code(ramify, files, arguments, code, words):
    given = [argument.replace("{files}", str(files)) for argument in arguments]
    result = ramify(*given)
    assert (result.code, result.out) == (code, "")
    assert result.error.startswith("error: ")
    assert words.lower() in result.error.lower()


@pytest.mark.parametrize("option", ["--prompt-preset", "--step-format"])
def test_unknown_formats(ramify, bundled, option):
    result = ramify(option, "no-such-format", "q")
    assert (result.code, result.out) == (2, "")
    assert "no-such-format" in result.error


@pytest.mark.parametrize("kept", [100, 0.5, -1])
def test_a_truncated_model(ramify, bundled, tmp_path, kept):
    whole = next(entry for entry in list_bundled() if entry.name == "demo-m").files["q8_0"].read_bytes()
    file = tmp_path / "cut.gguf"
    file.write_bytes(whole[: kept if kept != 0.5 else len(whole) // 2])
    result = ramify("--model", str(file), "q")
    assert (result.code, result.out) == (3, "")
    assert "cut.gguf" in result.error


def test_a_policy_is_no_reward_model(process, bundled):
    result = process("--reward", "demo-m", "q")
    assert (result.code, result.out) == (3, "")
    assert result.error.startswith("error: ")


def test_a_question_longer_than_the_context(ramify, bundled):
    result = ramify("Tom has 3 apples. " * 2000)
    assert (result.code, result.out) == (2, "")
    assert "context" in result.error
