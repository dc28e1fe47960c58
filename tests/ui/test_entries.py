"""Numbers as typed and as read."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.entries import (
    EntryError,
    escaped,
    grouped,
    parse_number,
    percent,
    percent_up,
    rounded,
    rounded_down,
    rounded_up,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("60000", 60_000),
        ("60,000", 60_000),
        ("517 989", 517_989),
        ("517_989", 517_989),
        ("12\u202f700\u202f000\u202f000", 12_700_000_000),
        ("9.6e9", 9_600_000_000),
        ("1.27E+10", 12_700_000_000),
        ("1.1e-10", Fraction(11, 10**11)),
        ("0.1", Fraction(1, 10)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("1/60000", Fraction(1, 60_000)),
        ("1,000.5", Fraction(2001, 2)),
        ("  3  ", 3),
        ("+3", 3),
        ("-3", -3),
        ("\u22123", -3),
    ],
)
def test_a_number_is_read_exactly(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "  ", "abc", "nan", "inf", "-inf", "--1", "1e", "e5", "1e5.5", "5%", "1 2", "1__000"),
        *("0,614", "1,00", "1,0000", "1.000,5", "1e999", "1e400", "1/0", "1/2/3", "0x10", "٣"),
        *("1" * 41, "1;2", "ε", "1\n2", "True", "None", "60k"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(text):
    with pytest.raises(EntryError) as refused:
        parse_number(text)
    message = str(refused.value)
    assert message.endswith(".")
    assert ". " not in message.replace("“", "").replace(text, "")
    assert len(message) < 150


@given(st.text(max_size=60))
def test_whatever_is_typed_is_a_number_or_refused(text):
    try:
        value = parse_number(text)
    except EntryError:
        return
    assert isinstance(value, Fraction)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_python_writes_is_read_back(value):
    assert float(parse_number(repr(value))) == value


positive = st.floats(min_value=1e-300, max_value=1e300)


@given(positive, st.integers(1, 15))
def test_rounding_keeps_to_its_side(value, digits):
    assert Fraction(rounded_up(value, digits).replace(",", "")) >= Fraction(value)
    assert Fraction(rounded_down(value, digits).replace(",", "")) <= Fraction(value)
    error = abs(Fraction(rounded(value, digits).replace(",", "")) - Fraction(value))
    assert error <= Fraction(value) / 2 * Fraction(10) ** (1 - digits)


@pytest.mark.parametrize(
    ("value", "up", "down", "nearest"),
    [
        (2.3816897261439, "2.382", "2.381", "2.38"),
        (1.71015704, "1.711", "1.710", "1.71"),
        (324.2810981595, "324.3", "324.2", "324"),
        (0.0, "0", "0", "0"),
        (3.0, "3", "3", "3"),
        (0.00426667, "0.004267", "0.004266", "0.00427"),
        (0.0000539624, "5.397e-5", "5.396e-5", "5.4e-5"),
        (12_345_678.9, "1.235e7", "1.234e7", "1.23e7"),
        (float("inf"), "∞", "∞", "∞"),
    ],
)
def test_rounded_numbers_read_well(value, up, down, nearest):
    assert (rounded_up(value), rounded_down(value), rounded(value)) == (up, down, nearest)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0402, "4.1 %"), (0.0100000001, "1.1 %"), (0.5, "50 %"), (1.0, "100 %"), (0.999, "100 %")],
)
def test_shares_round_up(share, text):
    assert percent_up(share) == text


def test_a_share_that_was_chosen_is_written_as_it_is():
    assert percent(0.01) == "1 %"
    assert percent(0.001) == "0.1 %"


def test_markdown_is_escaped():
    assert escaped("a*b_[c](d) $x$ :red[y]") == r"a\*b\_\[c\]\(d\) \$x\$ \:red\[y\]"


def test_whole_numbers_are_grouped():
    assert grouped(12_700_000_000) == "12,700,000,000"
