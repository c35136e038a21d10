"""Wildcard patterns of ssh_config(5): ``*``, ``?``, comma lists, negation with ``!``."""

from __future__ import annotations

__all__ = ["lower_ascii", "match_host", "match_list", "match_pattern"]

_LOWER = {code: code + 32 for code in range(65, 91)}
LONGEST_PATTERN = 1022  # OpenSSH: a longer member of a list makes the whole list fail


def lower_ascii(text: str) -> str:
    """``text`` with A-Z in lower case and nothing else touched, as C's tolower in locale C."""
    return text.translate(_LOWER)


def match_pattern(text: str, pattern: str) -> bool:
    """Whether ``pattern`` matches all of ``text``. Linear memory, no recursion."""
    at, place = 0, 0
    star, resume = -1, 0
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, resume = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in (text[at], "?"):
            at += 1
            place += 1
        elif star >= 0:
            resume += 1
            at, place = resume, star + 1
        else:
            return False
    return not pattern[place:].strip("*")


def match_list(text: str, patterns: str, *, lower: bool = False) -> int:
    """1: matched; 0: not; -1: a negated member matched. ``lower`` folds the patterns' case."""
    found = 0
    members = patterns.split(",")
    if members[-1] == "":
        members.pop()
    for member in members:
        negated = member.startswith("!")
        pattern = member[1:] if negated else member
        if len(pattern) > LONGEST_PATTERN:
            return 0
        if match_pattern(text, lower_ascii(pattern) if lower else pattern):
            if negated:
                return -1
            found = 1
    return found


def match_host(host: str, patterns: str) -> bool:
    """A host name against a pattern list, without regard to case."""
    return match_list(lower_ascii(host), patterns, lower=True) == 1
