"""The wheel, installed in a bare environment outside the checkout, does all that needs no browser.

The environment holds the wheel and what the wheel says it depends on, nothing else: the
dependencies are linked from where the tests run, so that the test needs no network and a
dependency that is not declared is missed.
"""

import itertools
import json
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from ui.cli import main

ROOT = Path(__file__).parent.parent

TRAINING = ["--dataset-size", "60000", "--batch-size", "256", "--epochs", "60"]
NOISE = ["--noise-multiplier", "1.1"]
DELTA = ["--delta", "1e-5"]
COMMANDS: dict[str, list[str]] = {
    "epsilon": [*TRAINING, *NOISE, *DELTA, "--json"],
    "delta": [*TRAINING, *NOISE, "--epsilon", "3", "--json"],
    "calibrate": [*TRAINING, *DELTA, "--epsilon", "3", "--json"],
    "statement": [*TRAINING, *NOISE, *DELTA],
    "design": ["--steps", "64", "--min-separation", "16", "--quick", "--json"],
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


def dependencies(requirements: list[str] | None) -> dict[str, Distribution]:
    """The installed distributions that the requirements ask for, and those that they ask for."""
    found: dict[str, Distribution] = {}
    pending = [(text, frozenset[str]()) for text in requirements or []]
    while pending:
        text, extras = pending.pop()
        requirement = Requirement(text)
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras or {""}
        ):
            continue
        name = canonicalize_name(requirement.name)
        if name not in found:
            found[name] = distribution(name)
            asked = frozenset(requirement.extras)
            pending += [(needed, asked) for needed in found[name].requires or []]
    return found


def link(package: Distribution, site: Path) -> None:
    """Make an installed distribution importable from another environment."""
    assert package.files is not None
    tops = {file.parts[0] for file in package.files} - {"..", "__pycache__"}
    for top in tops:
        target = Path(str(package.locate_file(top)))
        if target.exists() and not (site / top).exists():
            (site / top).symlink_to(target)


class Environment:
    """A virtual environment, and its commands run as a person in an empty folder would."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.bin = folder / "environment" / "bin"
        venv.create(folder / "environment", with_pip=False, symlinks=True)
        (self.site,) = (folder / "environment" / "lib").glob("python*/site-packages")

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
        }
        return subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=self.home,
            env=environment | {"HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("bare"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python"]
    pip += [str(environment.bin / "python")]
    install = ["install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([*pip, *install], check=True)
    (installed,) = Distribution.discover(name="dp-planner", path=[str(environment.site)])
    for package in dependencies(installed.requires).values():
        link(package, environment.site)
    subprocess.run([*pip, "check"], check=True)
    return environment


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "accountant",
        "mechanisms",
        "ui",
        "dp_planner-0.1.0.dist-info",
    }
    assert {f"{package}/py.typed" for package in ("accountant", "mechanisms", "ui")} <= set(names)
    assert "dp_planner-0.1.0.dist-info/licenses/LICENSE" in names
    assert not [name for name in names if "test" in name or "__pycache__" in name]


def test_the_wheel_holds_every_tracked_file_of_the_packages(wheel):
    packages = [ROOT / name for name in ("accountant", "mechanisms", "ui")]
    files = {
        path.relative_to(ROOT).as_posix()
        for package in packages
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files <= set(zipfile.ZipFile(wheel).namelist())


def test_the_environment_is_bare_and_outside_the_checkout(bare):
    for name in ("streamlit", "plotly", "torch", "opacus", "jax", "pytest", "tests"):
        assert bare.run("python", "-c", f"import {name}").returncode == 1, name
    where = bare.run("python", "-c", "import accountant; print(accountant.__file__)").stdout
    assert Path(where.strip()).is_relative_to(bare.site)
    assert not bare.site.is_relative_to(ROOT)


def test_everything_that_the_tests_install_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [project["dependencies"]]
    asked += [extras[name] for name in ("ui", "test", "opacus", "jax-privacy", "secure")]
    needed = set(dependencies(list(itertools.chain(*asked))))
    # PyTorch's builds for graphics cards say themselves what else they need, to the version.
    needed = {n for n in needed if not n.startswith(("nvidia-", "cuda-", "triton"))}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    assert needed <= pinned


def test_make_installs_every_extra_that_the_tests_use():
    assert ".[ui,test,opacus,jax-privacy,secure]" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("pin", ["numpy", "torch", "opacus", "jax", "jax-privacy"])
def test_what_is_pinned_is_installed_together(pin):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    (version,) = (
        line.partition("==")[2] for line in lines if canonicalize_name(line).startswith(pin + "==")
    )
    assert Version(distribution(pin).version).public == version
    assert pin != "numpy" or Version(version).major >= 2


def test_every_command_but_ui_is_run_below():
    assert main.commands.keys() == {"ui", *COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_runs(bare, name):
    done = bare.run("dp-planner", name, *COMMANDS[name])
    assert done.returncode == 0, done.stderr
    if "--json" in COMMANDS[name]:
        assert json.loads(done.stdout)
    else:
        assert len(done.stdout.splitlines()) > 10
    assert done.stderr == ""


@pytest.mark.parametrize("language", ["json", "yaml"])
def test_a_plan_file_is_read(bare, language):
    fields: dict[str, object] = {"schema_version": 1, "sampler": "poisson", "delta": 1e-5}
    fields |= {"dataset_size": 60000, "batch_size": 256, "epochs": 60, "noise_multiplier": 1.1}
    written = {
        "json": json.dumps(fields),
        "yaml": "".join(f"{name}: {value}\n" for name, value in fields.items()),
    }
    (bare.home / f"plan.{language}").write_text(written[language])
    done = bare.run("dp-planner", "epsilon", "--plan", f"plan.{language}", "--json")
    assert done.returncode == 0, done.stderr
    assert 2.38 < json.loads(done.stdout)["epsilon"]["upper"] < 2.39


def test_every_command_explains_itself(bare):
    for command in ([], *([name] for name in main.commands)):
        done = bare.run("dp-planner", *command, "--help")
        assert done.returncode == 0
        assert "Usage: dp-planner" in done.stdout


def test_the_page_without_its_extra_says_what_to_install(bare):
    done = bare.run("dp-planner", "ui")
    assert done.returncode != 0
    assert "pip install 'dp-planner[ui]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["opacus", "jax_privacy"])
def test_an_adapter_without_its_extra_says_what_to_install(bare, name):
    done = bare.run("python", "-c", f"import accountant.adapters.{name}")
    assert done.returncode != 0
    said = done.stderr.strip().splitlines()[-1]
    assert f"pip install 'dp-planner[{name.replace('_', '-')}]'" in said
    assert "During handling" not in done.stderr


def test_the_version_is_one_everywhere(bare):
    version = bare.run("dp-planner", "--version").stdout.split()[-1]
    assert version == "0.1.0"
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
