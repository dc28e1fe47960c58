"""Every example in the README, in docs/ and in docstrings runs, and prints what it says it does.

A fence's language decides what happens to it:

- `python` runs, in one namespace per document; with `>>>` it is a doctest
- `console` runs: what follows `$ ` is a command, up to the next one is what it prints (`...`
  stands for anything)
- `sh` is for what cannot run inside a test, and may hold only that
- `text`, `json`, `yaml`, ... are shown, not run
"""

import doctest
import importlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SHOWN = {"text", "json", "yaml", "toml", "csv", "latex", "bibtex", "markdown", "math"}
# Setting up, opening a browser, and what takes minutes.
NOT_RUN = re.compile(r"(git clone|cd|make|pip install|apt install|SEED=\d+ make|dp-planner ui)\b")
DOCTEST_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.DOTALL | re.M
)


@dataclass(frozen=True)
class Block:
    document: Path
    line: int
    language: str
    body: str


def blocks(document: Path) -> list[Block]:
    text = document.read_text()
    return [
        Block(
            document,
            text[: found.start()].count("\n") + 1,
            found["language"].strip(),
            re.sub(f"^{found['indent']}", "", found["body"], flags=re.M),
        )
        for found in FENCE.finditer(text)
    ]


def run_python(block: Block, namespace: dict[str, object]) -> None:
    if ">>> " not in block.body:
        # The padding makes a traceback name the document's own line.
        source = "\n" * block.line + block.body
        exec(compile(source, block.document, "exec"), namespace)
        return
    test = doctest.DocTestParser().get_doctest(
        block.body, namespace, block.document.name, str(block.document), block.line
    )
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=DOCTEST_OPTIONS)
    runner.run(test, out=said.append, clear_globs=False)
    namespace.update(test.globs)
    if said:
        pytest.fail("".join(said), pytrace=False)


def run_console(block: Block, folder: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    commands = re.split(r"^\$ ", block.body, flags=re.M)
    assert not commands[0].strip(), f"{block.document.name}:{block.line}: starts without `$ `"
    for part in commands[1:]:
        # A command goes on while its lines end in a backslash.
        found = re.match(r"((?:[^\n]*\\\n)*[^\n]*)\n?(.*)", part, re.DOTALL)
        assert found is not None
        command, expected = found.groups()
        done = subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )
        printed = done.stdout + done.stderr
        if not doctest.OutputChecker().check_output(expected, printed, DOCTEST_OPTIONS):
            where = f"{block.document.name}:{block.line}"
            pytest.fail(
                f"{where}: {command}\nexpected:\n{expected}\nprinted:\n{printed}", pytrace=False
            )


def run(block: Block, namespace: dict[str, object], folder: Path) -> None:
    if block.language == "python":
        run_python(block, namespace)
    elif block.language == "console":
        run_console(block, folder)
    elif block.language == "sh":
        for line in filter(None, block.body.splitlines()):
            assert NOT_RUN.match(line), f"`{line}` could run: make it a console example"
    else:
        where = f"{block.document.name}:{block.line}"
        assert block.language in SHOWN, f"{where}: what is a fence of {block.language!r}?"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_runs(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(document):
        run(block, namespace, tmp_path)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_fence_is_seen(document):
    # An unclosed or oddly indented fence would hide the examples that follow it.
    fences = re.findall(r"^\s*(?:```|~~~)", document.read_text(), flags=re.M)
    assert len(fences) == 2 * len(blocks(document))


MODULES = [
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for package in ("accountant", "mechanisms", "ui")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("module", MODULES)
def test_every_docstring_example_runs(module):
    found = doctest.testmod(importlib.import_module(module), optionflags=DOCTEST_OPTIONS)
    assert found.attempted
    assert not found.failed


LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\((?!https?://|mailto:|#)([^)\s#]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_into_the_repository_leads_somewhere(document):
    targets = LINK.findall(document.read_text())
    assert not [target for target in targets if not (document.parent / target).exists()]


@pytest.mark.parametrize(
    ("language", "body"),
    [
        ("python", "1 / 0\n"),
        ("python", ">>> 1 + 1\n3\n"),
        ("console", "$ echo one\ntwo\n"),
        ("console", "$ echo one\n"),
        ("sh", "dp-planner epsilon\n"),
        ("", "anything\n"),
    ],
)
def test_an_example_that_is_wrong_fails(language, body, tmp_path):
    block = Block(ROOT / "README.md", 1, language, body)
    with pytest.raises((ZeroDivisionError, AssertionError, pytest.fail.Exception)):
        run(block, {}, tmp_path)


@pytest.mark.parametrize(
    ("language", "body"),
    [
        ("python", ">>> 1 + 1\n2\n"),
        ("console", "$ echo one \\\n    two\none two\n$ echo three\n...\n"),
        ("sh", "make run    # opens the planner\n"),
    ],
)
def test_an_example_that_is_right_passes(language, body, tmp_path):
    run(Block(ROOT / "README.md", 1, language, body), {}, tmp_path)
