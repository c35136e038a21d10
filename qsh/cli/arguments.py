"""The command line of ssh(1), option for option: OpenSSH 10.5's grammar.

Options come before the host and, once more, right after it; ``--`` ends them. ``-o`` lines and
flags go into the same settings as the configuration files, in ssh's order of precedence: a flag
overrides an earlier ``-o``, of two ``-p`` or ``-l`` the first counts.

Written out instead of using the standard library's getopt: importing that costs more than all
of this, and ``-l`` before and after the host must be seen in order.
"""

from __future__ import annotations

from qsh.config.algorithms import check_names
from qsh.config.forwards import parse_forward, parse_jump, parse_uri
from qsh.config.parser import Parser
from qsh.config.resolve import TYPED
from qsh.config.settings import Settings
from qsh.config.tokens import expand_tilde, valid_host, valid_user
from qsh.config.values import LOG_LEVELS, parse_escape, parse_port, parse_tunnel_unit
from qsh.errors import ConfigError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsh.config.environment import Environment

__all__ = ["USAGE", "Arguments", "parse_arguments"]

FLAGS = "1246ACGKMNTVXYZafgknqstvxy"
WITH_VALUE = "BDEFIJLOPQRSWbceilmopw"
CONTROL_COMMANDS = (
    "check",
    "conninfo",
    "channels",
    "forward",
    "exit",
    "stop",
    "cancel",
    "proxy",
)

USAGE = """\
usage: qsh [-46AaCfGgKkMNnqsTtVvXxYyZ] [-B bind_interface] [-b bind_address]
           [-c cipher_spec] [-D [bind_address:]port] [-E log_file]
           [-e escape_char] [-F configfile] [-I pkcs11] [-i identity_file]
           [-J destination] [-L address] [-l login_name] [-m mac_spec]
           [-O ctl_cmd] [-o option] [-P tag] [-p port] [-R address]
           [-S ctl_path] [-W host:port] [-w local_tun[:remote_tun]]
           destination [command [argument ...]]
       qsh [-Q query_option]"""


class Arguments:
    """A parsed command line. Not a dataclass: importing dataclasses would double the start-up."""

    __slots__ = (
        "command",
        "config_file",
        "control_command",
        "dump_keys",
        "host",
        "log_file",
        "options",
        "print_config",
        "query",
        "settings",
        "ssh_argv",
        "use_syslog",
        "verbosity",
        "version",
        "warnings",
    )

    def __init__(self) -> None:
        self.host = ""
        """As typed, without user and port."""
        self.command: str | None = None
        """The words after the host, joined; None if there are none."""
        self.settings = Settings()
        """What flags and ``-o`` set: where reading the files starts."""
        self.options: tuple[tuple[str, str], ...] = ()
        """``-o`` options as (keyword, value), in order."""
        self.ssh_argv: tuple[str, ...] = ()
        """The same command line for ssh(1): without Qsh* options, with ``--``."""
        self.warnings: list[str] = []
        self.config_file: str | None = None
        self.log_file: str | None = None
        self.query: str | None = None
        self.control_command: str | None = None
        self.verbosity = 0
        self.print_config = False
        self.version = False
        self.use_syslog = False
        self.dump_keys = False

    @property
    def user(self) -> str | None:
        """From ``-l``, ``user@``, a URI or ``-o User``; None if a file may say."""
        return None if "user" not in self.settings.values else str(self.settings.values["user"])

    @property
    def stdio_forward(self) -> tuple[str, int] | None:
        """Host and port of ``-W``; a path has port -2."""
        forward: tuple[str, int] | None = self.settings.get("stdio_forward")
        return forward

    @property
    def subsystem(self) -> bool:
        """``-s``: the command is the name of a subsystem."""
        return bool(self.settings.get("session_type") == "subsystem")


def parse_arguments(argv: Sequence[str], environment: Environment) -> Arguments:
    """``argv`` without the program's name. Raises UsageError or ConfigError: exit with 255.

    After ``-V`` or ``-Q`` nothing more is looked at.
    """
    return _Reader(list(argv), environment).read()


class _Done(Exception):
    """The way out of the loop after -V and -Q."""


class _Reader:
    """The state of one pass over the words."""

    def __init__(self, words: list[str], environment: Environment) -> None:
        self._words = words
        self._environment = environment
        self._result = Arguments()
        self._settings = self._result.settings
        self._have_host = False
        self._options: list[tuple[str, str]] = []
        self._ssh: list[str] = []

    def read(self) -> Arguments:
        result = self._result
        try:
            self._read_words()
        except _Done:
            return result
        if not self._have_host:
            raise UsageError(USAGE)
        if result.user is not None and not valid_user(result.user):
            raise UsageError("remote username contains invalid characters")
        if not valid_host(result.host):
            raise UsageError("hostname contains invalid characters")
        if self._words:
            result.command = " ".join(self._words)
        elif result.subsystem:
            raise UsageError(f"You must specify a subsystem to invoke.\n{USAGE}")
        if result.use_syslog and result.log_file is not None:
            raise UsageError("Can't specify both -y and -E")
        result.options = tuple(self._options)
        user = [] if result.user is None else ["-l", result.user]
        result.ssh_argv = (*self._ssh, *user, "--", result.host, *self._words)
        return result

    def _read_words(self) -> None:
        terminated = self._read_options(0)
        if not self._words:
            return
        self._destination(self._words[0])
        if len(self._words) > 1 and not terminated:
            self._read_options(1)
        else:
            del self._words[0]

    def _read_options(self, start: int) -> bool:
        """Take options off the words from ``start``; whether ``--`` was the last one taken."""
        at = start
        while at < len(self._words):
            word = self._words[at]
            if word == "--":
                at += 1
                break
            if len(word) < 2 or word[0] != "-":
                break
            at += 1
            place = 1
            while place < len(word):
                letter = word[place]
                place += 1
                if letter in FLAGS:
                    self._flag(letter)
                elif letter in WITH_VALUE:
                    value = word[place:]
                    if not value:
                        if at == len(self._words):
                            raise UsageError(f"option requires an argument -- {letter}\n{USAGE}")
                        value = self._words[at]
                        at += 1
                    place = len(word)
                    self._valued(letter, value)
                else:
                    raise UsageError(f"unknown option -- {letter}\n{USAGE}")
        last = self._words[at - 1] if at > start else ""
        del self._words[:at]
        return last == "--"

    def _destination(self, text: str) -> None:
        self._have_host = True
        try:
            uri = parse_uri(text, self._environment)
        except ValueError:
            raise UsageError(USAGE) from None
        if uri is not None:
            user, self._result.host, port = uri
            if port != -1:
                self._settings.first("port", port, TYPED)
                if self._settings.sources["port"] == TYPED:
                    self._ssh += ["-p", str(port)]
        else:
            name, at, self._result.host = text.rpartition("@")
            if at and not name:
                raise UsageError(USAGE)
            user = name if at else None
        if user is not None:
            self._settings.first("user", user, TYPED)

    def _flag(self, letter: str) -> None:
        if letter not in "GVZ":
            self._ssh.append(f"-{letter}")
        plain = _FLAG_SETTINGS.get(letter)
        if plain is not None:
            for attribute, value in plain:
                self._settings.put(attribute, value, f"-{letter}")
            return
        if letter in _FLAG_ACTIONS:
            _FLAG_ACTIONS[letter](self)

    def _valued(self, letter: str, value: str) -> None:
        keyword = value.lstrip(' \t"').lower() if letter == "o" else ""
        if not keyword.startswith("qsh") and letter not in "lQ":
            self._ssh += [f"-{letter}", value]
        _VALUE_ACTIONS[letter](self, value)

    # flags that look at what came before

    def _protocol_1(self) -> None:
        raise UsageError("SSH protocol v.1 is no longer supported")

    def _print_config(self) -> None:
        self._result.print_config = True

    def _dump_keys(self) -> None:
        self._result.dump_keys = True

    def _version(self) -> None:
        self._result.version = True
        raise _Done

    def _syslog(self) -> None:
        self._result.use_syslog = True

    def _quiet(self) -> None:
        self._settings.put("log_level", "QUIET", "-q")

    def _tty(self) -> None:
        again = self._settings.get("request_tty") == "yes"
        self._settings.put("request_tty", "force" if again else "yes", "-t")

    def _master(self) -> None:
        again = self._settings.get("control_master") == "yes"
        self._settings.put("control_master", "ask" if again else "yes", "-M")

    def _verbose(self) -> None:
        if self._result.verbosity == 0:
            self._result.verbosity = 1
            self._settings.put("log_level", "DEBUG", "-v")
            return
        level = LOG_LEVELS.index(self._settings.get("log_level", "DEBUG"))
        if level < len(LOG_LEVELS) - 1:
            self._result.verbosity += 1
            self._settings.put("log_level", LOG_LEVELS[level + 1], "-v")

    def _no_session(self) -> None:
        if self._settings.get("session_type", "none") != "none":
            raise UsageError("Cannot specify -N with -s/SessionType")
        self._settings.put("session_type", "none", "-N")
        self._settings.put("request_tty", "no", "-N")

    def _subsystem(self) -> None:
        if self._settings.get("session_type", "subsystem") != "subsystem":
            raise UsageError("Cannot specify -s with -N/SessionType")
        self._settings.put("session_type", "subsystem", "-s")

    # options with a value

    def _option(self, value: str) -> None:
        parser = Parser(self._environment, self._settings, host=self._result.host)
        try:
            parser.command_line(value)
        finally:
            self._result.warnings += parser.warnings
        keyword, _, rest = value.replace("=", " ", 1).strip().partition(" ")
        self._options.append((keyword, rest.strip()))

    def _port(self, value: str) -> None:
        if "port" in self._settings.values:
            return
        port = parse_port(value, self._environment.service_port)
        if port <= 0:
            raise UsageError(f"Bad port '{value}'")
        self._settings.put("port", port, "-p")

    def _login(self, value: str) -> None:
        self._settings.first("user", value, TYPED)

    def _tag(self, value: str) -> None:
        self._settings.first("tag", value, "-P")

    def _config_file(self, value: str) -> None:
        self._result.config_file = value

    def _log_file(self, value: str) -> None:
        self._result.log_file = value

    def _query(self, value: str) -> None:
        self._result.query = value
        raise _Done

    def _identity(self, value: str) -> None:
        path = expand_tilde(value, self._environment)
        reason = self._environment.exists(path)
        if reason:
            text = f"Warning: Identity file {path} not accessible: {reason}."
            self._result.warnings.append(text)
        else:
            self._settings.add("identity_file", (path, True), "-i")

    def _jump(self, value: str) -> None:
        if self._settings.get("proxy_jump") is not None:
            raise UsageError(
                "Only a single -J option is permitted (use commas to separate multiple jump hops)"
            )
        if self._settings.get("proxy_command") is not None:
            raise UsageError("Cannot specify -J with ProxyCommand")
        try:
            jump = parse_jump(value, self._environment, strict=True)
        except ValueError:
            raise UsageError("Invalid -J argument") from None
        self._settings.put("proxy_jump", "none" if jump is None else jump, "-J")
        if jump is not None:
            self._settings.put("proxy_command", "none", "-J")

    def _local(self, value: str) -> None:
        self._forward(value, "local")

    def _dynamic(self, value: str) -> None:
        self._forward(value, "dynamic")

    def _remote(self, value: str) -> None:
        self._forward(value, "remote")

    def _forward(self, value: str, kind: str) -> None:
        environment = self._environment
        if kind == "dynamic":
            forward = parse_forward(value, environment, dynamic=True)
        else:
            forward = parse_forward(value, environment, remote=kind == "remote")
        if forward is None and kind == "remote":
            forward = parse_forward(value, environment, dynamic=True, remote=True)
        if forward is None:
            raise UsageError(f"Bad {kind} forwarding specification '{value}'")
        attribute = "remote_forward" if kind == "remote" else "local_forward"
        self._settings.add(attribute, forward, f"-{kind[0].upper()}")

    def _stdio(self, value: str) -> None:
        if self._settings.get("stdio_forward") is not None:
            raise UsageError("stdio forward already specified")
        if self._result.control_command is not None:
            raise UsageError("Cannot specify stdio forward with -O")
        forward = parse_forward(value, self._environment, dynamic=True)
        if forward is None:
            raise UsageError(f"Bad stdio forwarding specification '{value}'")
        target = (forward.listen_host or "", forward.listen_port)
        if forward.listen_path is not None:
            target = (forward.listen_path, -2)
        self._settings.put("stdio_forward", target, "-W")
        self._settings.put("request_tty", "no", "-W")
        self._settings.put("session_type", "none", "-W")

    def _control(self, value: str) -> None:
        if self._settings.get("stdio_forward") is not None:
            raise UsageError("Cannot specify multiplexing command with -W")
        if self._result.control_command is not None:
            raise UsageError("Multiplexing command already specified")
        if value not in CONTROL_COMMANDS:
            raise UsageError("Invalid multiplex command.")
        self._result.control_command = value

    def _escape(self, value: str) -> None:
        try:
            self._settings.put("escape_char", parse_escape(value), "-e")
        except ConfigError:
            raise UsageError(f"Bad escape character '{value}'.") from None

    def _cipher(self, value: str) -> None:
        self._names("ciphers", value, "cipher", "-" if value.startswith("-") else "")

    def _mac(self, value: str) -> None:
        self._names("macs", value, "mac", value[:1] if value[:1] in ("+", "-", "^") else "")

    def _names(self, family: str, value: str, what: str, bad_prefix: str) -> None:
        try:
            check_names(family, value)
        except ConfigError:
            bad_prefix = "unknown"
        if bad_prefix:
            raise UsageError(f"Unknown {what} type '{value}'")
        self._settings.put(family, value, f"-{what[0]}")

    def _tunnel(self, value: str) -> None:
        try:
            units = parse_tunnel_unit(value)
        except ConfigError:
            raise UsageError(f"Bad tun device '{value}'") from None
        self._settings.first("tunnel", "point-to-point", "-w")
        self._settings.put("tunnel_device", units, "-w")


_FLAG_SETTINGS: dict[str, tuple[tuple[str, object], ...]] = {
    "2": (),
    "4": (("address_family", "inet"),),
    "6": (("address_family", "inet6"),),
    "A": (("forward_agent", True),),
    "a": (("forward_agent", False),),
    "C": (("compression", "yes"),),
    "f": (("fork_after_authentication", True), ("stdin_null", True)),
    "g": (("gateway_ports", True),),
    "K": (("gssapi_authentication", True), ("gssapi_delegate_credentials", True)),
    "k": (("gssapi_delegate_credentials", False),),
    "n": (("stdin_null", True),),
    "T": (("request_tty", "no"),),
    "X": (("forward_x11", True),),
    "x": (("forward_x11", False),),
    "Y": (("forward_x11", True), ("forward_x11_trusted", True)),
}

_FLAG_ACTIONS: dict[str, Callable[[_Reader], None]] = {
    "1": _Reader._protocol_1,
    "G": _Reader._print_config,
    "M": _Reader._master,
    "N": _Reader._no_session,
    "V": _Reader._version,
    "Z": _Reader._dump_keys,
    "q": _Reader._quiet,
    "s": _Reader._subsystem,
    "t": _Reader._tty,
    "v": _Reader._verbose,
    "y": _Reader._syslog,
}

_VALUE_ACTIONS: dict[str, Callable[[_Reader, str], None]] = {
    "B": lambda reader, value: reader._settings.put("bind_interface", value, "-B"),
    "b": lambda reader, value: reader._settings.put("bind_address", value, "-b"),
    "c": _Reader._cipher,
    "D": _Reader._dynamic,
    "E": _Reader._log_file,
    "e": _Reader._escape,
    "F": _Reader._config_file,
    "I": lambda reader, value: reader._settings.put("pkcs11_provider", value, "-I"),
    "i": _Reader._identity,
    "J": _Reader._jump,
    "L": _Reader._local,
    "l": _Reader._login,
    "m": _Reader._mac,
    "O": _Reader._control,
    "o": _Reader._option,
    "P": _Reader._tag,
    "p": _Reader._port,
    "Q": _Reader._query,
    "R": _Reader._remote,
    "S": lambda reader, value: reader._settings.put("control_path", value, "-S"),
    "W": _Reader._stdio,
    "w": _Reader._tunnel,
}
