"""``-O``: what a command line asks of a master (OpenSSH's mux.c)."""

from __future__ import annotations

import os
import stat

from qsh.client.control_path import PathTooLong, connect, socket_path
from qsh.client.log import log
from qsh.client.sharing import Control, exchange, greeting, request_forwards
from qsh.client.text import visible
from qsh.errors import ConnectError
from qsh.wire.plain import frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from qsh.config.options import ClientOptions
    from qsh.wire.plain import Told

__all__ = ["command"]

FAILED: Final = 255


def command(options: ClientOptions, what: str, ssh_argv: Sequence[str] = ()) -> int:
    """``-O what``. A master that ssh(1) has become, where no qshd answered, is asked by ssh."""
    control = _master_for(options, what)
    if isinstance(control, str) and _is_of_ssh(options):
        from qsh.client.fallback import exec_ssh

        try:
            exec_ssh(ssh_argv, "the master is ssh's, continuing with ssh")
        except ConnectError as error:
            control = f"qsh: {error}"
    if isinstance(control, str):
        log.fatal(control)
        return FAILED
    welcome = greeting(options, control)
    if welcome is None:
        log.error("muxclient: master hello exchange failed")
        return FAILED
    if what in ("forward", "cancel"):
        return _change_forwards(options, control, cancel=what == "cancel")
    return _ask(control, what, welcome)


def _master_for(options: ClientOptions, what: str) -> Control | str:
    """The socket, or why there is none."""
    path = options.control_path
    if path is None:
        return 'No ControlPath specified for "-O" command'
    if what == "proxy":
        return "qsh: -O proxy is not supported; use ssh for it"
    try:
        where = socket_path(path)
        return Control(connect(where))
    except PathTooLong as error:
        return str(error)
    except OSError as error:
        return f"Control socket connect({visible(where)[:100]}): {error.strerror}"


def _is_of_ssh(options: ClientOptions) -> bool:
    path = options.control_path
    if path is None or options.qsh_fallback == "no":
        return False
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _ask(control: Control, what: str, welcome: Told) -> int:
    if what == "check":
        log.plain(f"Master running (pid={welcome.pid})\r\n")
        return 0
    answer = exchange(control, frame({"t": "ask", "what": what}))
    if answer is not None and answer.t == "refused":
        log.fatal(f"Master refused {what} request: {visible(answer.reason)}")
        return FAILED
    if answer is None or answer.t != "answered":
        log.fatal("mux_client_read_packet: the master does not answer")
        return FAILED
    said = {"exit": "Exit request sent.\r\n", "stop": "Stop listening request sent.\r\n"}
    if what in said:
        if not log.quiet:
            log.plain(said[what])
        return 0
    data = answer.text.encode("utf-8", "surrogateescape")
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError as error:
        log.error(f"qsh: standard output: {error.strerror}")
        return FAILED
    return 0


def _change_forwards(options: ClientOptions, control: Control, *, cancel: bool) -> int:
    if request_forwards(options, control, cancel=cancel, prints=True):
        return 0
    if cancel:
        log.error("muxclient: master cancel forward request failed")
        return 0  # as ssh
    log.fatal("muxclient: master forward request failed")
    return FAILED
