"""PerSourcePenalties and its list of exceptions, as sshd_config(5) of OpenSSH 9.8 and later has them.

The sshd here is older: texts of errors, and the form of -T, are servconf.c's.
"""

from __future__ import annotations

import pytest

from qsh.config.daemon_dump import dump
from qsh.config.daemon_parser import BadConfiguration, parse
from qsh.config.daemon_penalties import PenaltyRules, penalty_rules


def rules(text: str) -> PenaltyRules:
    return penalty_rules(parse(text, "/f").options.per_source_penalties)


def shown(text: str) -> list[str]:
    return [
        line for line in dump(parse(text, "/f")).splitlines() if line.startswith("persourcepenal")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", PenaltyRules()),
        ("PerSourcePenalties yes", PenaltyRules()),
        ("PerSourcePenalties NO", PenaltyRules(enabled=False)),
        ("PerSourcePenalties no\nPerSourcePenalties yes", PenaltyRules(enabled=False)),
        ("PerSourcePenalties no\nPerSourcePenalties crash:2m", PenaltyRules(crash=120.0)),
        (
            "PerSourcePenalties crash:1h30m noauth:0 max:1d\nPerSourcePenalties crash:1 min:2.5s",
            PenaltyRules(crash=5400.0, noauth=0.0, max=86400.0, min=2.5),
        ),
        (
            "PerSourcePenalties grace-exceeded:20 refuseconnection:30 invaliduser:.5m authfail:1w",
            PenaltyRules(
                grace_exceeded=20.0, refuseconnection=30.0, invaliduser=30.0, authfail=604800.0
            ),
        ),
        (
            "PerSourcePenalties max-sources4:7 max-sources6:0 overflow:deny-all",
            PenaltyRules(max_sources4=7, max_sources6=0, overflow="deny-all", overflow6="deny-all"),
        ),
        (
            "PerSourcePenalties overflow:deny-all overflow6:permissive",
            PenaltyRules(overflow="deny-all"),
        ),
    ],
)
def test_rules(text: str, expected: PenaltyRules) -> None:
    assert rules(text) == expected


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("PerSourcePenalties", 'no argument after keyword "PerSourcePenalties"'),
        ("PerSourcePenalties no crash:1", 'keyword PerSourcePenalties "no" argument must appear alone.'),
        ("PerSourcePenalties crash:", "invalid PerSourcePenalties time value."),
        ("PerSourcePenalties crash:1x", "invalid PerSourcePenalties time value."),
        ("PerSourcePenalties min:-1", "invalid PerSourcePenalties time value."),
        ("PerSourcePenalties max:99999999999", "invalid PerSourcePenalties time value."),
        ("PerSourcePenalties max-sources4:x", "PerSourcePenalties value invalid."),
        ("PerSourcePenalties max-sources6:-1", "PerSourcePenalties value too small."),
        ("PerSourcePenalties overflow:maybe", "unsupported PerSourcePenalties keyword overflow:maybe"),
        ("PerSourcePenalties crash", "unsupported PerSourcePenalties keyword crash"),
        ("PerSourcePenalties tea:1", "unsupported PerSourcePenalties keyword tea:1"),
        ("PerSourcePenaltyExemptList", 'no argument after keyword "PerSourcePenaltyExemptList"'),
        ("PerSourcePenaltyExemptList 192.0.2.0/33", "keyword PerSourcePenaltyExemptList invalid address argument."),
        ("PerSourcePenaltyExemptList 192.0.2.0/8", "keyword PerSourcePenaltyExemptList invalid address argument."),
    ],
)  # fmt: skip
def test_complaints(line: str, complaint: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        parse(line + "\n", "/f")
    assert caught.value.errors[0].text == complaint


def test_the_dump() -> None:
    assert shown("") == [
        "persourcepenaltyexemptlist none",
        "persourcepenalties crash:90.000000 authfail:5.000000 noauth:1.000000 invaliduser:5.000000 "
        "grace-exceeded:10.000000 refuseconnection:10.000000 max:600.000000 min:15.000000 "
        "max-sources4:65536 max-sources6:65536 overflow:permissive overflow6:permissive",
    ]
    text = "PerSourcePenalties no\nPerSourcePenaltyExemptList 192.0.2.0/24,!2001:db8::1,10.*\n"
    assert shown(text) == [
        "persourcepenaltyexemptlist 192.0.2.0/24,!2001:db8::1,10.*",
        "persourcepenalties no",
    ]


def test_what_the_dump_says_is_read_again_as_the_same() -> None:
    text = "PerSourcePenalties crash:2m max-sources6:3 overflow:deny-all min:0.25\n"
    _, line = shown(text)
    assert rules(line) == rules(text)
