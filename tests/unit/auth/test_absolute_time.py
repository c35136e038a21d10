from __future__ import annotations

from datetime import datetime

import pytest

from qsh.auth.absolute_time import parse_absolute_time
from qsh.errors import KeyFormatError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20200101Z", 1577836800),
        ("202001010000Z", 1577836800),
        ("20200101000001Z", 1577836801),
        ("20200101z", 1577836800),
        ("20200101UTC", 1577836800),
        ("202001010000utc", 1577836800),
    ],
)
def test_universal_time(text: str, seconds: int) -> None:
    assert parse_absolute_time(text) == seconds


def test_local_time() -> None:
    assert parse_absolute_time("20200102") == datetime(2020, 1, 2).timestamp()
    assert parse_absolute_time("20200102030405") == datetime(2020, 1, 2, 3, 4, 5).timestamp()


@pytest.mark.parametrize(
    "text",
    ["", "Z", "2020", "20201301", "20200230Z", "2020010124", "202001012460", "19691231Z", "1" * 14,
     "19700101Z", " 20200101", "20200101\n", "+2020010", "２０２００１０１"],
)  # fmt: skip
def test_nonsense(text: str) -> None:
    with pytest.raises(KeyFormatError, match="invalid expires time"):
        parse_absolute_time(text)
