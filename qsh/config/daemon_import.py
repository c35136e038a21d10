"""What an sshd_config means to qshd, line by line, and a qshd_config made of it.

Nothing is left out of what is made: a line that qshd refuses stays in it, so that qshd does not start with less than the file
says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from qsh.config import daemon_parser
from qsh.config.daemon_schema import UNUSED
from qsh.config.lexer import split_keyword, split_words
from qsh.errors import ConfigError

if TYPE_CHECKING:
    from qsh.config.daemon_parser import ReadFiles, Visited

__all__ = ["Survey", "survey"]

INCLUDE_DIRECTORY: Final = "/etc/ssh"
GLOBAL_ONLY: Final = frozenset({"Banner", "LogLevel"})
"""They work only before the first Match."""
DIFFERENT: Final = {
    "Port": "the number is that of a UDP port",
    "ListenAddress": "a port here is a UDP port",
    "PidFile": "sshd has that file: name another, such as /run/qshd.pid",
}
DEFAULTS: Final = {
    "PermitRootLogin": "without it root may log in to sshd with a key, to qshd not at all",
    "UsePAM": "without it sshd (as released) has no, qshd yes: it decides whether a locked password keeps keys out",
    "PerSourceNetBlockSize": "without it an IPv6 source is one address (128 bits) for sshd, a network (64 bits) for qshd",
}
"""Of keywords that the file does not set."""
IGNORED_VALUE: Final = {
    "LoginGraceTime": (0, "0 stands for 10 minutes in qshd, for no limit in sshd")
}
INTERNAL_SFTP: Final = "internal-sftp"
SFTP_ALONE: Final = (
    "not built in: the system's sftp-server runs, which must be in ChrootDirectory, too"
)


@dataclass(slots=True)
class Survey:
    """What was found. Texts are ``FILE line N: LINE: what about it``."""

    same: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    defaults: list[str] = field(default_factory=list)
    refused_places: dict[tuple[str, int], str] = field(default_factory=dict)

    def take(self, line: Visited, *, use_pam: bool = True) -> None:
        """One good line of a file that says this of UsePAM."""
        name, note = line.keyword.name, line.keyword.note
        where = f"{line.file} line {line.line}: {line.text}"
        zero = IGNORED_VALUE.get(name)
        if refusal := line.keyword.refusal(line.value, use_pam=use_pam):
            self.refused.append(f"{where}: {refusal}")
            self.refused_places[line.file, line.line] = refusal
        elif line.keyword.status == UNUSED:
            self.unused.append(f"{where}: {note}")
        elif line.conditional and name in GLOBAL_ONLY:
            self.unused.append(f"{where}: works only before the first Match")
        elif name in DIFFERENT:
            self.different.append(f"{where}: {DIFFERENT[name]}")
        elif sftp := _about_sftp(name, line.value):
            self.different.append(f"{where}: {sftp}")
        elif zero is not None and line.value == zero[0]:
            self.different.append(f"{where}: {zero[1]}")
        else:
            self.same.append(where)

    def report(self) -> str:
        """For people."""
        parts = (
            ("Same effect", self.same),
            ("Another effect", self.different),
            ("Not set, and another default", self.defaults),
            ("No effect in qshd", self.unused),
            ("Refused: qshd does not start with these", self.refused),
        )
        return "".join(
            f"{title}:\n" + "".join(f"  {line}\n" for line in lines)
            for title, lines in parts
            if lines
        )

    def rewrite(self, text: str, file: str) -> str:
        """The text of a qshd_config: the same lines, names of included files made absolute, remarks above what is refused."""
        lines = [f"# Made of {file} by qshctl import-sshd-config.\n"]
        for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
            if note := self.refused_places.get((file, number)):
                lines.append(f"# qshd does not start with the next line: {note}\n")
            lines.append(_absolute(line) + "\n")
        return "".join(lines)


def survey(text: str, file: str, read_files: ReadFiles) -> Survey:
    """Read an sshd_config. Raises BadConfiguration for one that sshd would not take either."""
    found = Survey()
    lines: list[Visited] = []
    config = daemon_parser.parse(
        text, file, read_files, include_directory=INCLUDE_DIRECTORY, visit=lines.append
    )
    for line in lines:
        found.take(line, use_pam=config.options.use_pam)
    set_fields = {line.keyword.name for line in lines}
    found.defaults = [
        f"{name}: {note}" for name, note in DEFAULTS.items() if name not in set_fields
    ]
    return found


def _about_sftp(name: str, value: object) -> str | None:
    """What becomes of sshd's own sftp server."""
    commands = value.values() if isinstance(value, dict) else [value]
    if name in ("ForceCommand", "Subsystem"):
        words = (str(command).split() for command in commands)
        return SFTP_ALONE if any(each[:1] == [INTERNAL_SFTP] for each in words) else None
    return None


def _absolute(line: str) -> str:
    """An Include line, its names absolute; any other line as it is."""
    split = split_keyword(line)
    if split is None or split[0].lower() != "include":
        return line
    try:
        words = split_words(split[1])
    except ConfigError:
        return line
    names = (name if name[:1] in ("/", "~") else f"{INCLUDE_DIRECTORY}/{name}" for name in words)
    return "Include " + " ".join(f'"{name}"' if " " in name else name for name in names)
