"""Records what real programs do with typed keys, for tests/unit/terminal/test_typing_logs.py.

    python -m tests.support.record_typing FOLDER [NAME...]

Each log is a gzipped JSON object: rows, cols, and events in order of time (seconds since the start):
["k", t, text, marks]   a key was typed. marks: "p" predictable (its echo is part of a line), "s" secret, "" else
["w", t]                the user has looked at the screen and goes on by what he saw
["o", t, output (latin-1), applied, settled, tty]   the terminal's output
["n", t, applied, settled, tty]                     the same without output
tty: index in the object's "ttys", the fields of qsh.wire.terminal.TtyState.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import os
import pty
import random
import select
import shutil
import signal
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any

import msgspec

from qsh.server.tty_state import TtyWatch
from qsh.session.settle import Settle

SECRET = "QXZJVK"
"""Letters that occur nowhere else in the logs."""


class Recording:
    """A program on a terminal, and the keys typed to it."""

    def __init__(self, argv: list[str], *, rows: int = 24, cols: int = 80, user: int | None = None) -> None:  # fmt: skip
        self._home = tempfile.mkdtemp(prefix="typing-")
        os.chmod(self._home, 0o777)
        self._pid, self._master = pty.fork()
        if self._pid == 0:
            _become(argv, self._home, user)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        self._tty = TtyWatch(self._master)
        self._settle = Settle()
        self._start = time.monotonic()
        self._typed = 0
        self._rnd = random.Random(7)
        self._shown = b""
        self._last: tuple[int, int, int] = (-1, -1, -1)
        self.events: list[list[Any]] = []
        self.ttys: list[Any] = []
        self.rows, self.cols = rows, cols

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _state(self) -> list[Any]:
        self._tty.check(self._now())
        tty = msgspec.to_builtins(self._tty.state)
        if tty not in self.ttys:
            self.ttys.append(tty)
        return [self._typed, self._settle.settled, self.ttys.index(tty)]

    def pump(self, seconds: float) -> None:
        """Take what comes for so long."""
        until = self._now() + seconds
        while (left := until - self._now()) > 0:
            if select.select([self._master], [], [], min(left, 0.001 if self._settle.pending else 0.01))[0]:  # fmt: skip
                try:
                    data = os.read(self._master, 65536)
                except OSError as error:
                    if error.errno == errno.EIO:
                        return
                    raise
                self._shown = (self._shown + data)[-4000:]
                self._settle.output(self._now())
                self._add(["o", round(self._now(), 4), data.decode("latin-1"), *self._state()])
                continue
            self._settle.drained()
            self._settle.check(self._now(), self._tty.unread)
            state = self._state()
            if tuple(state) != self._last:
                self._add(["n", round(self._now(), 4), *state])

    def _add(self, event: list[Any]) -> None:
        self._last = tuple(event[-3:])
        self.events.append(event)

    def key(self, text: str, marks: str = "") -> None:
        data = text.encode()
        self._tty.check(self._now())
        self.events.append(["k", round(self._now(), 4), text, marks])
        os.write(self._master, data)
        self._typed += len(data)
        self._settle.wrote(self._now(), self._typed, kernel_echo=self._tty.kernel_echo)
        self.pump(self._rnd.uniform(0.07, 0.16))

    def line(self, text: str, marks: str = "p") -> None:
        """Typed key by key. \\x01-\\x1f and \\x7f are keys too."""
        at = 0
        while at < len(text):
            size = 3 if text[at : at + 2] == "\x1b[" else 1
            if text[at] == "\x1b" and size == 1:
                size = 2  # Alt with a letter; a lone ESC stands at a text's end
            key = text[at : at + size]
            self.key(key, marks if len(key) == 1 and key.isprintable() else "")
            at += size

    def wait(self, text: str, limit_s: float = 15.0) -> None:
        """Look until ``text`` has been shown since the last call, then think a little."""
        until = self._now() + limit_s
        while text.encode() not in self._shown:
            assert self._now() < until, (text, self._shown[-300:])
            self.pump(0.02)
        self.pump(0.15)
        self._shown = b""
        self.events.append(["w", round(self._now(), 4)])

    def forget(self) -> None:
        self._shown = b""

    def save(self, path: Path) -> None:
        self.pump(0.5)
        log = {"rows": self.rows, "cols": self.cols, "ttys": self.ttys, "events": self.events}
        path.write_bytes(gzip.compress(json.dumps(log, separators=(",", ":")).encode(), 9, mtime=0))
        os.kill(self._pid, signal.SIGKILL)
        self._tty.release_peer()
        os.close(self._master)
        os.waitpid(self._pid, 0)
        shutil.rmtree(self._home, ignore_errors=True)


def _become(argv: list[str], home: str, user: int | None) -> None:
    os.chdir(home)
    Path(home, ".zshrc").write_text("PS1='host%% '\nRPROMPT='[right]'\nbindkey -e\n")
    Path(home, ".zshsuggest").write_text("")
    suggest = "/usr/share/zsh-autosuggestions/zsh-autosuggestions.zsh"
    if os.path.exists(suggest):
        with Path(home, ".zshrc").open("a") as rc:
            rc.write(f"source {suggest}\n")
    os.makedirs(home + "/.config/fish", exist_ok=True)
    Path(home, ".config/fish/config.fish").write_text(
        "function fish_prompt; echo -n 'host% '; end\nset -g fish_greeting\n"
    )
    Path(home, "text").write_text("\n".join(f"row {n} of the text" for n in range(200)) + "\n")
    if user is not None:
        os.setgid(user)
        os.setgroups([])
        os.setuid(user)
    env = {
        "HOME": home, "TERM": "xterm-256color", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8",
        "PS1": "host$ ", "SHELL": "/bin/bash", "USER": "u", "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    try:
        os.execvpe(argv[0], argv, env)
    finally:
        os._exit(127)


BASH = ["bash", "--norc", "--noprofile"]
WORDS = ("list", "show", "copy", "path", "file", "mount", "build", "clean", "start", "branch")


def _words(log: Recording, lines: int, prompt: str, *, patient: bool) -> None:
    """Lines of the null command, with typing errors, as the measuring scripts type."""
    rnd = random.Random(lines)
    for _ in range(lines):
        text = ": "
        for word in rnd.sample(WORDS, 4):
            for char in word:
                if rnd.random() < 0.04:
                    text += rnd.choice("zxqj") + "\x7f"
                text += char
            text += " "
        log.line(text)
        log.forget()
        log.line("\r")
        if patient:
            log.wait(prompt)
        else:
            log.pump(0.1)


def bash_patient() -> Recording:
    log = Recording(BASH)
    log.wait("host$ ")
    _words(log, 8, "host$ ", patient=True)
    return log


def bash_hurried() -> Recording:
    log = Recording(BASH)
    log.wait("host$ ")
    _words(log, 8, "host$ ", patient=False)
    return log


def bash_bottom() -> Recording:
    """Real commands with output, at the screen's last row, a line that wraps."""
    log = Recording(BASH, cols=60)
    log.wait("host$ ")
    log.line("seq 40\r")
    log.wait("host$ ")
    for command in ("ls -l", "sleep 0.3; echo done", "date", "echo " + "abcdefghi " * 8, "ls /"):
        log.line(command)
        log.forget()
        log.line("\r")
        log.wait("host$ ")
    return log


def bash_editing() -> Recording:
    log = Recording(BASH)
    log.wait("host$ ")
    for text in (
        "echo one two three\x1b[D\x1b[D\x1b[D\x1b[Dmore \x05 four\r",
        "rm -r things\x01echo \x05!\r",
        "echo wrong words\x17\x17right words\r",
        "echo all of this\x15echo other\r",
        "echo äöü 漢字 done\x7f\x7f\x7f\x7f\x7f字\r",
        "echo abc def\x1bbx\x02\x02\x04\x0bend\r",
        "\x1b[A\x7f\x7f\x7fagain\r",
        "ech\to tab\r",
    ):
        log.line(text[:-1])
        log.forget()
        log.line("\r")
        log.wait("host$ ")
    return log


def zsh() -> Recording:
    log = Recording(["zsh", "-i"])
    log.wait("host% ")
    log.pump(0.5)
    _words(log, 4, "host% ", patient=True)
    for command in (": list path more", ": list path more", "ls -l", "echo one two\x1b[D\x1b[Dxx"):
        log.line(command)
        log.forget()
        log.line("\r")
        log.wait("host% ")
    return log


def fish() -> Recording:
    log = Recording(["fish"])
    log.wait("host% ")
    log.pump(0.5)
    _words(log, 3, "host% ", patient=True)
    for command in ("echo list path more", "echo list path more", "ls -l", "echo list"):
        log.line(command)
        log.pump(0.2)
        log.forget()
        log.line("\r")
        log.wait("host% ")
    return log


def python() -> Recording:
    log = Recording(["/usr/bin/env", "python3", "-q"])
    log.wait(">>> ")
    for text in ("total = 1 + 2 + 3", "print(total * 2)", "[n for n in range(10)]", "'words' * 3"):
        log.line(text)
        log.forget()
        log.line("\r")
        log.wait(">>> ")
    return log


def cat() -> Recording:
    """The kernel's own line editing."""
    log = Recording(BASH)
    log.wait("host$ ")
    log.line("cat >/dev/null\r")
    log.pump(0.6)
    log.events.append(["w", round(log._now(), 4)])
    for text in (
        "the kernel echoes this\x7f\x7fis\r",
        "a line killed\x15another one\r",
        "some words gone\x17here\r",
    ):
        log.line(text)
        log.pump(0.6)
    log.line("\x04")
    log.wait("host$ ")
    return log


def vim() -> Recording:
    log = Recording([*BASH])
    log.wait("host$ ")
    log.line("vim -u NONE -N new\r")
    log.wait("\x1b[?25h")
    log.pump(0.4)
    log.line("i", "")
    log.line("the quick brown fox jumps over the lazy dog and goes on")
    log.line("\r")
    log.line("a second row of text with some more words in it")
    log.line("\x1b", "")
    log.pump(0.5)
    log.line("0wwdwkjx", "")
    log.line("A", "")
    log.line(" and this is at the end of it")
    log.line("\x1b", "")
    log.pump(0.5)
    log.line(":q!\r", "")
    log.wait("host$ ")
    log.line("echo back\r")
    return log


def less() -> Recording:
    log = Recording(BASH)
    log.wait("host$ ")
    log.line("less text\r")
    log.pump(0.5)
    log.line("jjjkkddu  b", "")
    log.line("/row 100\r", "")
    log.line("nNq", "")
    log.wait("host$ ")
    log.line("echo back")
    log.line("\r")
    log.wait("host$ ")
    return log


def _secret(command: str, *, user: int | None = None, argv: list[str] = BASH, lead: str = "") -> Recording:  # fmt: skip
    """The secret is typed ahead, twice: at once, and after the prompt."""
    log = Recording(argv, user=user)
    log.wait("$ ")
    for think in (0.0, 0.8):
        log.line(command)
        log.forget()
        log.line("\r" + lead)
        if think:
            log.pump(think)
            log.events.append(["w", round(log._now(), 4)])
        log.line(SECRET, "s")
        log.line("\r")
        log.pump(4.5)
        log.line("\x03\r")
        log.wait("host$ ")
        log.line("echo next")
        log.forget()
        log.line("\r")
        log.wait("host$ ")
    return log


def read_s() -> Recording:
    return _secret("read -s -p 'Word: ' word")


def read_s_silent() -> Recording:
    return _secret("sleep 0.2; read -s word")


def getpass() -> Recording:
    return _secret("python3 -c 'import getpass; getpass.getpass()'")


def su() -> Recording:
    return _secret("su", user=65534)


def sudo() -> Recording:
    return _secret("sudo -k; sudo true", user=65534)


def ssh_keygen() -> Recording:
    return _secret("rm -f key; ssh-keygen -t ed25519 -f key")


def ssh_keygen_asks() -> Recording:
    """The name of the file is asked for first, with echo."""
    return _secret("rm -f key*; ssh-keygen -t ed25519", lead="key\r")


def tmux() -> Recording:
    log = Recording(BASH)
    log.wait("host$ ")
    log.line("PS1='host$ ' tmux -L typing -f /dev/null new bash --norc --noprofile\r")
    log.wait("host$ ")
    log.pump(0.5)
    _words(log, 2, "host$ ", patient=True)
    log.line("read -s word", "p")
    log.line("\r")
    log.line(SECRET, "s")
    log.line("\r")
    log.pump(0.5)
    log.line("echo next")
    log.line("\r")
    log.wait("host$ ")
    log.line("exit\r", "")
    log.wait("host$ ")
    return log


def mixed() -> Recording:
    log = Recording(BASH)
    log.wait("host$ ")
    _words(log, 2, "host$ ", patient=True)
    log.line("less text\r")
    log.pump(0.4)
    log.line("jjq", "")
    log.wait("host$ ")
    log.line("read -s word\r")
    log.line(SECRET, "s")
    log.line("\r")
    log.wait("host$ ")
    _words(log, 1, "host$ ", patient=True)
    log.line("python3 -q\r")
    log.wait(">>> ")
    log.line("print('hello there')")
    log.forget()
    log.line("\r")
    log.wait(">>> ")
    log.line("\x04")
    log.wait("host$ ")
    log.line("sleep 1\r")
    log.line("echo typed ahead")
    log.forget()
    log.line("\r")
    log.wait("host$ ")
    log.line("echo done")
    log.line("\r")
    return log


SESSIONS = (
    *(bash_patient, bash_hurried, bash_bottom, bash_editing, zsh, fish, python, cat, vim, less),
    *(read_s, read_s_silent, getpass, su, sudo, ssh_keygen, ssh_keygen_asks, tmux, mixed),
)


def main() -> None:
    folder = Path(sys.argv[1])
    for session in SESSIONS:
        if len(sys.argv) < 3 or session.__name__ in sys.argv[2:]:
            log = session()
            log.save(folder / f"{session.__name__}.json.gz")
            print(session.__name__, len(log.events), "events")


if __name__ == "__main__":
    main()
