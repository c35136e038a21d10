"""``qshctl``: everything with verbs, for people and operators."""

from __future__ import annotations

from typing import Annotated

import typer

from qsh import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Tools around qsh. `qshctl COMMAND --help` tells more.",
)


@app.callback()
def _root() -> None:
    """A callback keeps `qshctl demo` a subcommand while it is the only one of its kind."""


@app.command()
def version() -> None:
    """Print the versions of qsh and of its QUIC engine."""
    from qsh.quic import engine_version

    typer.echo(f"qsh {__version__} ({engine_version()})")


@app.command(context_settings={"ignore_unknown_options": True})
def demo(
    command: Annotated[
        list[str] | None, typer.Argument(help="Run this instead of a login shell.")
    ] = None,
) -> None:
    """Start a throw-away qshd on loopback, as you, and open a shell through it. Nothing is left behind."""
    from qsh.cli.demo import run

    raise typer.Exit(run(command or []))


@app.command(context_settings={"ignore_unknown_options": True})
def config(
    host: Annotated[
        list[str], typer.Argument(help="Destination, as qsh takes it; -F, -o and so on before it.")
    ],
) -> None:
    """Print every option that applies to HOST with its source, qsh's own ones included."""
    from qsh.cli.config_report import report

    raise typer.Exit(report(host))


Destination = Annotated[
    list[str], typer.Argument(help="Destination, as qsh takes it; -p, -F, -o and so on before it.")
]
Session = Annotated[
    list[str], typer.Argument(help="Destination, as qsh takes it, and the session's name.")
]


@app.command(context_settings={"ignore_unknown_options": True})
def bootstrap(host: Destination) -> None:
    """Find or start a qshd of your own on HOST, through ssh and without root. `qsh HOST` uses it from then on."""
    from qsh.cli.sessions import bootstrap as bring_up

    raise typer.Exit(bring_up(host))


@app.command(context_settings={"ignore_unknown_options": True})
def sessions(
    host: Destination,
    json: Annotated[bool, typer.Option("--json", help="Print what the host says.")] = False,
) -> None:
    """List your terminal sessions on HOST: name, from where, age, size, state, running command."""
    from qsh.cli.sessions import list_sessions

    raise typer.Exit(list_sessions(host, as_json=json))


@app.command(context_settings={"ignore_unknown_options": True})
def attach(
    session: Session,
    lines: Annotated[
        int, typer.Option("--lines", help="Lines of its history to print above the screen.")
    ] = 0,
) -> None:
    """Go on with a session on this terminal. `~d` leaves it again."""
    from qsh.cli.sessions import attach_to

    raise typer.Exit(attach_to(session, history_lines=lines))


@app.command(context_settings={"ignore_unknown_options": True})
def detach(session: Session) -> None:
    """Put every client out of a session; its programs go on."""
    from qsh.cli.sessions import command

    raise typer.Exit(command("detach", session))


@app.command(context_settings={"ignore_unknown_options": True})
def kill(session: Session) -> None:
    """End a session: its programs get SIGHUP, as if the terminal had been closed."""
    from qsh.cli.sessions import command

    raise typer.Exit(command("kill", session))


@app.command(context_settings={"ignore_unknown_options": True})
def history(
    session: Session,
    lines: Annotated[int, typer.Option("--lines", help="At most so many of the newest.")] = 10_000,
) -> None:
    """Print the lines that have scrolled off a session's screen."""
    from qsh.cli.sessions import history as print_history

    raise typer.Exit(print_history(session, lines))


@app.command()
def status(
    json: Annotated[bool, typer.Option("--json", help="Print all figures, for programs.")] = False,
) -> None:
    """Show how the connections of your running clients and masters do."""
    from qsh.cli.status import status as print_status

    raise typer.Exit(print_status(as_json=json))


@app.command()
def replay(
    file: Annotated[str, typer.Argument(help="A recording in asciicast v2; -: standard input.")],
    speed: Annotated[float, typer.Option("--speed", help="So many times as fast.")] = 1.0,
    max_idle: Annotated[
        float | None,
        typer.Option(
            "--max-idle", min=0, help="Seconds that a silence lasts at most; 0: as it was."
        ),
    ] = None,
    at: Annotated[str, typer.Option("--at", help="Begin there: seconds, or minutes:seconds.")] = "",
    dump: Annotated[
        bool, typer.Option("--dump", help="Print the last screen (--at: of then) as text.")
    ] = False,
) -> None:
    """Play a recorded session. Space pauses, + and - set the speed, arrow keys skip, q quits."""
    from qsh.cli.replay import replay as play

    raise typer.Exit(play(file, speed=speed, max_idle_s=max_idle, at=at, dump=dump))


@app.command(name="import-sshd-config")
def import_sshd_config(
    file: Annotated[
        str, typer.Argument(help="The configuration of sshd.")
    ] = "/etc/ssh/sshd_config",
    write: Annotated[
        str | None, typer.Option("--write", help="Write a qshd_config there, too.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Say line by line what an sshd_config means to qshd, and make a qshd_config of it."""
    from qsh.cli.import_sshd_config import report

    raise typer.Exit(report(file, write, force=force))


def main() -> None:
    """Entry point."""
    app(prog_name="qshctl")


if __name__ == "__main__":
    main()
