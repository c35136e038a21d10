"""ssh_config files and ``-o`` lines into settings, for one host.

The first value of a keyword wins, so what is read first matters most. A file is read to its
end even if lines in it are bad; then all complaints come as one ConfigError in OpenSSH's
words, whose ``__cause__`` has the first one's file, line and keyword.
"""

from __future__ import annotations

from qsh.config.kinds import KINDS, FatalError, Line
from qsh.config.lexer import split_keyword, split_words
from qsh.config.match import MatchContext, evaluate
from qsh.config.schema import KEYWORDS
from qsh.config.tokens import expand
from qsh.errors import ConfigError
from qsh.patterns import lower_ascii, match_list, match_pattern

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qsh.config.environment import Environment
    from qsh.config.settings import Settings

__all__ = ["Parser"]

MAX_DEPTH = 16  # READCONF_MAX_DEPTH
OTHERS_MAY_WRITE = 0o022


class _Stop(Exception):
    """What ssh calls fatal: the text is complete and nothing more is read."""


class _Scope:
    """Where we are: a file at a depth, and whether its lines count."""

    __slots__ = ("active", "base", "depth", "name", "never", "user")

    def __init__(self, name: str, *, user: bool, base: str, depth: int, never: bool) -> None:
        self.name, self.user, self.base, self.depth = name, user, base, depth
        self.never, self.active = never, not never


class Parser:
    """Reads files and command-line options into ``settings``.

    ``notes`` are for the debug log, ``warnings`` for standard error.
    """

    def __init__(
        self,
        environment: Environment,
        settings: Settings,
        *,
        host: str = "",
        original_host: str = "",
        command: str = "",
        final: bool = False,
    ) -> None:
        self.environment = environment
        self.settings = settings
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self._host = host
        self._complaints: list[str] = []
        self._first: ConfigError | None = None
        self._context = MatchContext(
            settings,
            environment,
            host=host,
            original_host=original_host or host,
            command=command,
            final=final,
        )

    @property
    def want_final(self) -> bool:
        """Whether a ``Match final`` asks for a second pass."""
        return self._context.want_final

    def command_line(self, text: str) -> None:
        """One ``-o`` option. Raises ConfigError."""
        scope = _Scope("command-line", user=True, base="", depth=-1, never=False)
        try:
            good = self._line(scope, text, 0)
        except _Stop as stop:
            self._complaints.append(str(stop))
            good = False
        if not good:
            raise self._failure()

    def file(self, path: str, *, user: bool, base: str, check: bool) -> bool:
        """Read a file. False: it cannot be opened. Raises ConfigError.

        ``user`` is False for the system's files; ``base`` is where relative Includes start;
        ``check`` asks for the permissions that ssh wants of ~/.ssh/config.
        """
        scope = _Scope(path, user=user, base=base, depth=0, never=False)
        try:
            return self._file(path, check, scope) is None
        except _Stop as stop:
            self._complaints.append(str(stop))
            raise self._failure() from self._first

    def _failure(self) -> ConfigError:
        first = self._first
        failure = ConfigError("\n".join(self._complaints), keyword=first.keyword if first else "")
        failure.__cause__ = first
        return failure

    def _file(self, path: str, check: bool, scope: _Scope) -> OSError | None:
        if scope.depth > MAX_DEPTH:
            raise _Stop("Too many recursive configuration includes")
        try:
            file = self.environment.read_file(path)
        except OSError as error:
            return error
        foreign = file.uid not in (0, self.environment.uid)
        if check and (foreign or file.mode & OTHERS_MAY_WRITE):
            raise _Stop(f"Bad owner or permissions on {path}")
        self.notes.append(f"Reading configuration data {path}")
        bad = 0
        for number, text in enumerate(file.text.split("\n"), 1):
            bad += not self._line(scope, text, number)
        if bad:
            raise _Stop(f"{path}: terminating, {bad} bad configuration options")
        return None

    def _line(self, scope: _Scope, text: str, number: int) -> bool:
        """One line; False if it was bad (the complaint is noted)."""
        parsed = split_keyword(text)
        if parsed is None:
            return True
        keyword, rest = lower_ascii(parsed[0]), parsed[1]
        where = f"{scope.name} line {number}"
        try:
            if not rest:
                raise ConfigError(f'no argument after keyword "{keyword}"')
            self._keyword(scope, keyword, rest, where)
        except FatalError as error:
            self._remember(error, scope.name, number, keyword)
            raise _Stop(f"{where}: {error}") from None
        except ConfigError as error:
            unknown = error.text.startswith("Bad configuration option:")
            rendered = f"{scope.name}: line {number}: {error}" if unknown else f"{where}: {error}"
            self._complaints.append(rendered)
            self._remember(error, scope.name, number, keyword)
            return False
        return True

    def _remember(self, error: ConfigError, file: str, line: int, keyword: str) -> None:
        if self._first is None:
            self._first = ConfigError(error.text, file=file, line=line, keyword=keyword)

    def _keyword(self, scope: _Scope, keyword: str, rest: str, where: str) -> None:
        row = KEYWORDS.get(keyword)
        if row is None:
            ignored = self.settings.get("ignore_unknown")
            if ignored is None or match_list(keyword, ignored, lower=True) != 1:
                raise ConfigError(f"Bad configuration option: {keyword}")
            self.notes.append(f'{where}: Ignored unknown option "{keyword}"')
            return
        words = split_words(rest)
        if row.kind == "unsupported":
            self.warnings.append(f'{where}: Unsupported option "{keyword}"')
            return
        if row.kind in ("host", "match", "include"):
            if scope.depth < 0:
                raise ConfigError(f"{row.name} directive not supported as a command-line option")
            self._structure(row.kind, scope, words, where)
        else:
            line = Line(
                row,
                keyword,
                rest,
                words,
                settings=self.settings,
                environment=self.environment,
                source=where,
                active=scope.active,
                user=scope.user,
                command_line=scope.depth < 0,
                notes=self.notes,
            )
            KINDS[row.kind](line)
        if words:
            raise ConfigError(f"keyword {keyword} extra arguments at end of line")

    def _structure(self, kind: str, scope: _Scope, words: list[str], where: str) -> None:
        if kind == "host":
            self._host_line(scope, words)
        elif kind == "match":
            try:
                scope.active = evaluate(words, self._context) and not scope.never
            except ConfigError as error:
                self._complaints.append(error.text)
                raise ConfigError("Bad Match condition") from None
        else:
            self._include(scope, words, where)

    def _host_line(self, scope: _Scope, words: list[str]) -> None:
        scope.active = False
        while words:
            pattern = words.pop(0)
            if not pattern:
                raise ConfigError("keyword host empty argument")
            if scope.never:
                words.clear()
            elif match_pattern(self._host, pattern.removeprefix("!")):
                scope.active = not pattern.startswith("!")
                if not scope.active:
                    words.clear()

    def _include(self, scope: _Scope, words: list[str], where: str) -> None:
        while words:
            written = words.pop(0)
            if not written:
                raise ConfigError("keyword include empty argument")
            path = written
            if "%" in path or "${" in path:
                tokens = self._context.tokens()
                path = expand(path, tokens, environment=self.environment)
            if path.startswith("~") and not scope.user:
                raise ConfigError(f"bad include path {path}.")
            if not path.startswith(("/", "~")):
                path = f"{scope.base}/{path}"
            found = self.environment.glob(path)
            if not found:
                self.notes.append(f"{where}: include {path} matched no files")
            for name in found:
                self._included(scope, name)

    def _included(self, scope: _Scope, name: str) -> None:
        inner = _Scope(
            name,
            user=scope.user,
            base=scope.base,
            depth=scope.depth + 1,
            never=scope.never or not scope.active,
        )
        error = self._file(name, True, inner)
        if error is not None and not isinstance(error, FileNotFoundError):
            raise ConfigError(f"Can't open user config file {name}: {error.strerror}")
