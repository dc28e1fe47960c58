"""Whatever the words are, they stay words in Markdown and in LaTeX."""

import re
import subprocess

import hypothesis.strategies as st
import pytest
from hypothesis import given

from accountant.document import (
    Bullets,
    Code,
    Command,
    Document,
    Paragraph,
    Section,
    Strong,
    Table,
    Warned,
    latex,
    markdown,
    plain,
)
from tests.needs import needs

NASTY = [
    "\\input{/etc/passwd}",
    "}\\end{document}",
    "\\end{verbatim}",
    "50 % of $5 & #1_2^3~4",
    "<script>alert(1)</script>",
    "| a | b |",
    "[link](javascript:x) ![i](j)",
    "`code` ``more`` ```all",
    "* _ ** __ ~~",
    "-- --- ,, '' `` << >> ?` !`",
    "[1] * (a) \\\\[2em]",
    "\"quoted\" 'single'",
    "é Ł ß ε δ ≤ ∞ 中文 😀 e\u0301",
    "&lt;b&gt;",
]
words = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=60),
)


def document(text: str) -> Document:
    """A document that has the text everywhere."""
    row = ((text,), (Code(text),), (Strong(text),))
    return Document(
        text,
        (Paragraph((text, Code(text), Strong(text))), Warned((text,))),
        (
            Section(text, (Bullets(((text,), (Code(text),))), Table((text, "b", "c"), (row, row)))),
            Section("last", (Command(text),)),
        ),
    )


def check_latex(source: str) -> None:
    """Fail unless groups and environments balance and every special character is escaped."""
    groups: list[str] = []
    environments: list[str] = []
    depth_in_math = False
    position = 0
    while position < len(source):
        rest = source[position:]
        if control := re.match(r"\\(begin|end)\{([a-z]+)\}", rest):
            if control[1] == "begin":
                environments.append(control[2])
                position += control.end()
                if arguments := re.match(r"\{l+\}", source[position:]):
                    position += arguments.end()
                continue
            assert environments.pop() == control[2]
            position += control.end()
        elif control := re.match(r"\\([A-Za-z]+|[^A-Za-z])", rest):
            assert control[1] in ALLOWED_CONTROLS, control[0]
            position += control.end()
        else:
            character = rest[0]
            assert character not in "#%~^_", (character, source[max(0, position - 20) :][:40])
            if character == "{":
                groups.append(character)
            elif character == "}":
                groups.pop()
            elif character == "$":
                depth_in_math = not depth_in_math
            elif character == "&":
                assert environments[-1] == "tabular"
            position += 1
    assert not groups
    assert not environments
    assert not depth_in_math


ALLOWED_CONTROLS = {
    *("documentclass", "usepackage", "section", "subsection", "item", "hline", "small"),
    *("texttt", "textbf", "textbackslash", "textasciitilde", "textasciicircum", "textless"),
    *("textgreater", "textbar", "textquotedbl", "textquotesingle", "textasciigrave"),
    *("textquoteright", "textquoteleft", "textquotedblleft", "textquotedblright"),
    *("sloppy", "allowbreak", "varepsilon", "delta", "sigma", "le", "ge", "infty", "times"),
    *"\\{}$&%#_",
}


@given(words)
def test_latex_is_balanced_and_escaped(text):
    check_latex(latex(document(text)))


@pytest.mark.parametrize(
    "source",
    [
        "\\begin{a}\\end{b}",
        "{",
        "\\begin{document}",
        "a_b",
        "50 %",
        "\\input{x}",
        "a & b",
        "$x",
        "\\write18",
    ],
)
def test_the_check_of_latex_notices(source):
    with pytest.raises((AssertionError, IndexError)):
        check_latex(source)


def test_latex_keeps_apart_what_would_become_one():
    source = latex(document("a--b---c,,d''e"))
    body = source[source.index(r"\begin{document}") :]
    for ligature in ("--", ",,", "''"):
        assert ligature not in body


def test_latex_writes_what_its_fonts_lack_as_code_points():
    assert "U+4E2D" in latex(document("中"))
    assert "é" in latex(document("e\u0301"))


def test_latex_may_part_a_hash():
    source = latex(document("0123456789abcdef" * 4))
    assert r"\texttt{01234567\allowbreak{}89abcdef\allowbreak{}" in source
    assert r"\textbf{0123456789abcdef" in source


@needs("latex")
def test_latex_compiles(tmp_path):
    sections = tuple(section for text in NASTY for section in document(text).sections)
    whole = Document(NASTY[0], document(NASTY[3]).lead, sections)
    (tmp_path / "statement.tex").write_text(latex(whole))
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "statement.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "statement.pdf").stat().st_size > 1000


def unescaped(text: str) -> str:
    return re.sub(r"\\([\\`*_\[\]<>|~$&])", r"\1", text)


@given(words)
def test_markdown_gives_the_words_back(text):
    source = markdown(Document("t", (Paragraph((text,)),), ()))
    assert unescaped(source) == f"# t\n\n{text}\n"
    # Nothing that opens a tag, a link, a span, a table cell or an entity is left as it was.
    assert not re.search(r"(?<!\\)(\\\\)*[<>\[\]`*_|&$]", source)


@given(words)
def test_a_table_keeps_its_columns(text):
    row = ((text,), (Code(text),), (Strong(text),))
    lines = markdown(Document("t", (Table(("a", "b", "c"), (row,)),), ())).splitlines()
    cells = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines[2:]]
    assert cells[:2] == [4, 4]
    # A backslash before a pipe inside code still escapes the pipe, in tables.
    assert lines[4].startswith("| ")
    assert lines[4].endswith(" |")


@given(words)
def test_code_is_fenced_by_more_backticks_than_it_has(text):
    source = markdown(Document("t", (Command(text),), ()))
    fence = source.splitlines()[2].removesuffix("sh")
    assert set(fence) == {"`"}
    assert len(fence) > max((len(run) for run in re.findall("`+", text)), default=2)


def test_plain_words():
    assert plain(("a ", Code("b"), Strong("c"))) == "a bc"
