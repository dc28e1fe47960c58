"""The import arrows: ui -> mechanisms -> accountant -> numpy, scipy, numba, dp_accounting."""

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("accountant", "mechanisms", "ui")

ALLOWED_PACKAGES = {
    "accountant": {"accountant"},
    "mechanisms": {"mechanisms", "accountant"},
    "ui": {"ui", "mechanisms", "accountant"},
}
ACCOUNTANT_NEEDS = {"numpy", "scipy", "numba", "llvmlite", "dp_accounting", "attr", "attrs"}
ALLOWED_LIBRARIES = {
    "accountant": ACCOUNTANT_NEEDS,
    "mechanisms": ACCOUNTANT_NEEDS | {"ruamel"},
    "ui": {"click", "streamlit", "plotly", "numpy"},
}
# What an adapter is an adapter to: that module alone imports it, and one extra installs it.
EXTRAS = {
    "accountant.adapters.jax_privacy": "jax_privacy",
    "accountant.adapters.opacus": "opacus",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(*packages: str) -> dict[str, ast.Module]:
    paths = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return {module_name(path): ast.parse(path.read_text(), str(path)) for path in paths}


MODULES = sources(*PACKAGES)


def imports(tree: ast.Module) -> set[str]:
    """Every module that a file imports anywhere, functions and TYPE_CHECKING blocks included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in MODULES else node.module)
    return found


def without_types(tree: ast.Module) -> ast.Module:
    """A file less its `if TYPE_CHECKING:` blocks, which never run."""

    class Runs(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
            if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
                return node.orelse
            return self.generic_visit(node)

    tree = ast.parse(ast.unparse(tree))  # a copy
    Runs().visit(tree)
    return tree


def top(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_package_has_modules_to_look_at(package):
    assert any(top(name) == package for name in MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_imports_are_absolute(name):
    relative = [
        node.lineno
        for node in ast.walk(MODULES[name])
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative, f"{name} has relative imports on lines {relative}"


@pytest.mark.parametrize("name", MODULES)
def test_arrows_point_one_way(name):
    known = {"__future__", *sys.stdlib_module_names}
    known |= ALLOWED_PACKAGES[top(name)] | ALLOWED_LIBRARIES[top(name)]
    known |= {EXTRAS[name]} if name in EXTRAS else set()
    assert {top(imported) for imported in imports(MODULES[name])} <= known


def declared(requirements: list[str]) -> set[str]:
    """What the required distributions are imported as: both names agree, dashes and dots aside."""
    names = (re.match(r"[\w.-]+", requirement) for requirement in requirements)
    found = {name[0].replace("-", "_").partition(".")[0] for name in names if name}
    return {"attr" if name == "attrs" else name for name in found}  # dp_accounting's older name


def test_every_import_is_declared_and_every_dependency_is_used():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = project["dependencies"] + extras["ui"] + extras["opacus"] + extras["jax-privacy"]
    used = {top(imported) for tree in MODULES.values() for imported in imports(tree)}
    assert used - set(sys.stdlib_module_names) - set(PACKAGES) == declared(needed)


@pytest.mark.parametrize("name", EXTRAS)
def test_nothing_imports_an_adapter_that_needs_an_extra(name):
    # Its import is the user's: it is what registers it, and what needs the extra.
    assert not [other for other, tree in MODULES.items() if name in imports(tree)]


def test_there_are_no_cycles():
    # An import inside a function counts: it puts a cycle off, and does not take it away.
    graph = {
        name: {imported for imported in imports(without_types(tree)) if imported in MODULES}
        for name, tree in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]), pytrace=False)


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after a statement."""
    code = f"import sys; {statement}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


UI = {"streamlit", "plotly", "pandas", "click", "ui"}
FILES = {"pydantic", "ruamel", "yaml"}
TRAINING = {"torch", "opacus", "jax", "jaxlib", "jax_privacy", "optax", "tensorflow"}


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import accountant", UI | FILES | TRAINING | {"mechanisms", "matplotlib"}),
        ("import accountant.adapters.tensorflow_privacy", UI | FILES | TRAINING | {"mechanisms"}),
        ("import accountant.adapters.jax_privacy", {"torch", "tensorflow", "mechanisms", "ui"}),
        ("import accountant.adapters.opacus", {"jax", "tensorflow", "mechanisms", "ui"}),
        ("import mechanisms", UI | TRAINING | {"matplotlib"}),
        # `dp-planner --help` has to be there at once.
        ("import ui.cli", {"streamlit", "plotly", "pandas", "numba", "scipy"} | FILES),
    ],
)
def test_an_import_brings_no_more_than_it_must(statement, unwanted):
    loaded = loaded_by(statement)
    assert statement.split()[1].partition(".")[0] in loaded
    assert not loaded & unwanted


ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)
# fractions and decimal read what people type exactly; calculating with them shows as arithmetic.
CALCULATORS = {"cmath", "numpy", "scipy", "numba", "statistics", "operator"}
ONLY_LOOKING = {"isfinite", "isinf", "isnan", "inf"}


def is_text(node: ast.expr) -> bool:
    match node:
        case ast.JoinedStr() | ast.Constant(value=str()):
            return True
        case ast.IfExp(body=body, orelse=orelse):
            return is_text(body) and is_text(orelse)
    return False


def calculates(node: ast.AST) -> bool:
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            return isinstance(op, ARITHMETIC) and not (is_text(left) or is_text(right))
        case ast.AugAssign(op=op):
            return isinstance(op, ARITHMETIC)
        case ast.Attribute(value=ast.Name(id="math"), attr=name):
            return name not in ONLY_LOOKING
        case ast.ImportFrom(module="math", names=names):
            return not {alias.name for alias in names} <= ONLY_LOOKING
    return False


def arithmetic(tree: ast.Module) -> list[str]:
    """What a file calculates; adding to text is none, nor asking whether a number is finite."""
    return [ast.unparse(node) for node in ast.walk(tree) if calculates(node)]


@pytest.mark.parametrize(
    "name", [name for name in MODULES if top(name) == "ui" and name != "ui.charts"]
)
def test_the_interface_does_no_arithmetic(name):
    # What is shown in the browser must be what the command line and the library say.
    assert not arithmetic(MODULES[name]), "move the calculation to mechanisms/ or accountant/"
    assert not {top(imported) for imported in imports(MODULES[name])} & CALCULATORS


@pytest.mark.parametrize(
    "source",
    [
        "a = 1\nb = a * 2",
        "a = 1\na += 1",
        "import math\nmath.log(2)",
        "from math import log\nlog(2)",
    ],
)
def test_arithmetic_is_noticed(source):
    assert arithmetic(ast.parse(source))


@pytest.mark.parametrize(
    "source", ["c = 'x' + y", "d: int | None = None", "import math\nmath.isinf(y)"]
)
def test_what_is_no_arithmetic_is_let_be(source):
    assert not arithmetic(ast.parse(source))
