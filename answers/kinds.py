"""Kinds of answers, and the guess of the kind from a question or from finished texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum, auto


class AnswerKind(StrEnum):
    """Kind of the answer to a question: a statement of the text, or a part of the text itself."""

    BOX = auto()
    r"""A marked answer: `\boxed{}`, `####`, "the answer is" and the like."""
    NUMBER = auto()
    """A marked answer; where no finished text marks one, the last number of the text, as a last resort."""
    CHOICE = auto()
    """The letter of an option."""
    LINE = auto()
    """The last line of the text."""
    CODE = auto()
    """A block of code in the text: the last that defines something, else the longest."""
    PROGRAM = auto()
    """The same in Python; programs are equal that return the same."""
    JSON = auto()
    """A JSON value: after a mark where a schema is given, else the last object or list of the text."""
    TEXT = auto()
    """The whole text."""

    @property
    def votes(self) -> bool:
        """True if equal answers of this kind add up; of texts and code one is selected instead."""
        return self not in (AnswerKind.CODE, AnswerKind.TEXT)

    @property
    def is_marked(self) -> bool:
        """True if models are asked to mark such answers, and may go on after them."""
        return self in (AnswerKind.BOX, AnswerKind.NUMBER, AnswerKind.CHOICE)

    @property
    def description(self) -> str:
        """The kind in words, with its article."""
        return _TITLES[self]


_TITLES = {
    AnswerKind.BOX: "the marked one",
    AnswerKind.NUMBER: "a number",
    AnswerKind.CHOICE: "the letter of an option",
    AnswerKind.LINE: "the last line",
    AnswerKind.CODE: "a block of code",
    AnswerKind.PROGRAM: "a program",
    AnswerKind.JSON: "a JSON value",
    AnswerKind.TEXT: "the whole text",
}

_SEEN = 2000
"""Characters at the begin and at the end of a question by which its kind is guessed."""

_POLITE = (
    r"(?:(?:please|kindly|now|then|hi|hello|hey|and|so|first|can you|could you|would you|will you|i want you to|"
    r"i need you to|i'd like you to|help me(?: to)?|your task is to|you are asked to|let's)\b[\s,!:.]*)*"
)
_BEGIN = rf"(?:\A|[.!?:]\s+|\n)[ \t>*#\-]*{_POLITE}"
"""Begin of a sentence or line, with the polite words before its verb."""
_LANGUAGES = (
    r"(?:python|java|javascript|js|typescript|c\+\+|c#|c|rust|go|golang|ruby|php|swift|kotlin|haskell|sql|bash|shell|"
    r"html|css|perl|scala|lua|julia|matlab|assembly|powershell|react|numpy|pandas|regex)"
)
_CODE = re.compile(
    rf"{_BEGIN}(?:write|implement|create|complete|code|program|develop|build|fix|debug|refactor|optimi[sz]e|generate|"
    r"give me|show me|make|design|provide)\b(?:"
    rf"[^\n.?!]{{0,80}}\b(?:in|using|with)\s+{_LANGUAGES}(?![\w+#])(?!\s+(?:and|or)\b)"
    rf"|(?:\s+\S+){{0,6}}?\s+{_LANGUAGES}(?:\s+\w+){{0,2}}?\s+"
    r"(?:function|method|class|program|script|code|snippet|query|module|one-liner|statement|decorator|generator|page)\b"
    r"|(?:\s+\S+){0,5}?\s+(?:script|program|code|snippet|regular expression|unit tests?|sql query)\b(?!\s+words?\b)"
    r"|(?:\s+\S+){0,5}?\s+(?:function|method|class|algorithm)\s+(?:called\s+|named\s+)?"
    r"(?:`|\w+\(|\w+_\w+|(?:that|which|to)\s+(?:takes?|accepts?|returns?|checks?|computes?|calculates?|sorts?|reverses?"
    r"|prints?|finds?|counts?|converts?|reads?|parses?|removes?|merges?|generates?|determines?|validates?)\b)"
    r")"
    r"|\A\s*(?:```\w*\s*\n)?(?:from\s+[\w.]+\s+import\s|import\s+[\w.]+\s*(?:\n|;|as\b)|(?:async\s+)?def\s+\w+\s*\(|"
    r"class\s+\w+\s*[:({]|\#include\s*[<\"]|(?:public|private|static)\s+\w+|fn\s+\w+\s*[(<]|func\s+\w+\s*\(|"
    r"function\s+\w+\s*\(|const\s+\w+\s*=|package\s+\w+|@\w+)",
    re.IGNORECASE,
)
_WORKS = (
    r"(?:story|stories|poem|essay|letter|e-?mail|paragraphs?|summary|article|blog post|post|tweet|song|haiku|limerick|"
    r"speech|dialogue|conversation|description|review|report|message|introduction|conclusion|abstract|headline|recipe|"
    r"joke|biography|caption|slogan|ad|advertisement|product description|scene|script for|cover letter|note|outline|"
    r"plan|itinerary|translation|explanation|definition|sentences?|fairy tale|fable|lullaby|rap|sonnet)"
)
_TEXT_REQUEST = (
    r"(?:(?:summari[sz]e|paraphrase|rephrase|proofread|compose|draft|tl;?dr|outline|brainstorm)\b"
    r"|translate\b(?:[^\n]{0,200}?\b(?:to|into|from)\s+(?:[a-z]+\s+)?[A-Z]|\s+(?:this|the\s+following|the)\s+"
    r"(?:sentence|text|paragraph|word|phrase|passage|line|message)|\s*:)"
    r"|rewrite\b(?!\s+(?:the\s+)?(?:expression|equation|fraction|number|polynomial|\$|\\))"
    rf"|(?:write|tell|give|create|generate|make|invent|continue|finish)\b(?:\s+[\w'-]+){{0,7}}?\s+{_WORKS}\b"
    r"|(?:explain|describe|discuss|elaborate|comment\s+on|tell\s+me\s+(?:about|how|why|what))\b"
    r"|(?:correct|fix|improve|check)\s+(?:the\s+|my\s+|this\s+)?(?:\w+\s+)?(?:grammar|spelling|text|sentence|essay|"
    r"paragraph|wording|style)\b"
    r"|(?:give|list|name|suggest)\s+(?:me\s+)?(?:(?:two|three|four|five|six|ten|\d+)\s+)?(?:some|several|a\s+few|the\s+pros|reasons|ideas|tips|advice|ways|steps)\b"
    r")"
)
_TEXT_FIRST = re.compile(rf"\A[\s>*#\-]*{_POLITE}{_TEXT_REQUEST}", re.IGNORECASE)
_TEXT_LAST = re.compile(rf"{_BEGIN}{_TEXT_REQUEST}[^\n]*\Z", re.IGNORECASE)
_NUMBER = re.compile(
    r"\bhow\s+(?:many|much|old|far|long|tall|fast|often|heavy|big|large|high|deep|wide|hot|cold|late)\b"
    r"|\b(?:what|find|determine|compute|calculate|give)\b[^.?!\n]{0,40}?\b(?:total|sum|difference|product|number|amount|"
    r"average|mean|median|probability|percent\w*|price|cost|value|area|volume|perimeter|circumference|length|width|"
    r"height|distance|speed|age|weight|ratio|remainder|quotient|profit|salary|interest|temperature|year)\b"
    r"|\b(?:calculate|compute|evaluate|solve\s+for)\b"
    r"|\bwhat(?:\s+is|'s)\s+(?:\$|\\\(|-|\()*\d"
    r"|(?<![\w^.,\\])\d[\d.,]*\s*[-+*/\u00d7\u00f7]\s*\d[\d.,]*(?![\w^(\\])",
    re.IGNORECASE,
)
_OPTION_LINE = re.compile(r"^[ \t]*(?:[-*][ \t]+)?(?:\*\*)?\(?([A-J])[).:\]](?:\*\*)?[ \t]*(\S[^\n]*)$", re.MULTILINE)
_INLINE_OPTION = re.compile(
    r"(?<![\w$\\])(?:\(([A-J])\)|([A-J])[).:])\s+(?=\S)(.{1,200}?)(?=[\s,;]+(?:\([A-J]\)|[A-J][).:])\s|\s*$)", re.DOTALL
)
_LEAST_OPTIONS = {"lines": 2, "inline": 3}


def options_of(question: str) -> dict[str, str]:
    """Return the text of each option that a question offers, by its letter; {} if it offers none.

    Options begin with A and stand on lines of their own, two or more, or three or more in one line.
    """
    for found, least in (
        ([(each[1], each[2]) for each in _OPTION_LINE.finditer(question)], _LEAST_OPTIONS["lines"]),
        ([(each[1] or each[2], each[3]) for each in _INLINE_OPTION.finditer(question)], _LEAST_OPTIONS["inline"]),
    ):
        options = _in_order(found)
        if len(options) >= least:
            return options
    return {}


def _in_order(found: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the last run of letters that begins with A and goes on without a gap."""
    options = dict[str, str]()
    for letter, text in found:
        if letter == "A":
            options = {"A": _first_line(text)}
        elif options and ord(letter) == ord("A") + len(options):
            options[letter] = _first_line(text)
    return options


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def guess_kind(question: str) -> AnswerKind | None:
    """Return the kind of answer that a question asks for, None if it does not tell.

    A request to write code or a text counts where it begins the question; that for a text also in its last line.
    """
    first, last = question[:_SEEN].strip(), question[-_SEEN:].strip()
    if len(options_of(first + ("\n" + last if len(question) > _SEEN else ""))) > 1:
        return AnswerKind.CHOICE
    if _CODE.search(first):
        return AnswerKind.CODE
    if _TEXT_FIRST.match(first):
        return AnswerKind.TEXT
    if _NUMBER.search(first) or _NUMBER.search(last):
        return AnswerKind.NUMBER
    return AnswerKind.TEXT if _TEXT_LAST.search(last.rpartition("\n\n")[2]) else None


_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([^\n`]*)$", re.MULTILINE)
_CODE_BEGIN = re.compile(
    r"\s*(?:(?:async\s+)?def\s+\w+\s*\(|class\s+\w+.*[:{]\s*$|import\s+\w|from\s+[\w.]+\s+import\s|\#include\b|\#!|"
    r"print\(|(?:public|private|static)\s|(?:fn|func|function)\s+\w+\s*\(|(?:const|let|var)\s+\w+\s*=|SELECT\s)"
)
"""Begin of a text that is code without a fence."""
_CODE_LINE = re.compile(
    rf"{_CODE_BEGIN.pattern}|\s*(?:return\b|(?:for|while|if|elif|else|try|except|with)\b.*:\s*$|[A-Za-z_][\w.\[\]]*\s*="
    r"\s*\S|\w[\w.]*\(.*\)\s*$|.*[;{}]\s*$|\#|//)"
)
_DEFINITION = re.compile(r"^[ \t]*(?:(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(|class[ \t]+\w+[ \t]*[:(])", re.MULTILINE)
SHORT_LINE_WORDS = 12
"""Most words of a text of one line that is taken for an answer as it stands."""


def code_in(text: str, *, closed: bool = False) -> str | None:
    """Return the block of code that a text gives; None if there is none.

    It is the last block that defines a function or a class in Python, else the longest one, the first of equals. A
    fence that is left open goes to the end of the text, unless `closed` asks for complete blocks. A text without fences
    that begins like code, and all of whose lines look like it, is code.
    """
    blocks = list[str]()
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence
        elif fence[1].startswith(opening[1]) and not fence[2].strip():
            blocks.append(text[opening.end() + 1 : fence.start()])
            opening = None
    if opening is not None and not closed:
        blocks.append(text[opening.end() + 1 :])
    if not blocks and not closed and opening is None:
        lines = [line for line in text.splitlines() if line.strip()]
        if lines and _CODE_BEGIN.match(lines[0]) and all(_is_code(line) for line in lines):
            blocks.append(text)
    defining = [block for block in blocks if _DEFINITION.search(block)]
    found = max((block.strip("\n").rstrip() for block in defining[-1:] or blocks), key=len, default="")
    return found or None


def _is_code(line: str) -> bool:
    return line[:1] in " \t)}]@#\"'" or _CODE_LINE.match(line) is not None


def kind_of_texts(texts: Sequence[str]) -> AnswerKind:
    """Return the kind of the answers in finished texts that mark none: code, a short line, or the whole text.

    More than half of the texts must agree: half of the text is a block of code, or all of it is one short line.
    """
    texts = [text.strip() for text in texts if text.strip()]
    code = sum(2 * len(code_in(text) or "") >= len(text) for text in texts)
    if 2 * code > len(texts):
        return AnswerKind.CODE
    lines = sum("\n" not in text and len(text.split()) <= SHORT_LINE_WORDS for text in texts)
    return AnswerKind.LINE if 2 * lines > len(texts) else AnswerKind.TEXT


_ARTICLE = re.compile(r"\A(?:an?|the) (?=\S)")


def letter_of(text: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of the one option whose text is `text`, articles aside; None if there is none or several."""
    wanted = _bare(text)
    found = [letter for letter, option in options.items() if wanted and _bare(option) == wanted]
    return found[0] if len(found) == 1 else None


def only_option_in(text: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of the one option whose text occurs among the words of `text`, None if none or several do."""
    words = f" {_plain(text)} "
    found = [letter for letter, option in options.items() if (plain := _plain(option)) and f" {plain} " in words]
    return found[0] if len(found) == 1 else None


def _bare(text: str) -> str:
    return _ARTICLE.sub("", _plain(text))


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s.+-]", " ", text.casefold()).replace(". ", " ").split()).strip(" .")
