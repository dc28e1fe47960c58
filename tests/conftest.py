"""What every test shares: the seed, what a test may need, and the time of each group."""

import os
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import settings

from tests.needs import browser_path, check, required

# Read when NumPy is imported: threads that wait for each other make small matrices slow.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

DEFAULT_SEED = 20261122

# Repeatable by default: CI must not fail for a reason that the next run cannot see.
settings.register_profile("sample", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("soak", deadline=None, print_blob=True, max_examples=2_000)
settings.load_profile("sample")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed",
        type=int,
        default=int(os.environ.get("SEED", DEFAULT_SEED)),
        help="seed of the sampled sweeps (default: the variable SEED, else %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    required()  # an unknown name in REQUIRE stops the run here


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [
        f"seed: {config.getoption('--seed')} (repeat with SEED=...)",
        f"browser: {browser_path() or 'none found, its tests are skipped'}",
        f"required: {', '.join(sorted(required())) or 'nothing'}",
    ]


def pytest_runtest_setup(item: pytest.Item) -> None:
    check(item)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each file of tests took, slowest first."""
    seconds: defaultdict[str, float] = defaultdict(float)
    count: defaultdict[str, int] = defaultdict(int)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                group = Path(report.nodeid.split("::")[0]).as_posix()
                seconds[group] += report.duration
                count[group] += report.when == "call"
    terminalreporter.section("time of each group")
    for group in sorted(seconds, key=lambda name: -seconds[name]):
        terminalreporter.line(f"{seconds[group]:8.1f} s  {count[group]:5d} tests  {group}")


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed that a sampled sweep starts from."""
    return int(request.config.getoption("--seed"))


@pytest.fixture(scope="session")
def browser_executable() -> str:
    """The path of the browser, for tests marked `needs("browser")`."""
    path = browser_path()
    if path is None:
        pytest.fail("a test that uses a browser must be marked needs('browser')", pytrace=False)
    return path
