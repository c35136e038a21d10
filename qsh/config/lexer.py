"""Lines of ssh_config and sshd_config split into a keyword and words, by OpenSSH's two rules.

The keyword ends at white space, at one ``=``, or at the quote that closes it. What follows is
split like a simple shell would: single and double quotes group, a backslash protects a quote,
a backslash or (outside quotes) a space, and a ``#`` at the start of a word ends the line.
"""

from __future__ import annotations

from qsh.errors import ConfigError

__all__ = ["split_keyword", "split_words", "strip_line"]

_BLANK = " \t\r\n"
_KEYWORD_END = ' \t\r\n"='


def strip_line(line: str) -> str:
    """``line`` up to a NUL, without trailing white space; a form feed counts only there."""
    if "\0" in line:
        line = line[: line.index("\0")]
    return line[:1] + line[1:].rstrip(" \t\r\n\f")


def split_keyword(line: str) -> tuple[str, str] | None:
    """``(keyword as written, rest)``, or None for a blank line or a comment.

    ``rest`` is empty if the keyword has no argument: the caller knows how to complain.
    An opening quote that is never closed makes OpenSSH skip the line; so do we.
    """
    head, rest = _take_keyword(strip_line(line))
    if head == "" and rest is not None:
        head, rest = _take_keyword(rest)
    if not head or head[0] in "#\n":
        return None
    return head, (rest or "").lstrip(_BLANK)


def _take_keyword(text: str) -> tuple[str | None, str | None]:
    """The first token and what follows it (None: the text ended with the token)."""
    end = next((i for i, char in enumerate(text) if char in _KEYWORD_END), -1)
    if end < 0:
        return text, None
    if text[end] == '"':
        close = text.find('"', end + 1)
        if close < 0:
            return None, None
        return text[:end] + text[end + 1 : close], text[close + 1 :].lstrip(_BLANK)
    rest = text[end + 1 :].lstrip(_BLANK)
    if text[end] != "=" and rest.startswith("="):
        rest = rest[1:].lstrip(_BLANK)
    return text[:end], rest


def split_words(text: str, *, comments: bool = True) -> list[str]:
    """The words of ``text``. Raises ConfigError("invalid quotes") if a quote stays open."""
    if not any(char in text for char in "\"'\\#"):
        return [word for word in text.replace("\t", " ").split(" ") if word]
    words: list[str] = []
    at, size = 0, len(text)
    while at < size:
        if text[at] in " \t":
            at += 1
            continue
        if comments and text[at] == "#":
            break
        word, at = _take_word(text, at)
        words.append(word)
    return words


def _take_word(text: str, at: int) -> tuple[str, int]:
    """One word that starts at ``at``, with its quotes and escapes removed, and where it ends."""
    word: list[str] = []
    quote = ""
    size = len(text)
    while at < size:
        char = text[at]
        follower = text[at + 1 : at + 2]
        if char == "\\" and follower and (follower in "'\"\\" or (not quote and follower == " ")):
            at += 1
            word.append(follower)
        elif char == quote:
            quote = ""
        elif quote or char not in "\"' \t":
            word.append(char)
        elif char in " \t":
            break
        else:
            quote = char
        at += 1
    if quote:
        raise ConfigError("invalid quotes")
    return "".join(word), at
