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


def main() -> None:
    """Entry point."""
    app(prog_name="qshctl")


if __name__ == "__main__":
    main()
