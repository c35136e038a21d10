"""qshd_config: lines, Match blocks and Include into a DaemonConfig. The grammar is sshd's.

All bad lines are reported, not only the first: ``BadConfiguration.errors``. Files come in through
``read_files(pattern)``, which gives ``(path, text)`` of each file that a glob(7) pattern names, in
lexical order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from qsh.config.daemon_kinds import Line, parse_value
from qsh.config.daemon_match import parse_conditions
from qsh.config.daemon_options import DaemonConfig, DaemonOptions, Setting, merge
from qsh.config.daemon_schema import (
    ALIASES,
    DEPRECATED,
    FIELDS,
    IGNORED,
    KEYWORDS,
    UNSUPPORTED,
    Keyword,
)
from qsh.config.lexer import split_keyword, split_words
from qsh.errors import ConfigError

if TYPE_CHECKING:
    from qsh.config.daemon_match import Condition

__all__ = ["BadConfiguration", "ReadFiles", "Visited", "parse"]

ReadFiles = Callable[[str], Iterable[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Visited:
    """A good line: its place, its keyword, how it is written, its value, and whether it stands under a Match."""

    file: str
    line: int
    keyword: Keyword
    text: str
    value: object
    conditional: bool


Visit = Callable[[Visited], None]

INCLUDE_DIRECTORY: Final = "/etc/qsh"
MAX_DEPTH: Final = 16
"""Includes within includes (OpenSSH: the same)."""
MAX_INCLUDED: Final = 1024
"""Files read in all: a file that includes itself twice would be read 65,536 times else."""
COMMAND_LINE: Final = "command-line"
UNCONDITIONAL: Final = frozenset({"match", "include"})


class BadConfiguration(ConfigError):
    """All that is wrong with a configuration; ``errors`` has one error per bad line."""

    def __init__(self, file: str, errors: list[ConfigError]) -> None:
        self.errors = tuple(errors)
        super().__init__(f"terminating, {len(errors)} bad configuration options", file=file)

    def report(self) -> list[str]:
        """The lines that sshd would write, the count last."""
        return [*(str(error) for error in self.errors), super().__str__()]

    def __str__(self) -> str:
        return "\n".join(self.report())


def parse(
    text: str,
    file: str,
    read_files: ReadFiles = lambda pattern: (),
    *,
    overrides: Iterable[tuple[str, str]] = (),
    include_directory: str = INCLUDE_DIRECTORY,
    visit: Visit | None = None,
) -> DaemonConfig:
    """The configuration in ``text``, which is that of ``file``. Raises BadConfiguration.

    ``overrides`` are keyword and value of ``-o`` and the like; they go before the file. ``visit`` is told of each good line, in
    order; then a value that qshd cannot do what it says is no error.
    """
    reader = _Reader(file, read_files, include_directory, visit)
    for keyword, value in overrides:
        reader.override(keyword, value)
    ports_given = any(setting.field == "port" for setting in reader.settings)
    reader.read(text, file, (), 0)
    settings = reader.settings
    if ports_given:  # sshd: -p and -o Port replace the file's, they do not add to them
        given = [setting for setting in settings[: reader.overridden] if setting.field == "port"]
        settings = [*given, *(setting for setting in settings if setting.field != "port")]
    options = merge(DaemonOptions(), [setting for setting in settings if not setting.conditions])
    nonsense = [*_nonsense(options), *(_unchecked(options, settings) if visit is None else ())]
    errors = [*reader.errors, *(ConfigError(text, file=file) for text in nonsense)]
    if errors:
        raise BadConfiguration(file, errors)
    return DaemonConfig(
        file,
        tuple(setting for setting in settings if setting.conditions),
        tuple(reader.warnings),
        options,
    )


def _nonsense(options: DaemonOptions) -> list[str]:
    """What makes no sense together (sshd.c: "Check that options are sensible")."""
    commands = {
        "AuthorizedKeysCommand": (
            options.authorized_keys_command,
            options.authorized_keys_command_user,
        ),
        "AuthorizedPrincipalsCommand": (
            options.authorized_principals_command,
            options.authorized_principals_command_user,
        ),
    }
    return [
        f"{name} set without {name}User"
        for name, (command, user) in commands.items()
        if command != "none" and user == "none"
    ]


def _unchecked(options: DaemonOptions, settings: Sequence[Setting]) -> list[str]:
    """Passwords that are asked for by name and that nobody could check: Python has no crypt(3) any more, so PAM does it."""
    refusals = (
        FIELDS[setting.field].refusal(setting.value, use_pam=options.use_pam)
        for setting in settings
    )
    return list(dict.fromkeys(refusal for refusal in refusals if refusal))


@dataclass
class _Reader:
    """Reads one file and all that it includes."""

    file: str
    read_files: ReadFiles
    include_directory: str = INCLUDE_DIRECTORY
    visit: Visit | None = None
    settings: list[Setting] = field(default_factory=list)
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    overridden: int = 0
    included: int = 0

    def override(self, keyword: str, value: str) -> None:
        """One option of the command line."""
        try:
            if keyword.lower() in UNCONDITIONAL:
                text = f"{keyword} directive not supported as a command-line option"
                raise ConfigError(text, keyword=keyword)
            self._read_line(f"{keyword} {value}", (COMMAND_LINE, 0), (), 0)
        except ConfigError as error:
            self.errors.append(ConfigError(error.text, file=COMMAND_LINE, keyword=keyword))
        self.overridden = len(self.settings)

    def read(
        self, text: str, file: str, outer: tuple[tuple[Condition, ...], ...], depth: int
    ) -> None:
        """The lines of one file; Match lines in it end with it."""
        conditions = outer
        for number, line in enumerate(text.split("\n"), 1):
            keyword = ""
            try:
                split = split_keyword(line)
                if split is None:
                    continue
                keyword, rest = split
                if keyword.lower() == "match" and rest:
                    conditions = (*outer, parse_conditions(split_words(rest)))
                else:
                    self._read_line(line, (file, number), conditions, depth)
            except ConfigError as error:
                self.errors.append(
                    error
                    if error.file
                    else ConfigError(error.text, file=file, line=number, keyword=keyword)
                )

    def _read_line(
        self,
        line: str,
        place: tuple[str, int],
        conditions: tuple[tuple[Condition, ...], ...],
        depth: int,
    ) -> None:
        split = split_keyword(line)
        if split is None:
            return
        keyword, rest = split
        if not rest:
            raise ConfigError(f'no argument after keyword "{keyword}"')
        name = ALIASES.get(keyword.lower(), keyword.lower())
        if name in DEPRECATED or name in UNSUPPORTED or name in IGNORED:
            self._note(keyword, name, place)
            return
        words = split_words(rest)
        if name == "include":
            self._include(keyword, words, place, conditions, depth)
            return
        entry = KEYWORDS.get(name)
        if entry is None:
            raise ConfigError(f"Bad configuration option: {keyword}")
        if conditions and not entry.match:
            raise ConfigError(f"Directive '{keyword}' is not allowed within a Match block")
        value = parse_value(entry.kind, found := Line(keyword, words, rest))
        if found.words:
            raise ConfigError(f"keyword {keyword} extra arguments at end of line")
        if self.visit is not None:
            self.visit(Visited(place[0], place[1], entry, line.strip(), value, bool(conditions)))
        self.settings.append(Setting(entry.field, value, entry.appends, conditions))

    def _note(self, keyword: str, name: str, place: tuple[str, int]) -> None:
        if name not in IGNORED:
            word = "Deprecated" if name in DEPRECATED else "Unsupported"
            self.warnings.append(f"{place[0]} line {place[1]}: {word} option {keyword}")

    def _include(
        self,
        keyword: str,
        patterns: list[str],
        place: tuple[str, int],
        conditions: tuple[tuple[Condition, ...], ...],
        depth: int,
    ) -> None:
        if depth >= MAX_DEPTH:
            raise ConfigError("Too many recursive configuration includes")
        for pattern in patterns:
            if not pattern:
                raise ConfigError(f"keyword {keyword} empty argument")
            path = pattern if pattern[0] in "/~" else f"{self.include_directory}/{pattern}"
            try:
                files = list(self.read_files(path))
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                file = getattr(error, "filename", None) or path
                raise ConfigError(f'include "{file}" failed: {reason}') from None
            for file, text in files:
                self.included += 1
                if self.included > MAX_INCLUDED:
                    raise ConfigError("Too many included files")
                self.read(text, file, conditions, depth + 1)
