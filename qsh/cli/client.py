"""``qsh``: ssh's command line, what can be answered without a host, and the way out."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # as in qsh/client/sharing.py
import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from qsh.cli.arguments import Arguments
    from qsh.config.options import ClientOptions

__all__ = ["main"]

FAILED = 255
"""Exit status of all errors of our own, as ssh's."""


def main() -> NoReturn:
    """Entry point. Leaves without waiting for anything: threads, engine and all."""
    status = FAILED
    gc.disable()  # nothing to collect while modules load; the session switches it on
    try:
        _open_standard_descriptors()
        if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # not where it is ignored (nohup, &)
        status = _run(sys.argv[1:])
    except KeyboardInterrupt:
        status = FAILED
    except Exception as error:
        status = _bug(error)
    finally:
        _leave(status)


def _open_standard_descriptors() -> None:
    """Descriptors 0 to 2 are open from here on, so that nothing else gets their numbers."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _bug(error: Exception) -> int:
    """An exception that nobody expected: a line, and the traceback only for those who ask."""
    _complain(f"qsh: internal error: {type(error).__name__}: {error}")
    if os.environ.get("QSH_TRACEBACK"):
        import traceback

        _complain(traceback.format_exc())
    else:
        _complain("qsh: please report this; QSH_TRACEBACK=1 shows where it happened")
    return FAILED


def _leave(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue
    os._exit(status)


def _complain(text: str) -> None:
    try:
        os.write(2, (text + "\n").encode("utf-8", "surrogateescape"))
    except OSError:
        return


def _run(argv: list[str]) -> int:
    from qsh.cli.arguments import parse_arguments
    from qsh.cli.environment import SystemEnvironment
    from qsh.config.resolve import resolve
    from qsh.errors import ConfigError, UsageError

    try:
        environment = SystemEnvironment()
        arguments = parse_arguments(argv, environment)
        if arguments.version:
            _complain(_version_line())
            return 0
        if arguments.query is not None:
            from qsh.cli.query import answer
            from qsh.cli.standard_output import print_text

            return print_text(answer(arguments.query), "qsh")
        options = resolve(arguments, environment)
        if arguments.print_config:
            from qsh.cli.standard_output import print_text
            from qsh.config.dump import dump

            return print_text(dump(options), "qsh")
        hops: Sequence[ClientOptions] = ()
        if options.proxy_jump is not None or options.proxy_command is not None:
            from qsh.cli.jump import hops_of

            hops = hops_of(options, arguments, environment) or ()
        return _connect(arguments, options, hops)
    except (ConfigError, UsageError) as error:
        _complain(str(error))
        return FAILED
    except KeyError as error:
        _complain(f"No user exists for uid {os.getuid()} ({error})")
        return FAILED


def _version_line() -> str:
    from qsh.config.match import RELEASES

    compatible, own = RELEASES  # what Match version is compared with
    return f"{own}, {compatible} compatible, QUIC on UDP"


def _connect(arguments: Arguments, options: ClientOptions, hops: Sequence[ClientOptions]) -> int:
    from qsh.client.log import log

    log.set_level(options.log_level)
    if arguments.use_syslog:
        log.use_syslog(options.syslog_facility)
    if arguments.log_file is not None:
        try:
            log.open_file(arguments.log_file)
        except OSError as error:
            _complain(f"Couldn't open logfile {arguments.log_file}: {error.strerror}")
            return FAILED
    for warning in (*arguments.warnings, *options.warnings):
        log.info(warning)
    if log.debugging:
        log.info(_version_line())
        for note in options.notes:
            log.debug(note)
    refusal = _not_yet(arguments, options)
    if refusal:
        log.error(refusal)
        return FAILED
    if arguments.control_command is not None:
        from qsh.client import control_commands

        return control_commands.command(options, arguments.control_command, arguments.ssh_argv)
    _warn_about_tty(options)
    if options.qsh_sessions == "ask":
        from qsh.cli import session_picker

        if session_picker.is_wanted(options) and (name := session_picker.pick(options, hops)):
            from qsh.client.run import attach

            return attach(options, name, hops=hops)
    return _run_client(arguments, options, hops)


def _run_client(arguments: Arguments, options: ClientOptions, hops: Sequence[ClientOptions]) -> int:
    background = owner = None
    if options.fork_after_authentication:
        from qsh.client.background import Background

        background = Background.fork()
    if options.control_path is not None:
        from qsh.client import sharing

        shared = sharing.share(options, arguments.ssh_argv, background)
        if isinstance(shared, int):
            return shared
        if shared is not None:
            owner, background = shared, None  # that is its first client's
    from qsh.client.run import Client

    return Client(options, arguments.ssh_argv, background, owner=owner, hops=hops).run()


def _not_yet(arguments: Arguments, options: ClientOptions) -> str:
    """Why this command line cannot be served; empty if it can."""
    if arguments.dump_keys:
        return "qsh: -Z is not supported; use ssh for it"
    if options.tunnel not in ("no", None) and options.qsh_fallback == "no":
        return (
            "qsh: -w: tunnels over QUIC are not supported; "
            f"use ssh for it (ssh {options.host_arg} works as before)"
        )
    return ""


def _warn_about_tty(options: ClientOptions) -> None:
    wanted = options.request_tty == "yes" or (options.request_tty == "auto" and not options.command)
    if not wanted or options.session_type == "none":
        return
    if options.stdin_null or not os.isatty(0):
        from qsh.client.log import log

        log.info("Pseudo-terminal will not be allocated because stdin is not a terminal.")


if __name__ == "__main__":
    main()
