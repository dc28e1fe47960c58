"""Text with a little structure, written as Markdown or as LaTeX.

Words may come from anywhere, so everything is escaped for the language it is written in: no text
can end a table cell, open a tag or start a command.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = [
    "Block",
    "Bullets",
    "Code",
    "Command",
    "Document",
    "Paragraph",
    "Section",
    "Strong",
    "Table",
    "Text",
    "Warned",
    "latex",
    "markdown",
    "plain",
]


@dataclass(frozen=True, slots=True)
class Code:
    """A name or a number as a program has it."""

    text: str


@dataclass(frozen=True, slots=True)
class Strong:
    """Words that must not be missed."""

    text: str


Text: TypeAlias = tuple[str | Code | Strong, ...]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Some sentences."""

    text: Text


@dataclass(frozen=True, slots=True)
class Warned:
    """A paragraph that stands out."""

    text: Text


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list, an item each."""

    items: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under a header."""

    header: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A command line on a line of its own."""

    text: str


Block: TypeAlias = Paragraph | Warned | Bullets | Table | Command


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """Sections under a title, with an introduction."""

    title: str
    lead: tuple[Block, ...]
    sections: tuple[Section, ...]


def plain(text: Text) -> str:
    """Return the words alone."""
    return "".join(part if isinstance(part, str) else part.text for part in text)


# -- Markdown ------------------------------------------------------------------------------------

_MARKDOWN: Final = re.compile(r"([\\`*_\[\]<>|~$&])")


def markdown(document: Document) -> str:
    """Write a document as Markdown (CommonMark with tables)."""
    parts = [f"# {_md_words(document.title)}", *map(_md_block, document.lead)]
    for number, section in enumerate(document.sections, 1):
        parts.append(f"## {number}. {_md_words(section.title)}")
        parts += map(_md_block, section.blocks)
    return "\n\n".join(parts) + "\n"


def _md_words(words: str) -> str:
    return _MARKDOWN.sub(r"\\\1", words)


def _md_code(code: str) -> str:
    """Return a code span: fenced by more backticks than stand inside, pipes escaped for tables."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if longest else ""
    return f"{fence}{padding}{code}{padding}{fence}".replace("|", "\\|")


def _md(text: Text) -> str:
    return "".join(map(_md_part, text))


def _md_part(part: str | Code | Strong) -> str:
    match part:
        case Code(code):
            return _md_code(code)
        case Strong(words):
            return f"**{_md_words(words)}**"
        case _:
            return _md_words(part)


def _md_block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return _md(text)
        case Warned(text):
            return f"> **Warning.** {_md(text)}"
        case Bullets(items):
            return "\n".join(f"- {_md(item)}" for item in items)
        case Table(header, rows):
            cells = [tuple(map(_md_words, header)), ("---",) * len(header)]
            cells += [tuple(map(_md, row)) for row in rows]
            return "\n".join(f"| {' | '.join(row)} |" for row in cells)
        case Command(command):
            longest = max((len(run) for run in re.findall("`+", command)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}sh\n{command}\n{fence}"


# -- LaTeX ---------------------------------------------------------------------------------------

_PREAMBLE: Final = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\begin{document}
\sloppy
"""

_LATEX: Final = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "ε": r"$\varepsilon$",
    "δ": r"$\delta$",
    "σ": r"$\sigma$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "∞": r"$\infty$",
    "−": r"$-$",
    "×": r"$\times$",
    "\N{RIGHT SINGLE QUOTATION MARK}": r"\textquoteright{}",
    "\N{LEFT SINGLE QUOTATION MARK}": r"\textquoteleft{}",
    "\N{LEFT DOUBLE QUOTATION MARK}": r"\textquotedblleft{}",
    "\N{RIGHT DOUBLE QUOTATION MARK}": r"\textquotedblright{}",
}
_TEX_LONG: Final = re.compile(r"[^\s\0]{33,}")
# What the T1 encoding has of Latin letters; pdflatex stops at any other character.
_LATIN: Final = frozenset(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿ"
    "ĂăĄąĆćČčĎďĐđĘęĚěĞğİıĹĺĽľŁłŃńŇňŐőŒœŔŕŘřŚśŞşŠšŢţŤťŮůŰűŸŹźŻżŽž"
)


def latex(document: Document) -> str:
    """Write a document as LaTeX that compiles as it stands; for a paper, take its body.

    A character that LaTeX's own fonts lack is written as its code point: "U+4E2D".
    """
    parts = [rf"\section*{{{_tex_words(document.title)}}}", *map(_tex_block, document.lead)]
    for number, section in enumerate(document.sections, 1):
        parts.append(rf"\subsection*{{{number}. {_tex_words(section.title)}}}")
        parts += map(_tex_block, section.blocks)
    return _PREAMBLE + "\n\n".join(parts) + "\n\\end{document}\n"


def _tex_words(words: str) -> str:
    escaped = "".join(map(_tex_character, unicodedata.normalize("NFC", words)))
    # Two hyphens, commas or apostrophes in a row would become one character.
    return re.sub(r"([-,'])(?=\1)", r"\1{}", escaped)


def _tex_code(code: str) -> str:
    """Escape a name or a number; long ones, such as hashes, may part anywhere."""
    words = _TEX_LONG.sub(lambda word: "\0".join(re.findall(".{1,8}", word[0])), code)
    escaped = "\0".join(map(_tex_words, words.split("\0")))
    return escaped.replace("'", r"\textquotesingle{}").replace("\0", r"\allowbreak{}")


def _tex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character in _LATIN or " " <= character <= "~":
        return character
    return f"U+{ord(character):04X}"


def _tex(text: Text) -> str:
    return "".join(map(_tex_part, text))


def _tex_part(part: str | Code | Strong) -> str:
    match part:
        case Code(code):
            return rf"\texttt{{{_tex_code(code)}}}"
        case Strong(words):
            return rf"\textbf{{{_tex_words(words)}}}"
        case _:
            return _tex_words(part)


def _tex_block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return _tex(text)
        case Warned(text):
            return rf"\begin{{quote}}\textbf{{Warning.}} {_tex(text)}\end{{quote}}"
        case Bullets(items):
            return _environment("itemize", (rf"\item {{}}{_tex(item)}" for item in items))
        case Table(header, rows):
            lines = [" & ".join(map(_tex_words, header)) + r" \\ \hline"]
            # The empty group keeps a cell that starts with a bracket from becoming an argument.
            lines += ["{}" + " & ".join(map(_tex, row)) + r" \\" for row in rows]
            table = _environment("tabular", lines, f"{{{'l' * len(header)}}}")
            return _environment("center", [r"\small", table])
        case Command(command):
            # Words may part at spaces only; every character is escaped, which verbatim is not.
            return _environment("flushleft", [rf"\small\texttt{{{_tex_code(command)}}}"])


def _environment(name: str, lines: Iterable[str], arguments: str = "") -> str:
    return "\n".join([rf"\begin{{{name}}}{arguments}", *lines, rf"\end{{{name}}}"])
