r"""Extraction of the final answer from generated text.

These forms mark an answer: `\boxed{...}`, `<answer>...</answer>`, `#### ...`, "the answer is ..." and its variants, the
labels `Answer:` and `Final Answer` (also as a heading), and a line `A: ...`. The one that starts last in the text
counts, of any form; text after a new "Question:" belongs to another problem. A heading, the line of an option
("A: Venus" above "B: Mars") and "the answer is found by ..." are no answers. All scans are linear in the length of the
text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .normal_forms import unwrap

_LONGEST = 4096
"""Characters after a mark among which its answer is looked for."""

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\(?:boxed|fbox)[ \t]*(?![ \t{A-Za-z])(?P<content>[^\s{}$]+)|\\boxed[ \t]+(?P<letter>\w+)")
_MARKS = re.compile(
    r"(?<!\#)\#{4}(?!\#)(?P<hashes>)"
    r"|<answer>(?P<tag>)"
    r"|\b(?i:answer)(?:\s+to\s+(?i:the|this|your)(?:\s+\w+){1,3}?)?"
    r"\s+(?i:is|was|equals|(?:would|will|should|must)\s+be|turns\s+out\s+to\s+be|comes\s+(?:out\s+)?to)\b(?:\s*:)?(?P<phrase>)"
    r"|\b(?:Answer|ANSWER|(?<=[Ff]inal )answer|(?<=FINAL )ANSWER|(?<=[Tt]he )answer)(?:\*\*|__|</b>)?\s*"
    r"(?P<label>[:：=]|(?=\n))(?:\*\*|__|</b>)?"
    r"|^[ \t]*(?:\*\*)?A:(?P<line>)",
    re.MULTILINE,
)
_NEXT_PROBLEM = re.compile(
    r"^[ \t]*(?:\*\*|\#{1,6}[ \t]*)?(?:Question|QUESTION|Q|Problem|Exercise|Instruction|User|Human)"
    r"(?:[ \t]*\d+)?[ \t]*:",
    re.MULTILINE,
)
_SPECIAL_TOKEN = re.compile(r"<\|[^|<>\n]{1,40}\|>|</s>|<eos>|<end_of_turn>|</answer>")
_DISPLAYS = {"$$": "$$", r"\[": r"\]", r"\(": r"\)", "$": "$", "```": "```"}
_DISPLAY = re.compile(r"(?:```\w*|\$\$?|\\\[|\\\()[ \t]*\n")
_BULLET = re.compile(r"(?:[-*•]|\d+\.)[ \t]+(?=\S)")

_QUOTE_END = re.compile(r"[.!?]?([\"”])\s*\Z(?<=[.!?][\"”])")
_SINGLE_QUOTED = re.compile(r"\s*['‘]([^'‘’]+?)[.!?]?['’]\s*")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_TITLES = frozenset("St Mr Mrs Ms Dr Mt Ft Prof Jr Sr No vs approx Fig Eq".split())
_UNITS = frozenset("ft in lb lbs oz hr hrs min sec yd mi cm mm km pt qt gal sq cu".split())
_LAST_WORD = re.compile(r"(?:\b[A-Za-z]\.){1,4}[A-Za-z]$|[A-Za-z]+$")

_HEDGE = re.compile(
    r"(?:[:=≈]|\\approx\b|(?:approximately|about|roughly|around|nearly|exactly|simply|just|therefore|thus|hence|then|"
    r"indeed|actually|now|also|equal\s+to|equals|given\s+by|as\s+follows|the\s+following)\b(?:[,:]|(?=[\s$\\*])))\s*",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(
    r"(?:found|obtained|calculated|computed|determined|derived|reached|given|gotten|got|achieved|shown|explained|"
    r"based|not|never|to|in|by|that|what|where|when|because|already|still|being|going|supposed|expected|asked|"
    r"represented|rounded|known|unknown|required|needed|left|written|expressed|checked|verified)\b"
    r"(?!\s*(?:$|[-.,;:]))",
    re.IGNORECASE,
)
_REMARK = re.compile(
    r"(?:(?:indeed|clearly|therefore|thus|also)\s+)?(?:correct|incorrect|right|wrong|valid|reasonable|consistent|clear|"
    r"obvious|straightforward|simple|positive|negative|the\s+same|as\s+expected|plausible|verified|confirmed|unique)\b",
    re.IGNORECASE,
)
_CHOICE = re.compile(
    r"(?:(?:the\s+)?(?:option|choice|letter)\s+)?(?:\*\*)?"
    r"(?:\((?P<round>[A-J])\)|(?P<marked>[A-J])(?:[):]|\.(?!\s+[A-Z]\.))(?=\s))(?:\*\*)?\s+"
    r"(?=[^\s,;&(+*/=-]).",
    re.DOTALL,
)
_OPTION = re.compile(r"(?:the\s+)?(?:option|choice|letter)\s+(?:\*\*)?\(?(?P<letter>[A-J])\)?(?=\W|$)", re.IGNORECASE)
_CLAUSE = re.compile(
    r",\s+(?:which|as|since|because|so|where|in|the|this|that|not|but|making|rounded|assuming|meaning|i\.e)\b"
    r"|\s+(?:because|since|which|as\s+(?:it|the|we|required|shown|there))\b"
)
_SUM = re.compile(r"(?=.*\d\W*[-+*/×÷·^\\])(?:[\d\s.,+\-*/×÷·()^$]|\\(?:times|cdot|div|\(|\$))+", re.DOTALL)
_DOLLAR = re.compile(r"(?<!\\)\$")
_FIRST_NUMBER = re.compile(r"[-+]?\\?\$?\d[\d,]*(?:\.\d+)?|[-+]?\.\d+")
_NUMBER_AND_REMARK = re.compile(
    r"(?P<number>[-+$€£]{0,2}\d[\d,]*(?:\.\d+)?%?)\s+"
    r"\((?![^()]*\b(?:mod|base|hundred|thousand|million|billion|dozen|percent)|[^()]*[-+*/^=]|(?i:am|pm|pi|sqrt))"
    r"[A-Za-z]{2,}[^()]*\)\s*"
)
_NUMBER_FIRST = re.compile(r"[-+(\[{$\\*£€¥₹]*\d|\\|\$")
_PLAIN_WORDS = re.compile(r"[A-Za-z'\u2019]{2,}(?:[ ,;-]+[A-Za-z'\u2019]+)*")
_STRONG = ("box", "tag", "hashes")
_BEFORE_NEXT = re.compile(r"[\s:;,]+(?:(?:so|thus|hence|and|or|no|the|my|our|final|correct)\b[\s,:]*)+$", re.IGNORECASE)
_STATEMENT = re.compile(r"[A-Za-z]{2}[^\n=]{0,200}\s(?:is|are|was|were|equals|has|have)\s+(?=[-+$\\*£€]*\d|\\)")

_HEADING_ANSWER = re.compile(r"(?i)(?:\*\*)?(?:the\s+)?(?:(?:final|correct)\s+)?answers?\b")
_HEADING = re.compile(
    r"(?:\*\*)?(?:\(?\d+[.):]\s+\S*[A-Za-z]{2}|(?:step|part|case|phase|section|question|problem|method|option|example)"
    r"\b\s*(?:\d+|[a-z]\b|[ivx]+\b)|.*:(?:\*\*)?$)",
    re.IGNORECASE,
)
_WORD_FIRST = re.compile(r"(?:\*\*)?[A-Za-z]{2}")
_NOT_SPACE = re.compile(r"\S")
_NEXT_OPTION = re.compile(r"\s*(?:\*\*)?\(?B\s*[:.)]")
_INLINE_OPTION = re.compile(r"\sB:")
_ASKED = re.compile(r"^[ \t]*(?:\*\*)?Q(?:uestion)?\b", re.MULTILINE)

_SIGN = r"(?:[-+\u2212]\s?)?"
_NUMBER = re.compile(
    # Digits in groups of three, as in "10 000"; a fraction takes the group before its stroke alone.
    rf"(?<![\w.,])(?<!\d[ \u00a0\u202f]){_SIGN}[$£€¥₹]?\d{{1,3}}(?:[ \u00a0\u202f]\d{{3}})+(?:\.\d+)?(?:\s?%)?"
    r"(?![\w]|[.,]\d|[ ]?/)"
    rf"|(?<![\w.,]){_SIGN}[$£€¥₹]?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+)?(?:/\d+)?(?:\s?%)?(?![\w]|[.,]\d)"
    rf"|(?<![\w.]){_SIGN}\.\d+"
)


@dataclass(frozen=True, slots=True)
class _Mark:
    """Place of an answer: `start` of its mark, `inside` and `end` of the text that holds the answer."""

    start: int
    inside: int
    end: int
    form: str


def extract_answer(text: str) -> str | None:
    r"""Return the last answer in `text`; None if there is none.

    Wrapping `$...$`, `\(...\)` and `**...**` and a closing full stop are removed; units and currency signs stay. Of a
    choice with its text, "(B) Mercury", the letter is returned.
    """
    marks = sorted((*_boxes(text), *_marked(text)), key=lambda mark: mark.start)
    first = next((mark for mark in marks if _read(text, mark) is not None), None)
    if first is None:
        return None
    another = _NEXT_PROBLEM.search(text, first.end if first.form == "box" else first.inside)
    end = len(text) if another is None else another.start()
    any_strong = any(mark.form in _STRONG for mark in marks)
    words: str | None = None
    remark: str | None = None
    for mark in reversed(marks):
        answer = _read(text, mark) if mark.start < end else None
        if answer is None:
            continue
        if mark.form in _STRONG:
            # A sentence in words after a box or a line `####` speaks of the answer, it is none.
            return answer
        if words is None and not _PLAIN_WORDS.fullmatch(answer):
            return answer
        if _REMARK.match(answer):
            remark = remark or answer
        else:
            words = words or answer
            if not any_strong:
                return words
    return words or remark


def last_number(text: str) -> str | None:
    """Return the last number in `text` as it is written, None if there is none.

    It is a guess, for texts in which nothing marks the answer.
    """
    numbers = [match.group() for match in _NUMBER.finditer(text)]
    return numbers[-1] if numbers else None


def _boxes(text: str) -> Iterator[_Mark]:
    r"""Yield every closed `\boxed{}`, also inside others, and `\boxed 7` without braces."""
    if r"\boxed" not in text and r"\fbox" not in text:
        return
    opened: list[tuple[int, int] | None] = []
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "{":
            opened.append(None)
        elif token == "}":
            box = opened.pop() if opened else None
            if box is not None:
                yield _Mark(*box, match.start(), "box")
        elif token.endswith("{") and len(token) > 2:
            opened.append((match.start(), match.end()))
    for match in _BARE_BOX.finditer(text):
        group = match.lastgroup or 0
        yield _Mark(match.start(), match.start(group), match.end(group), "box")


def _marked(text: str) -> Iterator[_Mark]:
    """Yield the other marks; the text of each ends where the next begins."""
    if "####" not in text and "A:" not in text and "answer" not in text.lower():
        return
    matches = list(_MARKS.finditer(text))
    asked = _ASKED.search(text) if any(match.lastgroup == "line" for match in matches) else None
    for number, match in enumerate(matches):
        end = matches[number + 1].start() if number + 1 < len(matches) else len(text)
        form = match.lastgroup or ""
        if form == "line" and asked is not None and asked.start() < match.start():
            form = "reply"
        yield _Mark(match.start(), match.end(), min(end, match.end() + _LONGEST), form)


def _read(text: str, mark: _Mark) -> str | None:
    """Return the answer at a mark, None if there is none."""
    content = text[mark.inside : mark.end]
    if mark.form in ("phrase", "label") and mark.end < len(text):
        # "The answer is 3: the answer is ..." has one mark after the other.
        next_mark = _BEFORE_NEXT.search(content, max(0, len(content) - 40))
        content = content if next_mark is None else content[: next_mark.start()]
    if not content or content.isspace():
        return None
    match mark.form:
        case "box":
            return _whole(content)
        case "hashes":
            return _after_hashes(text, mark, content)
        case "tag":
            return _whole(content.partition("</answer>")[0])
        case "line" | "reply":
            line = content.partition("\n")[0]
            if mark.form == "line" and not _NUMBER_FIRST.match(line.strip()):
                return None
            if _NEXT_OPTION.match(text, mark.inside + len(line)) or _INLINE_OPTION.search(line):
                return None
            return _answer_in(line)
        case "label" if text[mark.inside - 1] == "\n" or content[:1] == "\n":
            # A line of its own is a heading if it holds nothing but the label.
            before = text[max(0, text.rfind("\n", 0, mark.start)) : mark.start]
            return _answer_in(content) if len(before) < 40 and _is_heading(before) else None
        case _:
            return _answer_in(content)


def _is_heading(before: str) -> bool:
    return not before.strip(" \t\n#*_>").removesuffix("Final").removesuffix("final").removesuffix("FINAL").strip()


def _after_hashes(text: str, mark: _Mark, content: str) -> str | None:
    line = content.partition("\n")[0].strip()
    if not line or _HEADING_ANSWER.match(line):
        # The label in this line is a mark of its own.
        return None
    if _HEADING.match(line) or (
        _WORD_FIRST.match(line)
        and (more := _NOT_SPACE.search(text, mark.inside + len(content.partition("\n")[0])))
        and not _NEXT_PROBLEM.match(text, more.start())
    ):
        return None
    special = _SPECIAL_TOKEN.search(line)
    return _whole(line if special is None else line[: special.start()])


def _whole(content: str) -> str | None:
    """Return the answer that is all of the text in a mark."""
    return _choice(unwrap(_without_remark(unwrap(content)))) or None


def _answer_in(content: str) -> str | None:
    """Return the answer with which the text after a mark begins, None if it is other text."""
    special = _SPECIAL_TOKEN.search(content)
    content = content if special is None else content[: special.start()]
    newline = content.find("\n", 0, len(content) - len(content.lstrip())) >= 0
    content = content.strip()
    display = _DISPLAY.match(content)
    if display is not None:
        opening = display.group().strip()
        opening = "```" if opening.startswith("```") else opening
        inside = content[display.end() :]
        return unwrap(inside.partition(_DISPLAYS[opening])[0]) or None
    if newline:
        bullet = _BULLET.match(content)
        content = content if bullet is None else content[bullet.end() :]
    for _ in range(3):
        hedge = _HEDGE.match(content)
        if hedge is None:
            break
        content = content[hedge.end() :]
    display = _DISPLAY.match(content)
    if display is not None:
        return _answer_in(content)
    option = _OPTION.match(content)
    if option is not None:
        return option["letter"]
    content = _choice(content)
    if _NO_ANSWER.match(content):
        return None
    content = _first_sentence(content)
    statement = _STATEMENT.match(content)
    if statement is not None:
        content = content[statement.end() :]
    clause = _CLAUSE.search(content)
    if clause is not None:
        content = content[: clause.start()]
    return unwrap(_result(_without_remark(unwrap(content)))) or None


def _without_remark(answer: str) -> str:
    """Return the number of an answer that is a number with a remark, such as `8 (eight)`; else the answer."""
    remark = _NUMBER_AND_REMARK.fullmatch(answer)
    return answer if remark is None else remark["number"]


def _result(answer: str) -> str:
    """Return the result of an answer in prose that is a sum with its result; else the answer.

    In a box the equation itself may be asked for.
    """
    left, equals, right = answer.rpartition("=")
    number = _FIRST_NUMBER.match(unwrap(right)) if equals and _SUM.fullmatch(left) else None
    if number is None:
        return answer
    from ramify.tools.calculator import calculate
    from ramify.tools.tool import ToolError

    try:
        holds = calculate(_plain_signs(left)) == calculate(_plain_signs(number[0]))
    except ToolError:
        return answer
    return _closed(left, right).strip() if holds else answer


def _closed(left: str, right: str) -> str:
    """Return the right side of an equation without the delimiter that closes a formula which begins on the left."""
    if left.count(r"\(") > left.count(r"\)"):
        right = right.replace(r"\)", "", 1)
    if len(_DOLLAR.findall(left)) % 2:
        right = _DOLLAR.sub("", right, count=1)
    return right


def _plain_signs(text: str) -> str:
    """Return a sum without LaTeX; the calculator knows the other signs."""
    for sign, plain in ((r"\times", "*"), (r"\cdot", "*"), (r"\div", "/"), (r"\$", ""), (r"\(", "")):
        text = text.replace(sign, plain)
    return text


def _choice(text: str) -> str:
    """Return the letter of a choice that is followed by its text, other text as it is."""
    match = _CHOICE.match(text)
    return text if match is None else match["round"] or match["marked"]


def _first_sentence(text: str) -> str:
    for end in _SENTENCE_END.finditer(text):
        if not _is_abbreviation(text, end.start()):
            text = text[: end.start()]
            break
    if "{" not in text:
        # The closing brace of a box around the whole sentence.
        text = text.partition("}")[0]
    quoted = _SINGLE_QUOTED.fullmatch(text)
    if quoted is not None:
        text = quoted[1]
    end = _QUOTE_END.search(text)
    if end is not None and text.count(end[1]) % 2 and "“" not in text:
        # The quotation began before the phrase.
        text = text[: end.start()]
    # The end of emphasis that began before the phrase.
    for sign in ("**", "__", "*"):
        if text.count(sign) == 1:
            text = text.removesuffix(sign)
    return text


def _is_abbreviation(text: str, dot: int) -> bool:
    """Return whether the full stop at `dot` belongs to an abbreviation inside a sentence."""
    following = text[dot + 1 : dot + 3].strip()
    word = _LAST_WORD.search(text, max(0, dot - 12), dot)
    if text[dot] != "." or word is None or not following:
        return False
    last, start = word.group(), word.start()
    if last in _TITLES:
        return following[0].isupper() or following[0].isdigit()
    if last in _UNITS:
        return following[0].isdigit() or following[0].islower()
    if "." in last:
        return True
    # Initials of a name: "J. K. Rowling".
    return len(last) == 1 and last.isupper() and (text[dot + 3 : dot + 4] == "." or text[start - 2 : start] == ". ")
