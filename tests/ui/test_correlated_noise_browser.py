"""Designing for the StackOverflow setting in a browser: from the first look to the shared link."""

import csv
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from mechanisms import Plan
from mechanisms.strategies import Strategy
from tests.needs import needs
from ui.drafts import Draft, to_link
from ui.entries import rounded_up

pytestmark = needs("browser")

STACK_OVERFLOW = Draft(
    dataset_size="342,477",
    batch_size="1000",
    length_in="steps",
    steps="2052",
    noise_multiplier="1",
    delta="1e-6",
    sampler="min_separation",
    min_separation="342",
    max_participations="6",
    neighboring_relation="replace_special",
)
SMALL = STACK_OVERFLOW.with_(
    steps="600", min_separation="200", max_participations="3", compare_at="8", memory="4"
)


def to_page(tab, name):
    tab.page.get_by_role("link", name=re.compile(rf"{name}$")).first.click()


def recommends(tab, title):
    tab.says(f"Use {title}", timeout=90_000)


def saved(tab, act, folder):
    with tab.page.expect_download(timeout=30_000) as download:
        act()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_stack_overflow_from_the_plan_to_a_mechanism_and_back(new_tab, server, tmp_path):
    tab = new_tab().open(f"{server.url}/?{urlencode(to_link(STACK_OVERFLOW))}")
    tab.says("This run costs ε ≤ 14.10 at δ = 1e-6")
    to_page(tab, "Correlated noise")
    tab.says("Comparing mechanisms", timeout=30_000)
    tab.page.get_by_role("button", name=re.compile("Stop$")).wait_for()
    # Entries are heard while mechanisms are being designed.
    tab.enter("Compare at ε", "8")
    tab.enter("Most model copies", "8")
    tab.enter("Model parameters", "1e7")
    recommends(tab, "BLT, 2 buffers")
    page = tab.page
    assert page.get_by_text("at ε = 8 the root mean square error").is_visible()
    page.get_by_role("button", name="Use BLT, 2 buffers in the plan").first.click()
    page.get_by_role("button", name=re.compile("The plan uses BLT, 2 buffers$")).first.wait_for()
    page.wait_for_url("**mechanism=blt%3A2**")

    table = saved(
        tab, lambda: page.get_by_role("button", name=re.compile("CSV")).first.click(), tmp_path
    )
    rows = {row["design"]: row for row in csv.DictReader(table.read_text().splitlines())}
    page.get_by_role("button", name=re.compile("Download")).first.click()
    plan = saved(
        tab, lambda: page.get_by_role("button", name="Plan with it, JSON").click(), tmp_path
    )
    strategy = saved(
        tab, lambda: page.get_by_role("button", name="Strategy, JSON").click(), tmp_path
    )
    made = Plan.from_json(plan.read_text())
    assert made.mechanism == Strategy.from_json(strategy.read_text())
    assert made.mechanism.steps == 2052
    assert 7.999 < made.epsilon <= 8.0
    assert float(rows["blt:2"]["noise_stddev"]) == made.noise_stddev
    assert float(rows["blt:2"]["memory_gigabytes"]) == pytest.approx(0.08)
    page.keyboard.press("Escape")

    to_page(tab, "Plan")
    tab.says("This run costs ε ≤ 8.000 at δ = 1e-6")
    assert page.get_by_text("the whole run counts as one release").is_visible()
    assert page.locator(".js-plotly-plot").count() == 0
    link = page.url
    other = new_tab().open(link)
    other.says("This run costs ε ≤ 8.000 at δ = 1e-6")
    assert parse_qs(urlsplit(other.page.url).query) == parse_qs(urlsplit(link).query)
    other.press("Use independent noise")
    independent = made.replace(mechanism=None)
    other.says(f"This run costs ε ≤ {rounded_up(independent.epsilon)} at δ = 1e-6")
    assert "mechanism" not in parse_qs(urlsplit(other.page.url).query)


@pytest.fixture
def deep(new_tab, server):
    """A tab that was opened on the second page; its server first looks beside it for itself."""

    def open_(draft, **options):
        tab = new_tab(**options)
        tab.page.goto(f"{server.url}/correlated-noise?{urlencode(to_link(draft))}")
        tab.answered()
        return tab

    tabs = []

    def remembered(draft, **options):
        tabs.append(open_(draft, **options))
        return tabs[-1]

    yield remembered
    for tab in tabs:
        tab.errors[:] = [error for error in tab.errors if "status of 404" not in error]


def test_stopping_keeps_what_was_compared_and_going_on_goes_on(deep):
    # So many steps that the bound on what is possible takes far longer than a click.
    long = {"steps": "2400", "min_separation": "300", "max_participations": "8"}
    tab = deep(STACK_OVERFLOW.with_(**long, compare_at="7", memory="2"))
    stop = tab.page.get_by_role("button", name=re.compile("Stop$"))
    stop.wait_for()
    tab.page.locator("[data-testid=stTable]").first.wait_for(timeout=60_000)
    stop.click()
    tab.page.get_by_text(re.compile(r"Stopped after \d+ of \d+ mechanisms|Stopped: ")).wait_for()
    assert tab.headline().startswith("Use ")
    tab.press("Go on")
    stop.wait_for()


def test_nonsense_on_the_page_gets_a_sentence_and_nothing_is_lost(deep):
    tab = deep(SMALL)
    recommends(tab, "BLT, 2 buffers")
    for label, text, said in [
        ("Most model copies", "several", "is not a number"),
        ("Compare at ε", "-3", "must be a number above 0"),
        ("Model parameters", "<b>1</b>", "is not a number"),
    ]:
        before = tab.entry(label).input_value()
        tab.enter(label, text)
        tab.page.get_by_role("alert").filter(has_text=said).wait_for()
        assert tab.headline() == "No comparison yet"
        tab.holds(label, text)
        tab.enter(label, before)
        recommends(tab, "BLT, 2 buffers")


def test_charts_have_words(deep):
    page = deep(SMALL, color_scheme="dark").page
    page.wait_for_function(
        "document.querySelectorAll('.js-plotly-plot').length === 4", timeout=90_000
    )
    for chart in page.locator("[data-testid=stPlotlyChart]").all():
        words = chart.evaluate(
            "e => [e, ...e.querySelectorAll('*')]"
            ".map(n => n.getAttribute('aria-label') || '').sort((a, b) => b.length - a.length)[0]"
        )
        assert len(words) > 60
    assert page.get_by_role("alert").count() == 0


def test_a_narrow_window_does_not_scroll_sideways(deep):
    tab = deep(SMALL, viewport={"width": 390, "height": 844})
    recommends(tab, "BLT, 2 buffers")
    main = tab.page.locator("[data-testid=stMain]")
    assert main.evaluate("e => e.scrollWidth <= e.clientWidth")


def test_the_server_has_nothing_to_complain_about(server):
    said = server.log.read_text().splitlines()
    assert not [line for line in said if re.search("deprecat|warning|error|Traceback", line, re.I)]
    assert server.outgoing.read_text() == ""
