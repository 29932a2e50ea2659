"""Keys that the user has chosen: their check, and the action registry with them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from ramify.errors import UsageError
from ramify.text import did_you_mean

from .actions import ACTIONS, Action

MODIFIERS = ("ctrl", "shift", "alt", "super", "hyper", "meta")
_SHORT = {"escape": "esc", "delete": "del"}
_FIELDS = {"home": "TextArea", "history": "Input"}
"""Screens on which a text field has the focus, and its kind."""
_TREES = ("run", "compare")
"""Screens on which the tree has the focus."""
_LISTS = ("batch",)
"""Screens on which a list has the focus."""
TREE_KEYS = ("up", "k", "down", "j", "pageup", "pagedown", "home", "end", "left", "right")
"""Keys that move in the tree."""
_EXAMPLES = "write one such as s, f10, ctrl+r or space"
_FREE = "give it a function key such as f10, or one with ctrl"


def remapped(keys: Mapping[str, str | Sequence[str]]) -> tuple[Action, ...]:
    """Return the registry with these keys, by the actions' ids; actions that are left out keep theirs.

    Raises:
        UsageError: if there is no such action or key, a text field and an action would take the same key from each
            other, or two actions of one screen have the same key.
    """
    known = {action.id: action for action in ACTIONS}
    for name in keys:
        if name not in known:
            hint = did_you_mean(name, known, f"the actions are {', '.join(sorted(known))}")
            raise UsageError(f"there is no action {name!r}", hint)
    actions = tuple(_with_keys(each, keys[each.id]) if each.id in keys else each for each in ACTIONS)
    _check_clashes(actions, keys)
    return actions


def keymap_of(actions: Sequence[Action]) -> dict[str, str]:
    """Return the keys by the ids of the bindings, in Textual's form."""
    return {binding: action.keys for action in actions for binding in action.bindings}


def _with_keys(action: Action, wanted: str | Sequence[str]) -> Action:
    names = [_key(action.id, text) for text in ([wanted] if isinstance(wanted, str) else wanted)]
    if not names:
        raise UsageError(f"{action.id} has no key", _EXAMPLES)
    for name in names:
        if conflict := _conflict_with_text(action, name):
            raise UsageError(f"{action.id} cannot have the key {name!r}, which {conflict}", _FREE)
    return replace(action, keys=",".join(names), sign=sign_of(names[0]))


def _conflict_with_text(action: Action, key: str) -> str:
    """Return why an action cannot have a key on screens with a text field, "" if it can."""
    if action.priority:
        return "would never reach a text field" if _writes(key) else ""
    if key in TREE_KEYS and not set(action.screens).isdisjoint(_TREES):
        return "the tree takes first"
    if key in _bound("OptionList") - {"enter"} and not set(action.screens).isdisjoint(_LISTS):
        return "the list takes first"
    fields = [screen for screen in action.screens if screen in _FIELDS]
    taken = any(_writes(key) or key in _bound(_FIELDS[screen]) for screen in fields)
    return "the text field takes first" if taken else ""


@cache
def _bound(widget: str) -> frozenset[str]:
    """Return the keys that a widget of Textual takes itself."""
    from textual import widgets
    from textual.binding import Binding

    return frozenset(each.key for each in Binding.make_bindings(getattr(widgets, widget).BINDINGS))


def _key(action: str, text: str) -> str:
    """Return Textual's name of a key that the user wrote by its name or as its character."""
    *modifiers, name = [text] if text == "+" else text.split("+")
    name = name if len(name) == 1 and not modifiers else name.lower()
    if set(modifiers) <= set(MODIFIERS):
        if len(name) == 1 and name.isprintable():
            return "+".join([*modifiers, name if name.isalnum() else _name_of(name)])
        if _is_key(name):
            return "+".join([*modifiers, name])
    raise UsageError(f"{action} cannot have the key {text!r}; there is none of this name", _EXAMPLES)


def _name_of(character: str) -> str:
    from textual.keys import KEY_NAME_REPLACEMENTS

    name = unicodedata.name(character).lower().replace("-", "_").replace(" ", "_")
    return KEY_NAME_REPLACEMENTS.get(name, name)


def _is_key(name: str) -> bool:
    from textual.keys import Keys

    return re.fullmatch(r"f([1-9]|1\d|2[0-4])", name) is not None or name in set(Keys) or _character(name) is not None


def _character(name: str) -> str | None:
    """Return the character that a key of this name writes, None for keys that write nothing."""
    from textual.keys import format_key

    shown = " " if name == "space" else format_key(name)
    return shown if len(shown) == 1 and shown.isascii() else None


def _writes(key: str) -> bool:
    return "+" not in key and _character(key) is not None


def sign_of(key: str) -> str:
    """Return how a key is shown: `F7`, `^r`, `esc`, `[`."""
    *modifiers, name = key.split("+")
    character = _character(name)
    shown = name if character is None or name == "space" else character
    shown = _SHORT.get(shown, shown.upper() if re.fullmatch(r"f\d+", name) else shown)
    return f"^{shown}" if modifiers == ["ctrl"] else "+".join([*modifiers, shown])


def _check_clashes(actions: Sequence[Action], changed: Mapping[str, object]) -> None:
    taken = dict[tuple[str, str], Action]()
    # Those that the user set come last, so that the message is about one of them.
    for action in sorted(actions, key=lambda each: each.id in changed):
        for place in ((screen, key) for screen in action.screens for key in action.keys.split(",")):
            other = taken.setdefault(place, action)
            if other is not action:
                screen, key = place
                raise UsageError(
                    f"{action.id} cannot have the key {key!r}, which is that of {other.id} on the {screen} screen",
                    "give one of them another key",
                )
