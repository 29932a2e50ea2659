"""Markup in the texts of models: LaTeX as Unicode text, and Markdown in which both are readable.

Everything here takes time linear in the length of a text, as a model may write anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from ramify.text import printable

MOST_NESTED = 30
"""Number of braces within each other that are read; deeper ones are shown as they are."""
MOST_CHARACTERS = 20_000
"""Length of a text above which it is shown as it is."""

_GREEK: dict[str, str] = dict(
    zip(
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi "
        "chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega varepsilon vartheta varphi varpi "
        "varrho varsigma".split(),
        "αβγδεζηθικλμνξοπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩεϑφϖϱς",
        strict=True,
    )
)
_SIGNS: dict[str, str] = {
    "times": "×", "cdot": "·", "div": "÷", "pm": "±", "mp": "∓", "ast": "∗", "star": "⋆", "circ": "∘", "bullet": "•",
    "leq": "≤", "le": "≤", "leqslant": "≤", "geq": "≥", "ge": "≥", "geqslant": "≥", "neq": "≠", "ne": "≠",
    "approx": "≈", "equiv": "≡", "sim": "∼", "simeq": "≃", "cong": "≅", "propto": "∝", "ll": "≪", "gg": "≫",
    "to": "→", "rightarrow": "→", "leftarrow": "←", "leftrightarrow": "↔", "longrightarrow": "⟶", "mapsto": "↦",
    "Rightarrow": "⇒", "Leftarrow": "⇐", "Leftrightarrow": "⇔", "implies": "⟹", "iff": "⟺", "uparrow": "↑",
    "downarrow": "↓", "infty": "∞", "partial": "∂", "nabla": "∇", "sum": "∑", "prod": "∏", "int": "∫", "iint": "∬",
    "oint": "∮", "in": "∈", "notin": "∉", "ni": "∋", "subset": "⊂", "subseteq": "⊆", "supset": "⊃", "supseteq": "⊇",
    "cup": "∪", "cap": "∩", "setminus": "∖", "emptyset": "∅", "varnothing": "∅", "forall": "∀", "exists": "∃",
    "neg": "¬", "lnot": "¬", "land": "∧", "wedge": "∧", "lor": "∨", "vee": "∨", "oplus": "⊕", "otimes": "⊗",
    "perp": "⊥", "parallel": "∥", "mid": "∣", "angle": "∠", "triangle": "△", "square": "□", "degree": "°",
    "therefore": "∴", "because": "∵", "ldots": "…", "dots": "…", "cdots": "⋯", "vdots": "⋮", "ddots": "⋱",
    "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "langle": "⟨", "rangle": "⟩", "lbrace": "{",
    "rbrace": "}", "lvert": "|", "rvert": "|", "vert": "|", "Vert": "‖", "ell": "ℓ", "hbar": "ℏ", "Re": "ℜ",
    "Im": "ℑ", "aleph": "ℵ", "prime": "′", "backslash": "\\", "checkmark": "✓", "pounds": "£", "euro": "€",
}  # fmt: skip
_WORDS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp min max sup inf lim gcd lcm det dim ker "
    "deg arg mod Pr".split()
)
_SPACES = {"quad": "  ", "qquad": "    ", "bmod": " mod ", "enspace": " ", "thinspace": " ", "newline": "\n"}
_LEFT_OUT = frozenset(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr middle displaystyle textstyle scriptstyle limits "
    "nolimits hline centering tiny small large Large notag nonumber".split()
)
_TEXTS = frozenset(
    "text textrm textbf textit texttt textsf textnormal mathrm mathbf mathit mathsf mathtt mathcal mathfrak boldsymbol "
    "bm operatorname mbox hbox emph underline tag".split()
)
_ACCENTS = {
    "overline": "\u0305", "bar": "\u0304", "hat": "\u0302", "widehat": "\u0302", "vec": "\u20d7", "dot": "\u0307",
    "ddot": "\u0308", "tilde": "\u0303", "widetilde": "\u0303",
}  # fmt: skip
_ENVIRONMENTS = frozenset(
    "equation align aligned alignat gather gathered split multline eqnarray cases array matrix pmatrix bmatrix vmatrix "
    "Vmatrix displaymath math".split()
)
_DOUBLE = {"R": "ℝ", "N": "ℕ", "Z": "ℤ", "Q": "ℚ", "C": "ℂ", "P": "ℙ", "E": "𝔼"}
_RAISED = str.maketrans("0123456789+-=()abcdefghijklmnoprstuvwxyzT′∘°", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵀ′°°")
_LOWERED = str.maketrans("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
_TOKEN = re.compile(r"\\([A-Za-z]+)\*?|\\(.)|([{}^_&~])|[^\\{}^_&~]+|\\", re.DOTALL)
_SIMPLE = re.compile(r"[\w.,′°√⁰-₟²³¹]*|\([^()]*\)")
_CLOSED = {"$$": "$$", "\\[": "\\]", "\\(": "\\)"}


def unicode_math(source: str) -> str:
    r"""Return LaTeX mathematics as Unicode text, without its `$` signs: `\frac{1}{2}x^2` as `1/2x²`.

    Commands without a counterpart stay as they are written.
    """
    return _Reader(source, scripts=True).text()


def unicode_commands(source: str) -> str:
    r"""Return text with the LaTeX commands in it as Unicode text; `^`, `_`, `&` and `~` stay, as text has them too."""
    return _Reader(source, scripts=False).text() if "\\" in source else source


class _Reader:
    """Reader of one piece of LaTeX; `scripts` reads `^` and `_` as well."""

    def __init__(self, source: str, *, scripts: bool) -> None:
        self._tokens = [(found[0], found[1], found[2], found[3]) for found in _TOKEN.finditer(source)]
        self._place = 0
        self._scripts = scripts
        self._depth = 0

    def text(self) -> str:
        """Return the whole as Unicode text."""
        parts = list[str]()
        while self._place < len(self._tokens):
            parts.append(self._next())
        return "".join(parts)

    def _next(self) -> str:
        """Return the next token as text, with its arguments."""
        whole, command, escaped, special = self._tokens[self._place]
        self._place += 1
        if command:
            return self._command(command, whole)
        if escaped:
            return self._escaped(escaped, whole)
        if special == "{":
            return self._group("{", "}")
        if special and self._scripts:
            return self._special(special)
        return whole

    def _escaped(self, character: str, whole: str) -> str:
        if character == "\\":
            return "\n"
        if character in ",;:! ":
            return "" if character == "!" else " "
        return character if character in "%$#&_{}" or (self._scripts and character == "|") else whole

    def _special(self, character: str) -> str:
        if character in "&~":
            return " "
        if character in "^_":
            return _script(character, self._argument())
        return character

    def _group(self, opening: str = "", closing: str = "") -> str:
        """Return a group whose opening brace has been taken; outside of mathematics its braces stay."""
        if self._depth >= MOST_NESTED:
            return "{"
        self._depth += 1
        parts = list[str]()
        closed = False
        while self._place < len(self._tokens) and not closed:
            if self._tokens[self._place][3] == "}":
                self._place += 1
                closed = True
            else:
                parts.append(self._next())
        self._depth -= 1
        inner = "".join(parts)
        if self._scripts:
            opening = closing = ""
        return f"{opening}{inner}{closing if closed else ''}"

    def _argument(self) -> str:
        """Return the argument that comes next: a group, a command, or one character."""
        self._skip_blanks()
        if self._place >= len(self._tokens):
            return ""
        whole, command, escaped, special = self._tokens[self._place]
        if special == "{":
            self._place += 1
            scripts, self._scripts = self._scripts, True
            inner = self._group()
            self._scripts = scripts
            return inner
        if special == "}":
            return ""
        if command or escaped or special:
            if self._depth >= MOST_NESTED:
                self._place += 1
                return whole
            self._depth += 1
            found = self._next()
            self._depth -= 1
            return found
        rest = whole[1:]
        if rest:
            self._tokens[self._place] = (rest, "", "", "")
        else:
            self._place += 1
        return whole[0]

    def _skip_blanks(self) -> None:
        while self._place < len(self._tokens) and self._tokens[self._place][0].isspace():
            self._place += 1

    def _braced(self) -> bool:
        """Tell whether a brace comes next."""
        return self._place < len(self._tokens) and self._tokens[self._place][3] == "{"

    def _command(self, name: str, whole: str) -> str:
        found = _GREEK.get(name) or _SIGNS.get(name) or _SPACES.get(name)
        if found is not None:
            return found
        if name in _WORDS:
            return name
        if name in _LEFT_OUT:
            return self._without_dot()
        if name in ("begin", "end"):
            return self._environment(name, whole)
        if name in _TWO and self._ready():
            return _TWO[name](self._argument(), self._argument())
        if not self._braced() and name != "sqrt":
            return whole
        if name == "sqrt":
            return self._root()
        if name in _TEXTS:
            return self._argument()
        if name in _ACCENTS:
            inner = self._argument()
            return inner + _ACCENTS[name] if len(inner) == 1 else f"{inner}{'′' if name == 'vec' else ''}"
        one = _ONE.get(name)
        return f"{whole}{{{self._argument()}}}" if one is None else one(self._argument())

    def _ready(self) -> bool:
        """Tell whether an argument can come next."""
        return self._braced() or (self._scripts and self._place < len(self._tokens))

    def _without_dot(self) -> str:
        """Leave out the invisible delimiter after a `left` or `right`."""
        if self._place < len(self._tokens) and self._tokens[self._place][0].startswith("."):
            whole = self._tokens[self._place][0]
            self._tokens[self._place] = (whole[1:], "", "", "")
        return ""

    def _environment(self, name: str, whole: str) -> str:
        if not self._braced():
            return whole
        environment = self._argument()
        if environment.rstrip("*") not in _ENVIRONMENTS:
            return f"{whole}{{{environment}}}"
        if name == "begin" and self._braced():
            # The columns of an array.
            kept = self._place
            if not re.fullmatch(r"[lcr| ]*", self._argument()):
                self._place = kept
        return ""

    def _root(self) -> str:
        degree = ""
        if self._place < len(self._tokens) and (found := re.match(r"\[(\w{1,3})\]", self._tokens[self._place][0])):
            degree = found[1]
            self._tokens[self._place] = (self._tokens[self._place][0][found.end() :], "", "", "")
            self._skip_empty()
        if not self._ready():
            return "√"
        sign = {"": "√", "2": "√", "3": "∛", "4": "∜"}.get(degree) or degree.translate(_RAISED) + "√"
        return sign + _grouped(self._argument())

    def _skip_empty(self) -> None:
        if self._place < len(self._tokens) and not self._tokens[self._place][0]:
            self._place += 1


def _grouped(text: str) -> str:
    """Return text that stands for one value, in parentheses unless it is one."""
    inner = text.strip()
    return inner if _SIMPLE.fullmatch(inner) else f"({inner})"


def _script(sign: str, text: str) -> str:
    inner = text.strip()
    table = _RAISED if sign == "^" else _LOWERED
    moved = inner.translate(table)
    if inner and all(ord(each) in table for each in inner.replace(" ", "")):
        return moved
    return f"{sign}{_grouped(inner)}" if inner else sign


_TWO: Mapping[str, Callable[[str, str], str]] = {
    **dict.fromkeys(("frac", "dfrac", "tfrac", "cfrac"), lambda above, below: f"{_grouped(above)}/{_grouped(below)}"),
    **dict.fromkeys(("binom", "dbinom", "tbinom"), lambda above, below: f"C({above.strip()}, {below.strip()})"),
    "stackrel": lambda above, below: below,
    "overset": lambda above, below: below,
    "underset": lambda above, below: below,
    "textcolor": lambda above, below: below,
}
_ONE: Mapping[str, Callable[[str], str]] = {
    **dict.fromkeys(("boxed", "fbox"), lambda text: f"[{text.strip()}]"),
    "mathbb": lambda text: _DOUBLE.get(text, text),
    "pmod": lambda text: f"(mod {text})",
    "overbrace": str,
    "underbrace": str,
    "overrightarrow": str,
    "cancel": str,
    "mathop": str,
    "mathbin": str,
    **dict.fromkeys(("label", "vspace", "hspace", "phantom", "color"), lambda text: ""),
}


# Markdown

_MARKED = re.compile(r"[*`|~]|(?<!\w)_|\]\(|^ {0,3}(?:#{1,6} |[-+] |\d{1,3}[.)] |>|-{3}|={3})|^ {4}", re.MULTILINE)


def has_markdown(text: str) -> bool:
    """Tell whether Markdown may show a text in another way than as plain lines."""
    return _MARKED.search(text) is not None


def readable_text(text: str) -> str:
    """Return a model's text without Markdown as plain text in which mathematics is Unicode text."""
    text = printable(text)
    if len(text) > MOST_CHARACTERS or not ("\\" in text or "$" in text):
        return text
    return "".join(
        unicode_commands(piece) if kind in ("", "code") else unicode_math(piece) for kind, piece in _parts(text)
    )


_EMPHASIS = re.compile(r"\*\*|^ {0,3}#{1,6} ", re.MULTILINE)


def unmarked(text: str) -> str:
    """Return a model's text as plain text without the signs of headings and of bold print."""
    text = readable_text(text)
    return _EMPHASIS.sub("", text) if "**" in text or "#" in text else text


def readable_markdown(text: str) -> str:
    """Return a model's text as Markdown that shows its meaning: mathematics as Unicode text, `2*3*4` as it is.

    Code stays as it is written.
    """
    text = printable(text)
    if len(text) > MOST_CHARACTERS:
        return text
    return "".join(
        piece if kind == "code" else _shown_math(piece, kind) if kind else _plain(piece) for kind, piece in _parts(text)
    )


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Yield the text piece by piece as kind and content: "code", "math", "display", or "" for all else."""
    place = begun = 0
    unclosed = set[str]()
    for found in _OPENING.finditer(text):
        start, sign = found.start(), found["sign"]
        if start < place:
            continue
        end, kind, inner = _region(text, start, sign, unclosed)
        if not kind:
            continue
        if begun < start:
            yield "", text[begun:start]
        yield kind, inner
        place = begun = end
    if begun < len(text):
        yield "", text[begun:]


_OPENING = re.compile(r"(?P<sign>^ {0,3}`{3,}|^ {0,3}~{3,}|`+|\$\$|\\\[|\\\(|(?<![\\\w$])\$(?=[^\s$]))", re.MULTILINE)
_DOLLARS = re.compile(r"\$[^$\n]{0,400}?(?<=[^\s\\$])\$(?![\w$])")


def _region(text: str, start: int, sign: str, unclosed: set[str]) -> tuple[int, str, str]:
    """Return end, kind and content of the element at `start`; the kind is "" if it does not end."""
    after = start + len(sign)
    if sign == "$":
        found = _DOLLARS.match(text, start)
        return (found.end(), "math", text[start + 1 : found.end() - 1]) if found else (after, "", "")
    if sign.lstrip()[0] in "`~":
        mark = sign.lstrip()
        fence = len(mark) >= 3 and (start == 0 or text[start - 1] == "\n")
        wanted = "\n" + mark if fence else mark
        end = -1 if wanted in unclosed else text.find(wanted, after)
        if end < 0:
            unclosed.add(wanted)
            # A fence that is still being written takes in all that follows.
            return (len(text), "code", text[start:]) if fence else (after, "", "")
        stop = end + len(wanted)
        return stop, "code", text[start:stop]
    closing = _CLOSED[sign]
    end = -1 if closing in unclosed else text.find(closing, after)
    if end < 0:
        unclosed.add(closing)
        return after, "", ""
    return end + len(closing), "math" if sign == "\\(" else "display", text[after:end]


def _shown_math(source: str, kind: str) -> str:
    lines = [" ".join(line.split()) for line in unicode_math(source).splitlines()]
    shown = _escape("\n".join(line for line in lines if line))
    return shown if kind == "math" else f"\n\n{shown}\n\n"


_PRODUCT = re.compile(r"(?<=[\w)\]])\*(?=[\w(\[])")
"""A multiplication sign that Markdown would take for emphasis."""
_LISTED = re.compile(r"^(?=[-+=])", re.MULTILINE)


def _plain(text: str) -> str:
    return _PRODUCT.sub(r"\*", unicode_commands(text))


def _escape(text: str) -> str:
    """Return text in which nothing is Markdown."""
    return _LISTED.sub(r"\\", re.sub(r"[\\`*_\[\]<>|#~]", r"\\\g<0>", text))
