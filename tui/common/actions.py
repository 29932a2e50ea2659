"""Registry of actions: key, footer title and help of each. Bindings, footer, help and palette are made from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True, slots=True)
class Action:
    """An action of the user on some of the screens.

    `id` is the name of its method without `action_`. `keys` are Textual's names of its keys, separated by commas;
    `sign` is how the first one is shown. `rank` orders the footer, which drops the highest ones first when room is
    short; 0 keeps an action out of it. A key with `priority` is taken before a focused text field sees it.
    """

    id: str
    keys: str
    sign: str
    title: str
    help: str
    screens: tuple[str, ...]
    rank: int = 0
    priority: bool = False

    @property
    def scopes(self) -> tuple[str, ...]:
        """Scopes of its key: its screens, or "app" if it works on all of them."""
        return ("app",) if self.screens == EVERYWHERE else self.screens

    @property
    def bindings(self) -> tuple[str, ...]:
        """Ids of its bindings, one for each scope."""
        return tuple(f"{scope}.{self.id}" for scope in self.scopes)


EVERYWHERE = ("home", "run", "compare", "history", "batch")
TREES = ("run", "compare")
COPY_KEY = "ctrl+c"
"""Key that copies where text is selected."""

ACTIONS: tuple[Action, ...] = (
    Action("search", "ctrl+s", "enter", "search", "Search for the answer to the question.", ("home",), 1),
    Action("example", "f2", "F2", "example", "Write an example problem into the question box.", ("home",), 2),
    Action("search_paused", "f6", "F6", "step by step", "Start paused, to go on round by round.", ("home",), 3, True),
    Action("compare", "f3", "F3", "compare", "Run two searches on the question, side by side.", ("home",), 4),
    Action("history", "f4", "F4", "history", "Open the saved runs.", ("home",), 5),
    Action("batch", "f5", "F5", "batch", "Look at the folder of a batch, running or finished.", ("home",), 6),
    Action("pause", "space", "space", "pause", "Pause the search, or go on.", TREES, 1),
    Action("step", "n", "n", "step", "Let the paused search go on for one round.", TREES, 2),
    Action("stop", "x", "x", "stop", "End the search and take the best answer so far.", TREES, 3),
    Action("raise_budget", "b", "b", "budget", "Give the search another budget.", ("run",), 4),
    Action("prune", "p,delete", "p", "prune", "Give up the selected step and all below it.", ("run",), 5),
    Action("expand", "plus,equals_sign", "+", "expand", "Write more children of the selected step.", ("run",), 6),
    Action("edit", "e", "e", "edit", "Write the selected step by hand and go on from there.", ("run",), 7),
    Action(
        "pin", "a", "a", "pin", "Make the answer of the selected path, or the first below, the result.", ("run",), 8
    ),
    Action("replay_back", "left_square_bracket", "[", "back", "Replay: one step back.", ("run",), 2),
    Action("replay_next", "right_square_bracket", "]", "next", "Replay: one step on.", ("run",), 3),
    Action("open_node", "o", "o", "read", "Read the selected path on the whole screen.", ("run",), 9),
    Action("follow", "f", "f", "follow", "Keep the best path selected, or not.", ("run",), 10),
    Action("go_best", "g", "g", "best", "Select the best path.", ("run",), 12),
    Action("hide_pruned", "h", "h", "hide", "Hide the steps that were given up, or show them.", TREES, 13),
    Action("copy", "c", "c", "copy", "Copy answer, path, command line or Python code.", ("run",), 11),
    Action(
        "rerun", "r", "r", "again", "Go home with this question and these settings, to change and run.", ("run",), 14
    ),
    Action("wrap", "w", "w", "wrap", "Show steps in the tree on several lines, or on one.", TREES, 15),
    Action("toggle_path", "v", "v", "path", "Show the panel of the selected path, or hide it.", ("run",), 16),
    Action("plain", "m", "m", "plain", "Show texts as they were written, or Markdown and LaTeX set.", ("run",), 17),
    Action(
        "unfold",
        "u",
        "u",
        "unfold",
        "Show thoughts and calls of tools whole, or on one line.",
        ("run",),
        18,
    ),
    Action("narrow_side", "greater_than_sign", ">", "tree", "Give the tree more room than the panels.", ("run",), 19),
    Action("widen_side", "less_than_sign", "<", "panels", "Give the panels more room than the tree.", ("run",), 20),
    Action("grow_path", "full_stop", ".", "larger path", "Give the panel of the path more room.", ("run",)),
    Action("shrink_path", "comma", ",", "smaller path", "Give the panel of the path less room.", ("run",)),
    Action("open_run", "enter", "enter", "open", "Open the selected run with its tree.", ("history",), 1),
    Action("replay_run", "f6", "F6", "replay", "Replay the selected run step by step.", ("history",), 2),
    Action("rerun_run", "f2", "F2", "again", "Go home with the selected run's question and settings.", ("history",), 3),
    Action("delete_run", "f8", "F8", "delete", "Delete the selected run.", ("history",), 4),
    Action("open_item", "enter", "enter", "open", "Open the selected item with its tree.", ("batch",), 1),
    Action("retry_cut", "r", "r", "retry cut", "Do the items again that a limit cut with no answer.", ("batch",), 2),
    Action("stop_batch", "x", "x", "stop", "Finish the items in flight and stop; again: stop at once.", ("batch",), 3),
    Action("other_folder", "f2", "F2", "folder", "Look at another folder.", ("batch",), 4),
    Action("open_side", "enter", "enter", "open", "Open the selected side on the whole screen.", ("compare",), 4),
    Action("go_back", "escape", "esc", "back", "Go back; a search in progress goes on.", EVERYWHERE[1:], 40),
    Action("help", "f1", "F1", "help", "Explain this screen and the selected part of it.", EVERYWHERE, 41),
    Action("console", "f9", "F9", "log", "Show what the program and the models reported.", EVERYWHERE, 30),
    Action("quit", "ctrl+q", "^q", "quit", "Stop what runs, save it and leave.", EVERYWHERE, 42, True),
    Action(
        "interrupt",
        COPY_KEY,
        "^c",
        "stop or quit",
        "Stop the search; without one, pressed twice, quit.",
        EVERYWHERE,
        priority=True,
    ),
)


def actions_of(screen: str, actions: Sequence[Action] = ACTIONS) -> Iterator[Action]:
    """Yield the actions of a screen in the order of the footer; those that it leaves out come last."""
    yield from sorted((each for each in actions if screen in each.screens), key=lambda each: each.rank or 99)


def bindings(screen: str) -> list[BindingType]:
    """Return the keys of a screen; those that work on every screen belong to "app"."""
    return [
        Binding(
            each.keys,
            each.id,
            each.title,
            show=False,
            key_display=each.sign,
            priority=each.priority,
            id=f"{screen}.{each.id}",
        )
        for each in ACTIONS
        if screen in each.scopes
    ]
