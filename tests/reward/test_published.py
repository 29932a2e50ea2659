"""Heads that are published for public model files: found by the file's size and hash, used by default."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ramify.cli import main
from ramify.cli.options import reward_note
from ramify.engine.library.catalog import bundled_heads, resolve_model
from ramify.engine.loading import default_reward
from ramify.engine.rewards.naming import read_reward_name
from ramify.engine.rewards.published import published_name
from ramify.reward.likelihood_head import read_head, sha256_of


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a model file that stands for a public one; the user's models lie in its folder."""
    monkeypatch.setattr("ramify.engine.rewards.published.models_folder", lambda: tmp_path)
    return Path(shutil.copy(resolve_model("demo-s").path, tmp_path / "public.gguf"))


def publish(policy: Path, judge: Path, name: str = "", **changes: Any) -> Path:
    head = read_head(bundled_heads()["demo-l"])
    report = {**head.report, **changes}
    folder = policy.parent / "rewards"
    folder.mkdir(exist_ok=True)
    path = folder / (name or published_name(policy))
    path.write_text(replace(head, files={judge.name: sha256_of(judge)}, report=report).to_json())
    return path


def test_a_head_for_the_file_itself_is_its_default(policy: Path) -> None:
    assert default_reward(policy) is None
    policy.touch()  # What was found for a file is kept while it stands as it is.
    head = publish(policy, policy)
    assert default_reward(policy) == f'"head:{head}@{policy}" * arithmetic'
    found = read_reward_name(default_reward(policy) or "")
    assert found.parts[0].head == head and found.parts[0].path == policy
    assert default_reward(str(policy)) == default_reward(policy)
    note = reward_note(str(policy), "default", has_reward=True)
    assert note is not None and "published for" in note
    assert reward_note("demo-m", "default", has_reward=True) is None
    assert reward_note(str(policy), "mean-logprob", has_reward=True) is None


def test_a_head_alone_is_not_multiplied_where_the_check_is_no_gain(policy: Path) -> None:
    head = publish(policy, policy, head={"pairs_right": 0.9}, **{"head * arithmetic": {"pairs_right": 0.9}})
    assert default_reward(policy) == f"head:{head}@{policy}"


def test_a_judge_is_found_beside_the_policy_or_not_used(policy: Path) -> None:
    judge = policy.parent / "judge.gguf"
    publish(policy, resolve_model("demo-m").path)
    assert default_reward(policy) is None
    shutil.copy(resolve_model("demo-m").path, judge.with_name(resolve_model("demo-m").path.name))
    policy.touch()
    assert str(judge.with_name(resolve_model("demo-m").path.name)) in (default_reward(policy) or "")


@pytest.mark.parametrize("wrong", ["name", "gain"])
def test_other_files_and_heads_that_do_not_help_are_no_default(policy: Path, wrong: str) -> None:
    size = policy.stat().st_size
    publish(policy, policy, name=f"{size}-0123456789abcdef.json" if wrong == "name" else "", helps=wrong != "gain")
    assert default_reward(policy) is None


def test_a_file_of_another_size_is_not_read(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(policy, policy, name="1-0123456789abcdef.json")
    monkeypatch.setattr("ramify.engine.rewards.published.sha256_of", lambda path: pytest.fail("read"))
    assert default_reward(policy) is None
    assert default_reward("no-such-model") is None and default_reward("openai:http://localhost:1/v1#m") is None


def test_a_search_says_that_it_uses_one(
    policy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    publish(policy, policy, head={"pairs_right": 0.9}, **{"head * arithmetic": {"pairs_right": 0.9}})
    question = "Mia has 85 cookies. Mia sells 59 cookies. How many cookies does Mia have?"
    command = ["solve", question, "-m", str(policy), "--width", "4", "--json", "--threads", "1", "--no-save"]
    assert main(command) in (0, 4)
    captured = capsys.readouterr()
    assert f"paths are scored by the head published for {policy}" in captured.err
    solution = json.loads(captured.out)
    assert solution["strategy"]["name"] == "rebase" and solution["model"]["reward"].startswith("head:")
    # Judge and policy are the same file: what the policy told as it wrote is not read again.
    assert solution["usage"]["reward"]["prompt_tokens"] == 0
