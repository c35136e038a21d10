"""What a login may start: no way around a forced command."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qsh.auth.key_options import KeyOptions
from qsh.config.daemon_options import DaemonOptions
from qsh.server.account import Account
from qsh.server.requests import Grant, OpenChannel
from qsh.server.session_rules import Rights, SessionRules
from qsh.wire.messages import X11, Pty

SOMEONE = Account("anna", 1000, 1000, (1000,), "/no/such/home", "/bin/bash")
PTY = Pty("xterm\0x", 24, 80)


def rules(key: KeyOptions | None = None, **options: object) -> SessionRules:
    found = DaemonOptions(**options)  # type: ignore[arg-type]
    return SessionRules(Grant(SOMEONE, found, key, ("::1", 1), ("::1", 22)), DaemonOptions())


EVERYTHING = [
    OpenChannel(4, "shell"),
    OpenChannel(4, "shell", b"mine"),
    OpenChannel(4, "exec", b"mine"),
    OpenChannel(4, "exec", b""),
    OpenChannel(4, "exec", b"mine\0"),
    OpenChannel(4, "subsystem", b"sftp"),
    OpenChannel(4, "subsystem", b"no-such"),
    OpenChannel(4, "exec", b"mine", env={"SSH_ORIGINAL_COMMAND": "x", "BASH_ENV": "/tmp/x"}),
    OpenChannel(4, "shell", pty=PTY),
]


@pytest.mark.parametrize("request_", EVERYTHING)
@pytest.mark.parametrize(
    "made",
    [
        rules(KeyOptions(command="forced"), subsystem={"sftp": "/bin/sftp"}),
        rules(force_command="forced", subsystem={"sftp": "/bin/sftp"}),
        rules(KeyOptions(command="the key's"), force_command="forced"),
    ],
)
def test_a_forced_command_is_all_there_is(made: SessionRules, request_: OpenChannel) -> None:
    assert made.refusal(request_, 0) is None
    plan = made.plan(request_, "")
    assert plan.argv == ("bash", "-c", b"forced")
    asked = None if request_.kind == "shell" else request_.command.decode()
    if asked is not None and "\0" in asked:
        asked = None
    assert plan.env.get("SSH_ORIGINAL_COMMAND") == asked
    assert "BASH_ENV" not in plan.env


def test_all_words_of_a_subsystem_count() -> None:
    """CVE-2026-59997: of the arguments only the first nine were taken."""
    command = "/bin/x " + " ".join(f"-{number}" for number in range(40))
    plan = rules(subsystem={"x": command}).plan(OpenChannel(4, "subsystem", b"x"), "")
    assert plan.argv == ("bash", "-c", command.encode())


def test_no_more_than_max_sessions() -> None:
    made = rules(max_sessions=2)
    assert made.refusal(EVERYTHING[0], 1) is None
    assert (made.refusal(EVERYTHING[0], 2) or ("",))[0] == "max-sessions"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (OpenChannel(4, "x11"), "unknown-kind"),
        (OpenChannel(4, ""), "unknown-kind"),
        (OpenChannel(4, "subsystem", b"no-such"), "no-subsystem"),
        (OpenChannel(4, "subsystem", b"\xff"), "no-subsystem"),
    ],
)
def test_refusals(request_: OpenChannel, code: str) -> None:
    assert (rules().refusal(request_, 0) or ("",))[0] == code


def test_terminals() -> None:
    assert rules().permits_pty
    assert not rules(KeyOptions(pty=False)).permits_pty
    assert not rules(permit_tty=False).permits_pty


def test_only_the_variables_that_are_let_in() -> None:
    sent = {"LD_PRELOAD": "/tmp/x.so", "LANG": "C", "USER": "root", "A\nB": "x"}
    asked = OpenChannel(4, "exec", b"true", env=sent)
    env = rules(accept_env=("LANG", "LC_*", "U*")).plan(asked, "").env
    assert "LD_PRELOAD" not in env
    assert env["LANG"] == "C"
    assert env["USER"] == "anna"


def test_a_terminal_type_with_a_nul_is_left_out() -> None:
    assert "TERM" not in rules().plan(OpenChannel(4, "shell", pty=PTY), "/dev/pts/1").env


@pytest.mark.parametrize(
    ("made", "calls"),
    [
        (rules(), {"agent"}),
        (rules(x11_forwarding=True), {"agent", "x11"}),
        (rules(x11_forwarding=True, disable_forwarding=True), set()),
        (rules(x11_forwarding=True, allow_agent_forwarding=False), {"x11"}),
        (rules(KeyOptions(agent_forwarding=False), x11_forwarding=True), {"x11"}),
        (rules(KeyOptions(x11_forwarding=False), x11_forwarding=True), {"agent"}),
        (rules(KeyOptions(command="forced"), x11_forwarding=True), {"agent", "x11"}),
    ],
)
def test_calls_that_a_login_may_make(made: SessionRules, calls: set[str]) -> None:
    x11 = X11("MIT-MAGIC-COOKIE-1", b"c")
    everything = OpenChannel(4, "shell", agent=True, x11=x11)
    assert made.calls(everything) == calls
    assert made.calls(OpenChannel(4, "shell", agent=True)) == calls - {"x11"}
    assert made.calls(OpenChannel(4, "attach", x11=x11)) == calls - {"agent"}
    assert made.calls(OpenChannel(4, "shell")) == set()
    assert (made.rights.agent_forwarding, made.rights.x11_forwarding) == (
        "agent" in calls,
        "x11" in calls,
    )


FREE = Rights(None, True, True, True, True)


@pytest.mark.parametrize(
    ("visitor", "creator", "may"),
    [
        (FREE, FREE, True),
        (FREE, replace(FREE, agent_forwarding=False), True),
        (FREE, replace(FREE, pty=False), True),
        (FREE, replace(FREE, forced_command="backup"), False),
        (replace(FREE, forced_command="backup"), FREE, False),
        (replace(FREE, forced_command="x"), replace(FREE, forced_command="x"), False),
        (replace(FREE, pty=False), FREE, False),
        (replace(FREE, agent_forwarding=False), FREE, False),
        (replace(FREE, port_forwarding=False), FREE, False),
        (replace(FREE, x11_forwarding=False), FREE, False),
        (replace(FREE, x11_forwarding=False), replace(FREE, x11_forwarding=False), True),
    ],
)
def test_who_may_visit_whose_terminal(visitor: Rights, creator: Rights, may: bool) -> None:
    assert visitor.may_visit(creator) is may


def test_who_is_recorded_visits_only_what_is() -> None:
    free, watched = Rights(None, True, True, True, True), Rights(None, True, True, True, True, True)
    assert watched.may_visit(watched)
    assert free.may_visit(watched)
    assert not watched.may_visit(free)
    assert not watched.may_be_seen_in(free)


def test_who_must_be_recorded_visits_only_what_must() -> None:
    """Of what is recorded with ``open`` some may be missing: its recorder may have died."""
    free = Rights(None, True, True, True, True)
    watched, strict = (
        replace(free, recorded=True),
        replace(free, recorded=True, recorded_or_none=True),
    )
    assert strict.may_visit(strict)
    assert watched.may_visit(strict)
    for creator in (free, watched):
        assert not strict.may_visit(creator)
        assert not strict.may_be_seen_in(creator), "not with a ticket either"
