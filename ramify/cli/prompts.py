"""`ramify prompts`: the presets of prompts, those of ramify and the user's prompt files."""

from __future__ import annotations

import click

from ..text import cut
from . import terminal

_WIDTH = 70


@click.group()
def prompts() -> None:
    """Look at the prompts that --prompt-preset chooses from.

    Your own are TOML files, named by their path, or by their name in the folder that `prompts list` names.
    """


@prompts.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def list_prompts(as_json: bool) -> None:
    """List the presets of ramify and your prompt files."""
    from ramify.engine.policy.prompts.prompt_files import PRESETS, prompts_folder, read_prompt_file, user_prompt_files

    from ..errors import UsageError

    rows = [(name, preset.description, "ramify") for name, preset in PRESETS.items()]
    for path in user_prompt_files():
        try:
            text = read_prompt_file(path).description
        except UsageError as error:
            text = f"not valid: {error.message}"
        rows.append((path.stem, text, str(path)))
    with terminal.owned_stdout():
        if as_json:
            terminal.write_json(
                {
                    "folder": str(prompts_folder()),
                    "prompts": [{"name": name, "description": text, "from": place} for name, text, place in rows],
                },
                indent=2,
            )
            return
        terminal.write_table(("NAME", "DESCRIPTION", "FROM"), [(a, cut(text, _WIDTH), c) for a, text, c in rows])
        terminal.say(f"your own go to {prompts_folder()}")


@prompts.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def show(name: str, as_json: bool) -> None:
    """Write a prompt as the file that describes it; NAME may also be the path of a file."""
    from pathlib import Path

    from ramify.engine.policy.prompts import prompt_files

    preset = prompt_files.find_preset(name)
    path = prompt_files.prompt_file(name) or Path(prompt_files.__file__).with_name("files") / f"{name}.toml"
    with terminal.owned_stdout():
        if as_json:
            terminal.write_json(prompt_files.preset_to_dict(preset), indent=2)
        else:
            terminal.write(path.read_text("utf-8").rstrip("\n"))


@prompts.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
def check(files: tuple[str, ...]) -> None:
    """Check prompt files, and name the fault of the first that is not valid (exit code 2)."""
    from ramify.engine.policy.prompts.prompt_files import read_prompt_file

    from ..files import user_path

    for file in files:
        preset = read_prompt_file(user_path(file))
        terminal.note(f"{file} is valid: {preset.description or preset.name}")
