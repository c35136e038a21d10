"""What one login may start, and how: forced commands, terminals, environment, greeting (model: OpenSSH's session.c)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qsh.auth.key_options import KeyOptions
from qsh.config.lexer import split_words
from qsh.errors import ConfigError
from qsh.server import environment
from qsh.server.forward_rules import ForwardRules
from qsh.server.safe_files import read_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qsh.config.daemon_options import DaemonOptions
    from qsh.server.requests import CallKind, Grant, OpenChannel

__all__ = ["NOT_PERMITTED", "PLAIN_KEY", "Plan", "Rights", "SessionRules"]

MOTD: Final = "/etc/motd"
SFTP_SERVERS: Final = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
)
"""Where Debian, Red Hat, Arch and the BSDs have it."""
INTERNAL_SFTP: Final = "internal-sftp"
SYSTEM_ENVIRONMENT: Final = "/etc/environment"
MAX_TEXT: Final = 64 * 1024
PLAIN_KEY: Final = KeyOptions()
NOT_PERMITTED: Final = ("not-permitted", "this login may not use other sessions")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to start a channel's program."""

    path: str
    argv: tuple[str | bytes, ...]
    env: dict[str, str]
    home: str
    greeting: Callable[[], str]
    prepare: Callable[[dict[str, str]], None] | None = None
    """To be called in the program's own process, with its environment, before it starts."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a login may do, as far as a terminal that it made can do it for somebody else."""

    forced_command: str | None
    pty: bool
    agent_forwarding: bool
    port_forwarding: bool
    x11_forwarding: bool
    recorded: bool = False
    """Its terminals are."""
    recorded_or_none: bool = False
    """They must be, to the end (QshRecord closed): with ``open`` nobody knows how much is missing."""

    @property
    def free(self) -> bool:
        """Terminals may be listed and visited at all: no command is forced and a terminal may be had (docs/protocol.md 10.12)."""
        return self.forced_command is None and self.pty

    def may_visit(self, creator: Rights) -> bool:
        """Whether a login with these rights may attach to, end or read a terminal that a login with ``creator``'s made."""
        return (
            self.free
            and self.may_be_seen_in(creator)
            and creator.forced_command is None
            and self.agent_forwarding >= creator.agent_forwarding
            and self.port_forwarding >= creator.port_forwarding
            and self.x11_forwarding >= creator.x11_forwarding
        )

    def may_be_seen_in(self, creator: Rights) -> bool:
        """Whether it is recorded there as it is here: who attaches with a ticket may have come to where other rules hold."""
        return (
            creator.recorded >= self.recorded and creator.recorded_or_none >= self.recorded_or_none
        )


@dataclass(frozen=True, slots=True)
class SessionRules:
    """The rules of one login, made of the account, the configuration that applies to it and its key's options."""

    grant: Grant
    configuration: DaemonOptions
    rehearsed: bool = False
    """This is no session: no script of anybody's runs (preload.py)."""

    @property
    def options(self) -> DaemonOptions:
        """The configuration that applies to this login."""
        return self.grant.options or self.configuration

    @property
    def key(self) -> KeyOptions:
        """The options of the key that let the user in."""
        return self.grant.key or PLAIN_KEY

    @property
    def permits_pty(self) -> bool:
        """A terminal may be had."""
        return bool(self.options.permit_tty) and self.key.pty

    @property
    def forced_command(self) -> str | None:
        """The command that replaces whatever the client asks for; the key's goes before the configuration's."""
        if self.options.force_command and self.options.force_command != "none":
            return self.options.force_command
        return self.key.command

    def runs_user_script(self, request: OpenChannel) -> bool:
        """Whether ~/.ssh/rc runs before the program; one that the administrator forces is not to be led astray."""
        options = self.options
        return (
            request.kind != "subsystem"
            and options.force_command in ("", "none")
            and options.permit_user_rc
            and self.key.user_rc
        )

    @property
    def rights(self) -> Rights:
        """What a terminal of this login records, and what it needs to visit another's."""
        key, options = self.key, self.options
        forwards = ForwardRules(options, key)
        return Rights(
            self.forced_command,
            self.permits_pty,
            forwards.may_call_agent,
            key.port_forwarding and not options.disable_forwarding,
            forwards.may_call_display,
            options.qsh_record != "no",
            options.qsh_record == "closed",
        )

    def calls(self, request: OpenChannel) -> frozenset[CallKind]:
        """Which calls the channel's client takes, as far as this login may make them (docs/protocol.md 13)."""
        if not request.agent and request.x11 is None:
            return frozenset()
        forwards = ForwardRules(self.options, self.key)
        wanted: dict[CallKind, bool] = {
            "agent": request.agent and forwards.may_call_agent,
            "x11": request.x11 is not None and forwards.may_call_display,
        }
        return frozenset(kind for kind, may in wanted.items() if may)

    def refusal(self, request: OpenChannel, open_channels: int) -> tuple[str, str] | None:
        """``(code, text)`` when the channel may not be opened."""
        if open_channels >= self.options.max_sessions:
            return "max-sessions", "open failed: too many sessions on this connection (MaxSessions)"
        if request.kind in ("attach", "sessions"):
            return self._visit_refusal(request)
        if request.kind not in ("shell", "exec", "subsystem"):
            return "unknown-kind", f"unsupported channel type {request.kind!r}"
        if (
            request.kind == "subsystem"
            and self._subsystem(request) is None
            and self.forced_command is None
        ):
            return "no-subsystem", "subsystem request failed"
        return None

    def _visit_refusal(self, request: OpenChannel) -> tuple[str, str] | None:
        if request.kind == "attach" and request.terminal is None:
            return "unknown-kind", "attach needs a terminal"
        if request.kind == "attach" and request.terminal is not None and request.terminal.ticket:
            return None  # it says whose it was: the terminal looks at it
        if not self.rights.free:
            return NOT_PERMITTED
        return None

    def plan(
        self,
        request: OpenChannel,
        tty: str,
        extra: Mapping[str, str] | None = None,
        prepare: Callable[[dict[str, str]], None] | None = None,
    ) -> Plan:
        """How to start what was asked for, or what is forced. ``extra``: SSH_AUTH_SOCK and DISPLAY; ``prepare``: see Plan."""
        account = self.grant.account
        asked: bytes | None = None if request.kind == "shell" else request.command
        forced = self.forced_command
        command = asked if forced is None else os.fsencode(forced)
        if forced is None and request.kind == "subsystem":
            command = os.fsencode(self._subsystem(request) or "")
        allowed = self.options.permit_user_environment
        env = environment.build(
            account=account,
            client=self.grant.client,
            server=self.grant.server,
            tty=tty,
            term=request.pty.term if request.pty is not None and tty else "",
            accepted=environment.accept(self.options.accept_env, request.env),
            set_env=self.options.set_env,
            key_env=self.key.environment if allowed else (),
            key_env_allowed=allowed if isinstance(allowed, str) else None,
            user_file=_read_text(os.path.join(account.home, ".ssh/environment")) if allowed else "",
            system=_system_environment() if self.grant.environment is None else None,
            pam=self.grant.environment,
            tz=os.environ.get("TZ"),
            original_command=os.fsdecode(asked)
            if forced is not None and asked is not None
            else None,
            extra=extra,
        )
        name = os.path.basename(account.shell)
        if command is None:
            login = request.kind == "shell"
            return Plan(
                account.shell,
                (f"-{name}",),
                env,
                account.home,
                lambda: self._greeting(tty) if login else "",
                prepare,
            )
        if (sftp := _sftp_server(os.fsdecode(command))) is not None:
            return Plan(sftp[0], sftp, env, account.home, str, prepare)
        return Plan(account.shell, (name, "-c", command), env, account.home, str, prepare)

    def _subsystem(self, request: OpenChannel) -> str | None:
        """The command of the subsystem; sftp is there without configuration where the system has a server for it."""
        name = request.command.decode(errors="replace")
        command = self.options.subsystem.get(name)
        return INTERNAL_SFTP if name == "sftp" and command is None else command

    def _greeting(self, tty: str) -> str:
        if not tty:
            return ""
        text = self.grant.message
        if os.path.exists(os.path.join(self.grant.account.home, ".hushlogin")):
            return text
        if self.options.print_last_log and self.grant.last_login is not None:
            text += environment.last_login_line(*self.grant.last_login)
        if self.options.print_motd:
            text += _read_text(MOTD)
        return text


def _sftp_server(command: str) -> tuple[str, ...] | None:
    """The words that stand for ``internal-sftp``, forced or not: the system's server, which takes the same options. Without a
    shell, as in sshd: a user who may do nothing else has none. None: the command is another, or there is no server.
    """
    try:
        words = split_words(command, comments=False)
    except ConfigError:
        return None
    if words[:1] != [INTERNAL_SFTP]:
        return None
    path = next((path for path in SFTP_SERVERS if os.access(path, os.X_OK)), None)
    return None if path is None else (path, *words[1:])


def _system_environment() -> dict[str, str]:
    """/etc/environment, values with or without quotes (pam_env)."""
    found = environment.parse_environment(_read_text(SYSTEM_ENVIRONMENT))
    return {name: value.strip("\"'") for name, value in found.items()}


def _read_text(path: str) -> str:
    try:
        data = read_whole(path, MAX_TEXT)
    except OSError:
        return ""
    return data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
