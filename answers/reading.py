"""Reading of the answers to one question: its kind, whether that is settled, and the answer of each text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .answer_forms import AnswerForm, answer_form
from .extract import extract_answer, last_number
from .kinds import AnswerKind, code_in, guess_kind, kind_of_texts, letter_of, only_option_in, options_of
from .normal_forms import normalise, unwrap
from .schemas import value_in
from .thoughts import ThoughtMarks

AUTO = "auto"
"""In place of a kind that a user names: left to the prompt, the question and the texts."""

_LETTER = re.compile(r"\W*(?:(?:option|choice|answer)\s+)?\W*([A-J])(?:\W*|[).:\]]\**\s.*)", re.IGNORECASE | re.DOTALL)
_NAMED_LETTER = re.compile(
    r"\b(?i:answer|option|choice)\b(?:\s+(?i:is))?[\s:*(\[]*(?<![A-Za-z])([A-J](?=[\s).,:;*\]]|$)|[a-j](?=[).:*\]]|\s*$))",
    re.MULTILINE,
)
"""A letter after such a word; a small one only where no text follows, as in "the best choice is a heat pump"."""
_CHOSEN = re.compile(
    r"\b(?i:correct|right|best|final)\s+(?i:answer|option|choice)\s*(?:(?i:is)|:)[\s:*(\[]*(?:(?i:option|choice)\b[\s*(\[]+)?"
    r"([A-J])(?=[).,:;*\]]|\s|$)"
    r"|\b(?i:option|choice)\s+[*(\[]*([A-J])[*)\]]*(?:\s*\([^()]*\))?\s+(?i:is\s+(?:the\s+)?(?:correct|right|best))\b"
)
"""A letter that a text calls the right one."""
_REFUSED = re.compile(
    r"[*)\]:]*(?:\s*\([^()]*\))?\s+(?:is|are|was|does|has|can)\s*"
    r"(?:not\b|n't|in(?:correct|valid|complete|sufficient|accurate|appropriate|consistent)\b|wrong|false)",
    re.IGNORECASE,
)
"""What follows a letter that a text calls wrong."""
_DECIDES = re.compile(
    r"\b(?:choose|pick|select|go with|supports?|so|thus|therefore|hence|but|however|instead)\b[^.!?\n]*\Z",
    re.IGNORECASE,
)
"""What stands in the same sentence before a letter for which a text decides."""
_LETTER_AND_TEXT = re.compile(r"\W*([A-J])\s*(?:,|[-–—])\s+(.+)", re.DOTALL)
_LABEL = re.compile(r"\A\W*(?:(?:final|short)\s+)?(?:answer|output|result|translation)\s*:\W*(?=\w)", re.IGNORECASE)
_ENDS = 400
"""Characters at the end of a text in which an option may be named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerReading:
    """Kind and choice of the answer of a run.

    `guessed` tells that nobody named the kind, and `last_resort` that no finished text marked its answer, so that the
    last number of each was taken. `chosen_by` names the rule that chose among the answers: a vote (majority or
    weighted), the best score ("best"), or the highest mean similarity to the other texts ("medoid").
    """

    kind: AnswerKind
    guessed: bool
    last_resort: bool
    chosen_by: str

    @property
    def title(self) -> str:
        """The kind in words, and whether it was guessed; a marked answer is no guess."""
        return f"{self.kind.description}{' (guessed)' if self.guessed and self.kind is not AnswerKind.BOX else ''}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**asdict(self), "kind": str(self.kind)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AnswerReading:
        """Rebuild a reading from `to_dict()`."""
        rest = {name: value for name, value in data.items() if name != "kind"}
        return cls(kind=AnswerKind(data["kind"]), **rest)


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Reader of the answers to one question.

    `guessed` tells that nobody named the kind. A kind that is `open` is BOX until finished texts turn out to mark no
    answer. `last_resort` takes the last number of a text that marks none. `options` are the texts of the question's
    options by letter. `form` has the rule that finds the answer, if there is one. Of the texts of a model that thinks,
    whose marks are `thoughts`, only the replies are read.
    """

    kind: AnswerKind = AnswerKind.BOX
    guessed: bool = False
    open: bool = False
    last_resort: bool = False
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    form: AnswerForm | None = None
    thoughts: ThoughtMarks | None = None

    @classmethod
    def of(cls, question: str, asked: str = AUTO, prompt: str | None = None) -> AnswerReader:
        """Return the reader for a question.

        `asked` is the form that the user named (see `answer_form`) or AUTO, and `prompt` the form that the prompt asks
        for, None if it suits any.

        Raises:
            UsageError: if there is no such form.
        """
        named = prompt if asked == AUTO else asked
        if named is not None:
            form = answer_form(named)
            options = options_of(question) if form.kind is AnswerKind.CHOICE else {}
            return cls(
                form.kind,
                options=options or dict.fromkeys(form.letters, ""),
                form=form if form.has_rule else None,
            )
        kind = guess_kind(question)
        if kind is None:
            return cls(guessed=True, open=True)
        return cls(kind, guessed=True, options=options_of(question) if kind is AnswerKind.CHOICE else {})

    @property
    def takes_any_text(self) -> bool:
        """True if a finished text that marks no answer may be read in another way at the end."""
        return self.guessed or self.kind is AnswerKind.NUMBER

    def reading(self, chosen_by: str) -> AnswerReading:
        """Return how the answers were read, for a solution."""
        return AnswerReading(kind=self.kind, guessed=self.guessed, last_resort=self.last_resort, chosen_by=chosen_by)

    def read(self, text: str) -> str | None:
        """Return the answer of a finished text, None if it has none."""
        text = self._reply(text)
        if self.form is not None:
            return self.form.find(text)
        match self.kind:
            case AnswerKind.BOX | AnswerKind.NUMBER:
                return extract_answer(text) or (last_number(text) if self.last_resort else None)
            case AnswerKind.CHOICE:
                return self._letter(text)
            case AnswerKind.LINE:
                return _last_line(text)
            case AnswerKind.CODE | AnswerKind.PROGRAM:
                return code_in(text)
            case AnswerKind.JSON:
                return value_in(text)
            case AnswerKind.TEXT:
                return text.strip() or None

    def read_unfinished(self, text: str) -> str | None:
        """Return the last complete answer of a text that was cut, None if it has none.

        An answer that more text could change, such as a number at the very end, is not complete.
        """
        text = self._reply(text)
        if self.form is not None:
            answer = self.form.find(text)
            return answer if answer == self.form.find(f"{text}0") else None
        match self.kind:
            case AnswerKind.LINE | AnswerKind.TEXT:
                return None
            case AnswerKind.CODE | AnswerKind.PROGRAM:
                return code_in(text, closed=True)
            case AnswerKind.JSON:
                answer = value_in(text)
                return answer if answer is not None and answer[-1] in "}]" else None
            case _:
                answer = extract_answer(text)
                if answer is not None and extract_answer(f"{text}0") != answer:
                    answer = extract_answer(text.rpartition("\n")[0])
                return answer if answer is None or self.kind is not AnswerKind.CHOICE else self._as_letter(answer)

    def settled(self, texts: Sequence[str]) -> AnswerReader | None:
        """Return the reader for finished texts in which this one finds no answer; None if there is no other one.

        A question for a number takes the last number of a text. A guessed kind gives way to the kind of the texts.
        """
        texts = [reply for text in texts if (reply := self._reply(text)).strip()]
        plain = replace(self, thoughts=None)
        if not texts or any(plain.read(text) is not None for text in texts):
            return None
        if self.kind is AnswerKind.NUMBER and any(last_number(text) is not None for text in texts):
            return replace(self, last_resort=True)
        return replace(self, kind=kind_of_texts(texts), open=False) if self.guessed else None

    def _reply(self, text: str) -> str:
        return text if self.thoughts is None else self.thoughts.reply(text)

    def _letter(self, text: str) -> str | None:
        marked = extract_answer(text)
        if marked is not None:
            return self._as_letter(marked)
        line = _last_line(text)
        if line is None:
            return None
        letter = _LETTER.fullmatch(line)
        if letter is None:
            if (chosen := self._chosen_letter(text)) is not None:
                return chosen
            letter = _LETTER.fullmatch(text.strip().partition("\n")[0])
        found = None if letter is None else letter[1].upper()
        return found if found is not None and self._offers(found) else only_option_in(line, self.options)

    def _chosen_letter(self, text: str) -> str | None:
        """Return the letter that a text names last and does not call wrong, None if there is none.

        One that it calls right counts wherever it stands, unless it decides for another later on.
        """
        called = [each for each in _CHOSEN.finditer(text) if _REFUSED.match(text, each.end()) is None]
        start = max(called[-1].end() if called else 0, len(text) - _ENDS)
        named = [each for each in _NAMED_LETTER.finditer(text, start) if _REFUSED.match(text, each.end()) is None]
        if called:
            named = [each for each in named if _DECIDES.search(text[max(start, each.start() - 200) : each.start()])]
        found = [*called[-1:], *named[-1:]]
        letter = (found[-1][1] or found[-1][2]).upper() if found else None
        return letter if letter is not None and self._offers(letter) else None

    def _as_letter(self, answer: str) -> str:
        """Return the letter that a marked answer begins with, or that of the option that it is; else the answer."""
        letter = _LETTER.fullmatch(answer) or _LETTER.fullmatch(normalise(answer))
        if letter is not None and self._offers(letter[1].upper()):
            return letter[1].upper()
        both = _LETTER_AND_TEXT.fullmatch(answer)
        if both is not None and letter_of(both[2], self.options) == both[1]:
            return both[1]
        return letter_of(answer, self.options) or answer

    def _offers(self, letter: str) -> bool:
        return not self.options or letter in self.options


def _last_line(text: str) -> str | None:
    line = text.strip().rpartition("\n")[2]
    label = _LABEL.match(line)
    return unwrap(line if label is None else line[label.end() :]) or None
