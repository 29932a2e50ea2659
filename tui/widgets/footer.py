"""Footer: the keys of the actions that are possible now, as far as there is room."""

from __future__ import annotations

from collections.abc import Iterator

from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from ..common.actions import Action, actions_of
from ..common.program import program_of

LAST = ("go_back", "help", "quit")
"""Actions that are always shown, at the end."""
NARROW = 100
"""Columns below which the keys stand closer to each other."""


class ActionFooter(Widget):
    """One line of keys, made from the action registry; a click is the same as the key."""

    def __init__(self, area: str) -> None:
        super().__init__(id="footer")
        self._area = area

    def render(self) -> RenderResult:
        """Return the keys of those actions that can be taken now."""
        parts = [" "]
        styled: list[str | tuple[str, str]] = [*parts]
        for action, title in self._shown():
            styled += [(action.sign, "bold $accent"), (f" {title}", "$foreground 75%"), " " * self._gap]
        return Content.assemble(*styled)

    async def on_click(self, event: events.Click) -> None:
        """Do the action of the clicked key."""
        at = 1
        for action, title in self._shown():
            end = at + len(action.sign) + 1 + len(title)
            if at <= event.x < end:
                await self.screen.run_action(self.target(action))
                return
            at = end + self._gap

    def target(self, action: Action) -> str:
        """Return the action in Textual's spelling: the screen's own, else the program's."""
        return f"{'screen' if hasattr(self.screen, f'action_{action.id}') else 'app'}.{action.id}"

    def _shown(self) -> Iterator[tuple[Action, str]]:
        able = [each for each in actions_of(self._area, program_of(self).actions) if each.rank and self._enabled(each)]
        titles, gap = {each.id: self._title(each) for each in able}, self._gap
        widths = {each.id: len(each.sign) + 1 + len(titles[each.id]) + gap for each in able}
        room = self.size.width - 1 - sum(widths[each.id] for each in able if each.id in LAST) + gap
        for action in able:
            if action.id not in LAST:
                room -= widths[action.id]
                if room < 0:
                    break
                yield action, titles[action.id]
        for action in able:
            if action.id in LAST:
                yield action, titles[action.id]

    @property
    def _gap(self) -> int:
        return 3 if self.size.width >= NARROW else 2

    def _enabled(self, action: Action) -> bool:
        return self.screen.check_action(action.id, ()) is True

    def _title(self, action: Action) -> str:
        naming = getattr(self.screen, "title_of", None)
        return action.title if naming is None else naming(action)
