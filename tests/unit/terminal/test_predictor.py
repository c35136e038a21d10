"""Predictions against a screen, with a host that is played by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsh.terminal.prediction.tty_class import looks_secret
from qsh.terminal.prediction.width import columns
from qsh.terminal.predictor import Overlay, Predictor
from qsh.terminal.screen import Screen
from qsh.wire.terminal import TtyState

ECHO, ICANON = 1, 2
EDITING = 4 | 64
COOKED = 1 | 2 | 4 | 8 | 16 | 32 | 64 | 128 | 512 | 1024
PROMPT = b"\x1b[?2004hhost$ "
NOTHING = Overlay((), None)


def tty(flags: int, program: str = "bash", group: int = 1, serial: int = 1) -> TtyState:
    return TtyState(serial, flags, 127, 21, 23, 4, 22, 18, 3, 28, 26, group, program)


SHELL = tty(EDITING)
KERNEL = tty(COOKED, "cat", 2)
PASSWORD = tty(COOKED & ~ECHO, "cat", 2)


class Played:
    """The screen, the predictor, the clock, and both ends of the input."""

    def __init__(self, setting: str = "always", *, rows: int = 24, cols: int = 80) -> None:
        self.screen = Screen(rows, cols)
        self.predictor = Predictor(self.screen, setting)  # type: ignore[arg-type]
        self.now = 100.0
        self.end = 0
        self.applied = 0

    def type(self, text: str) -> Overlay:
        """All in one read if it is a sequence, else key by key."""
        for part in [text] if text.startswith("\x1b") else text:
            self.predictor.typed(part.encode(), self.end, self.now)
            self.end += len(part.encode())
        return self.overlay()

    def host(self, output: bytes, taken: int = 0, state: TtyState | None = None) -> None:
        """``output`` comes after ``taken`` more bytes of the input were applied and settled."""
        self.applied += taken
        if output:
            self.screen.feed(output)
            self.predictor.screen_changed(self.now)
        self.predictor.state(self.applied, state, self.now, applied=self.applied)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def overlay(self) -> Overlay:
        return self.predictor.overlay(self.now)

    def seen(self, row: int = 0) -> str:
        """The row with the overlay, as the user sees it."""
        cells = [cell[0] for cell in self.screen.row_cells(row)]
        for at_row, col, text, _, _ in self.overlay().cells:
            if at_row == row:
                cells[col] = text
                if not text.isascii() and columns(text) == 2:
                    cells[col + 1] = ""
        return "".join(cells).rstrip()

    @property
    def wrong(self) -> int:
        return self.predictor.counters.wrong


def at_prompt(setting: str = "always", state: TtyState = SHELL, **size: int) -> Played:
    """bash at its prompt, whose echo was seen: "x" was typed, and deleted."""
    played = Played(setting, **size)
    played.host(PROMPT, state=state)
    played.pass_time(1)
    played.type("x")
    played.host(b"x", 1)
    played.type("\x7f")
    played.host(b"\b\x1b[K", 1)
    return played


# -- class L


def test_the_first_character_of_a_program_is_held_and_opens_the_rest() -> None:
    played = Played()
    played.host(PROMPT, state=SHELL)
    played.pass_time(1)
    assert played.type("ls") == NOTHING
    played.host(b"l", 1)
    assert played.seen() == "host$ ls"
    assert played.overlay().cursor == (0, 8)
    assert played.predictor.counters.held == 2


def test_what_is_typed_is_drawn_and_counted_right() -> None:
    played = at_prompt()
    overlay = played.type("ls")
    assert [cell[:3] for cell in overlay.cells] == [(0, 6, "l"), (0, 7, "s")]
    assert overlay.cursor == (0, 8)
    played.host(b"ls", 2)
    assert played.overlay() == NOTHING
    assert played.predictor.counters[1:3] == (3, 0)  # the deletion as well


def test_output_that_nobody_typed_moves_the_guesses() -> None:
    played = at_prompt()
    played.type("ls")
    played.host(b"\r\x1b[K[1] Done\r\nhost$ ")
    played.pass_time(0.01)
    assert played.seen(1) == "host$ ls"
    assert played.seen(0) == "[1] Done"


def test_guesses_are_hidden_while_the_cursor_is_where_none_expects_it() -> None:
    played = at_prompt()
    played.type("ls")
    played.screen.feed(b"\r\n\r\nother")
    played.predictor.screen_changed(played.now)
    assert played.overlay() == NOTHING


def test_a_wrong_guess_is_taken_back_and_trust_is_lost() -> None:
    played = at_prompt()
    played.type("ab")
    played.host(b"?", 1)
    assert played.overlay() == NOTHING
    assert played.wrong == 1
    assert played.type("c") == NOTHING
    played.host(b"b", 1)
    assert played.seen() == "host$ ?bc"


def test_keys_behind_enter_are_drawn_when_the_prompt_is_there() -> None:
    """400 ms of round trip, a key every 150 ms, no pause at Enter."""
    played = at_prompt()
    played.type("true")
    played.host(b"true", 4)
    played.type("\r")
    played.pass_time(0.15)
    assert played.type("l") == NOTHING
    played.pass_time(0.15)
    assert played.type("s") == NOTHING
    played.pass_time(0.1)
    played.host(b"\r\n\x1b[?2004l\r" + PROMPT, 1)
    played.pass_time(0.005)
    assert played.seen(1) == "host$ ls"
    played.pass_time(0.05)
    played.type(" ")
    assert played.type("-")
    assert played.seen(1) == "host$ ls -"
    played.host(b"ls -", 4)
    assert played.wrong == 0


def test_a_prompt_in_pieces_shows_no_key_at_the_wrong_place() -> None:
    played = at_prompt()
    played.type("\r")
    played.type("ls")
    played.host(b"\r\n\x1b[?2004l\r\x1b[?2004h", 1)
    played.pass_time(0.02)
    assert played.overlay() == NOTHING
    played.host(b"two lines\r\n")
    played.host(b"host$ ")
    assert played.overlay() == NOTHING
    assert played.predictor.deadline() is not None
    played.pass_time(0.005)
    assert played.seen(2) == "host$ ls"


def test_without_output_after_enter_nothing_is_drawn() -> None:
    """A host too slow to react says settled all the same: the next line may be a password's."""
    played = at_prompt()
    played.type("sudo x")
    played.host(b"sudo x", 6)
    played.type("\r")
    played.host(b"", 1)
    played.pass_time(0.05)
    assert played.type("hunter2") == NOTHING
    played.pass_time(5)
    assert played.overlay() == NOTHING


def test_settled_keys_of_the_new_line_do_not_move_its_floor() -> None:
    played = at_prompt()
    played.type("\rls")
    played.host(b"\r\n\x1b[?2004l\r" + PROMPT + b"ls", 3)
    played.pass_time(0.1)
    played.type("\x01")
    assert played.overlay().cursor == (1, 6)


@pytest.mark.parametrize(
    ("keys", "line", "col"),
    [
        (["abc", "\x7f"], "ab", 2),
        (["abc", "\x02", "\x02", "x"], "axbc", 2),
        (["abc", "\x1b[D", "\x7f"], "ac", 1),
        (["abc", "\x01", "x"], "xabc", 1),
        (["abc", "\x1b[H", "\x1b[3~"], "bc", 0),
        (["abc", "\x1b[1~", "\x05", "d"], "abcd", 4),
        (["abc", "\x1bOD", "\x1bOC"], "abc", 3),
        (["one two", "\x17"], "one", 4),
        (["one two", "\x1bb", "x"], "one xtwo", 5),
        (["one two", "\x01", "\x1bf", "x"], "onex two", 4),
        (["one two", "\x15"], "", 0),
        (["one two", "\x01", "\x0b"], "", 0),
        (["a", "\x7f", "\x7f", "\x7f"], "", 0),
        (["a漢b", "\x7f"], "a漢", 3),
        (["漢字", "\x02", "x"], "漢x字", 3),
        (["é"], "é", 1),
    ],
)
def test_line_editing(keys: list[str], line: str, col: int) -> None:
    played = at_prompt()
    for key in keys:
        played.type(key)
    assert played.seen() == ("host$ " + line).rstrip()
    overlay = played.overlay()
    assert overlay == NOTHING or overlay.cursor in {(0, 6 + col), None}
    assert col == 0 or overlay.cursor == (0, 6 + col)


@pytest.mark.parametrize("key", ["\t", "\x12", "\x1b[A", "\x1bz", "\x19", "\x1b"])
def test_behind_a_key_of_unknown_effect_everything_is_held(key: str) -> None:
    played = at_prompt()
    played.type("ab")
    played.type(key)
    assert played.type("cd")
    assert played.seen() == "host$ ab"


def test_behind_completion_keys_are_drawn_at_once_when_it_settled() -> None:
    played = at_prompt()
    played.type("ec\tx")
    played.host(b"echo ", 3)
    assert played.seen() == "host$ echo x"


def test_behind_a_search_one_character_has_to_come_true() -> None:
    played = at_prompt()
    played.type("\x12x")
    played.host(b"\r(reverse-i-search)`': ", 1)
    assert played.overlay() == NOTHING


def test_a_grey_suggestion_is_written_over() -> None:
    played = at_prompt()
    played.host(b"\x1b[90mstatus\x1b[0m\x1b[6D")
    overlay = played.type("s")
    assert [cell[:3] for cell in overlay.cells] == []  # the cell has that letter already
    played.type("x")
    assert played.seen() == "host$ sxatus"
    assert played.overlay().cursor == (0, 8)


def test_a_right_prompt_stays() -> None:
    played = Played()
    played.host(b"\x1b[?2004hhost$ \x1b7\x1b[1;73H[right]\x1b8", state=SHELL)
    played.pass_time(1)
    played.type("x")
    played.host(b"x", 1)
    played.type("yz\x02\x02")
    played.type("a")
    assert played.seen() == "host$ xayz".ljust(72) + "[right]"


def test_text_wraps_at_the_margin() -> None:
    played = at_prompt(rows=4, cols=10)
    played.type("abcdef")
    assert played.seen(0) == "host$ abcd"
    assert played.seen(1) == "ef"
    assert played.overlay().cursor == (1, 2)
    played.host(b"abcd\x20\ref", 6)
    assert played.wrong == 0


def test_what_scrolls_is_held() -> None:
    played = at_prompt(rows=1, cols=10)
    played.type("abcdef")
    assert played.seen(0) == "host$ abc"
    played.host(b"abcd \re", 5)
    played.type("gh")
    assert played.seen(0) == "efgh"


def test_a_paste_is_not_guessed_and_holds_what_follows() -> None:
    for paste in ("\x1b[200~ab\x1b[201~", "\x1b[200~" + "z" * 70 + "\x1b[201~"):
        played = at_prompt()
        assert played.type(paste) == NOTHING
        assert played.type("x") == NOTHING


def test_a_program_that_is_often_wrong_is_left_alone() -> None:
    played = at_prompt()
    for _ in range(4):
        played.type("a")
        played.host(b"?", 1)
        played.type("b")
        played.host(b"b", 1)
    assert played.type("c") == NOTHING
    assert played.wrong == 3


def test_a_program_that_overwrites_is_learned_from_three_misses() -> None:
    played = at_prompt()
    played.type("abcdef\x01")
    played.host(b"abcdef" + b"\b" * 6, 7)
    for _ in range(3):
        played.type("x")
        played.host(b"x", 1)
    assert played.type("y") == NOTHING
    played.host(b"y", 1)
    played.type("z")
    assert played.predictor._keys[-1].effect == ({10: ("z", -1)}, 11)


# -- class L: prompts


def after_enter(prompt: bytes, *, shell: bytes = b"host$ ", rows: int = 24) -> Played:
    """A shell whose echo was seen runs a line that asks with its own line editor."""
    played = Played(rows=rows)
    played.host(b"\x1b[?2004h" + shell, state=SHELL)
    played.pass_time(1)
    played.type("read x")
    played.host(b"read x", 6)
    played.type("\r")
    played.host(b"\r\n\x1b[?2004l\r\x1b[?2004h" + prompt, 1)
    played.pass_time(1)
    return played


@pytest.mark.parametrize(
    "prompt",
    [b"Enter it> ", b"Enter it$ ", b"key$ ", b"$ ", b"> ", b"\x1b[1mhost$ ", b"", b"  ", b"Key: "],
)
def test_a_shell_that_reads_silently_shows_nothing(prompt: bytes) -> None:
    """``read -es``: the same program, group, flags and modes as the command line's."""
    played = after_enter(prompt)
    for key in "hunter2":
        assert played.type(key) == NOTHING
        played.pass_time(0.06)
        assert played.overlay() == NOTHING
        played.host(b"", 1)
    assert played.predictor.counters.shown == 0
    played.type("\r")
    played.host(b"\r\n\x1b[?2004l\r" + PROMPT, 1)
    played.pass_time(1)
    assert played.predictor.counters.wrong == 0


def test_a_program_that_echoed_a_name_reads_a_secret() -> None:
    state = tty(EDITING, "python3")
    played = Played()
    played.host(b"\x1b[?2004hname> ", state=state)
    for prompt in (b"Mot de cle> ", b"again> "):
        played.pass_time(1)
        played.type("me")
        played.host(b"me", 2)
        played.type("\r")
        played.host(b"\r\n\x1b[?2004h" + prompt, 1)
        played.pass_time(1)
        assert played.type("hunter2") == NOTHING
        played.type("\r")
        played.host(b"\r\n\x1b[?2004hname> ", 8)


def test_a_secret_behind_a_line_that_ended_without_enter_shows_nothing() -> None:
    for rows in (24, 2):
        played = after_enter(b"name> ", rows=rows)
        played.type("abcd")
        played.host(b"abcd", 4)
        assert played.type("e") != NOTHING
        played.host(b"e", 1)
        played.host(b"\r\nit> ")
        assert played.type("hunter2") == NOTHING


def test_behind_an_unknown_prompt_one_character_opens_the_line() -> None:
    played = after_enter(b"name> ")
    assert played.type("a") == NOTHING
    played.host(b"a", 1)
    assert played.type("b") != NOTHING
    played.host(b"b", 1)
    played.type("\r")
    played.host(b"\r\nname> ", 1)
    played.pass_time(1)
    assert played.type("c") != NOTHING


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"host$ ", b"host$ "),
        (b"me@host:~$ ", b"me@host:~/src/qsh-2$ "),
        (b"me@host:~/src$ ", b"me@host:/$ "),
        ("~/año 12:30:59 ❯ ".encode(), "/usr/lib 1:02:03 ❯ ".encode()),
        (b"[3] \x1b[32m/tmp (main) \x1b[31m#\x1b[m ", b"[17] /usr/lib (main) \x1b[31m#\x1b[m "),
        (b"/tmp     12:00 % ", b"/usr/lib 12:01 % "),
    ],
)
def test_a_prompt_with_another_path_time_or_number_is_known(before: bytes, after: bytes) -> None:
    played = after_enter(after, shell=before)
    assert played.type("a") != NOTHING


def test_a_word_that_changes_is_learned() -> None:
    """The last part of the working directory, a branch."""
    played = after_enter(b"[me@host src]$ ", shell=b"[me@host ~]$ ")
    for at, name in enumerate((b"lib", b"bin", b"etc")):
        assert (played.type("a") != NOTHING) == (at > 1)
        played.host(b"a", 1)
        played.type("\r")
        played.host(b"\r\n[me@host %s]$ " % name, 1)
        played.pass_time(1)
    assert played.type("a") != NOTHING


@pytest.mark.parametrize("prompt", [b"%s> ", b"Enter %s: ", b"Your %s? "])
def test_words_of_questions_and_single_words_are_not_learned_to_change(prompt: bytes) -> None:
    played = after_enter(prompt % b"name", shell=prompt % b"city")
    for word in (b"street", b"number", b"key"):
        assert played.type("a") == NOTHING
        played.host(b"a", 1)
        played.type("\r")
        played.host(b"\r\n" + prompt % word, 1)
        played.pass_time(1)
    assert played.type("a") == NOTHING


def test_the_prompt_behind_keys_typed_ahead_is_known() -> None:
    played = at_prompt()
    played.type("cat\r")
    played.host(b"cat\r\n\x1b[?2004l\r", 4, KERNEL)
    played.type("ls")
    played.host(b"ls", 2)
    played.host(PROMPT + b"ls", 0, SHELL)
    played.pass_time(0.1)
    played.type(" x")
    assert played.seen(1) == "lshost$ ls"  # in one piece: the prompt's end is not known
    played.host(b" x", 2)
    assert played.type("y") != NOTHING
    other = at_prompt()
    other.type("cat\r")
    other.host(b"cat\r\n\x1b[?2004l\r", 4, KERNEL)
    other.type("ls")
    other.host(b"ls", 2)
    other.host(PROMPT, 0, SHELL)
    other.host(b"ls")
    other.pass_time(0.1)
    other.type(" x")
    assert other.seen(1) == "lshost$ ls x"


def test_the_prompt_behind_a_pager_is_known() -> None:
    played = at_prompt()
    played.type("less\r")
    played.host(b"less\r\n\x1b[?2004l\r\x1b[?1049h:", 5, tty(EDITING, "less"))
    played.type("jj")
    played.host(b"\r\x1b[Ka:", 2)
    played.type("q")
    played.host(b"\x1b[?1049l" + PROMPT, 1, SHELL)
    played.pass_time(0.1)
    played.type("l")
    assert played.seen(1) == "host$ l"


@pytest.mark.parametrize(
    "prompt",
    [
        *(
            "Password: ",
            "Mot de passe : ",
            "密码：",
            "パスワード：",
            "Contraseña: ",
            "Пароль: ",
            "Hasło: ",
        ),
        *("Kennwort> ", "Senha：", "PIN: ", "Parola d'ordine? ", "비밀번호: ", "SALASANA:"),
    ],
)
def test_a_secret_is_known_by_its_word(prompt: str) -> None:
    assert looks_secret(prompt)


@pytest.mark.parametrize("prompt", ["host$ ", ">>> ", "me@host:~/src> ", "name: ", "[y/N]? "])
def test_other_prompts_do_not_look_secret(prompt: str) -> None:
    assert not looks_secret(prompt)


# -- class K


def in_cat(seconds: float = 1.0) -> Played:
    played = Played()
    played.host(b"\x1b[?2004l", state=KERNEL)
    played.pass_time(seconds)
    return played


def test_the_kernels_echo_waits_until_the_terminal_is_stable() -> None:
    played = in_cat(0.2)
    assert played.type("ab") == NOTHING
    deadline = played.predictor.deadline()
    assert deadline == pytest.approx(100.3)
    played.now = deadline
    assert played.seen() == "ab"


def test_with_a_long_round_trip_it_waits_for_one() -> None:
    played = in_cat(0.5)
    played.predictor.rtt(0.8)
    assert played.type("ab") == NOTHING
    played.pass_time(0.3)
    assert played.seen() == "ab"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("abc\x7f", "ab"),
        ("\x7fa", "a"),
        ("one two_3, \x17", "one"),
        ("one two\x15x", "x"),
        ("a\x01b", "a^Ab"),
        ("a\x01\x7f", "a"),
        ("é字", "é字"),
    ],
)
def test_the_kernels_line_editing(keys: str, line: str) -> None:
    played = in_cat()
    played.type(keys)
    assert played.seen() == line


def test_the_kernels_line_is_remembered_across_echoes() -> None:
    played = in_cat()
    played.type("ab")
    played.host(b"ab", 2)
    played.type("\x7f\x7f\x7f")
    assert played.seen() == ""
    played.host(b"\b \b\b \b", 3)
    assert played.wrong == 0


def test_every_line_of_the_kernel_waits_again() -> None:
    played = in_cat()
    played.type("ab\r")
    played.host(b"ab\r\n", 3)
    assert played.type("secret") == NOTHING
    played.host(b"", 0, PASSWORD)
    played.pass_time(5)
    assert played.overlay() == NOTHING


@pytest.mark.parametrize("program", ["sudo", "su", "ssh-keygen"])
def test_programs_that_ask_for_secrets_never_get_the_kernels_echo(program: str) -> None:
    played = Played()
    played.host(b"", state=tty(COOKED, program))
    played.pass_time(60)
    assert played.type("a") == NOTHING


# -- class P


def test_nothing_of_a_secret_is_drawn_or_kept() -> None:
    played = at_prompt()
    played.type("read -s x")
    played.host(b"read -s x", 9)
    played.type("\rhunter2")
    played.host(b"\r\n\x1b[?2004l\r", 1, PASSWORD)
    assert played.overlay() == NOTHING
    assert played.type("more") == NOTHING
    assert played.predictor._keys == []
    played.pass_time(10)
    assert played.overlay() == NOTHING
    assert played.predictor.deadline() is None


def test_a_secret_is_forgotten_before_the_screen_is_exact() -> None:
    played = at_prompt()
    played.type("\rhunter2")
    settled = played.applied + 1
    played.predictor.state(settled, PASSWORD, played.now, applied=settled + 1)
    assert played.predictor._keys == []


def test_keys_behind_a_secret_wait_for_its_end() -> None:
    played = at_prompt()
    played.type("read -s x\r")
    played.host(b"read -s x\r\n\x1b[?2004l\r", 10, PASSWORD)
    played.type("hunter2\rls")
    assert [guess.key.text for guess in played.predictor._keys] == ["\r", "l", "s"]
    played.host(b"\r\n" + PROMPT, 8, SHELL)
    played.pass_time(0.01)
    assert played.seen(2) == "host$ ls"


def test_an_inner_terminals_password_prompt_is_known_by_its_look() -> None:
    played = at_prompt(state=tty(EDITING, "ssh"))
    played.type("\r")
    played.host(b"\r\nPassword: ", 1)
    played.pass_time(1)
    assert played.type("a") == NOTHING
    assert played.predictor._keys == []
    played.host(b"*", 1)
    assert played.type("b") == NOTHING


def test_behind_an_inner_terminal_every_line_has_to_show_its_first_character() -> None:
    """An inner ssh says nothing of its terminal, and what it will ask for may be a round trip away."""
    played = at_prompt(state=tty(EDITING, "ssh"))
    played.type("a")
    played.host(b"a", 1)
    assert played.type("b") != NOTHING
    played.type("\r")
    played.host(b"b\r\nhost$ ", 2)
    played.pass_time(1)
    assert played.type("c") == NOTHING
    played.host(b"c", 1)
    assert played.type("d") != NOTHING


# -- classes R and A


def test_raw_programs_need_one_character_of_each_line() -> None:
    played = Played()
    played.host(b">>> ", state=tty(EDITING, "python3"))
    played.pass_time(1)
    assert played.type("a") == NOTHING
    played.host(b"a", 1)
    assert played.type("b") != NOTHING
    played.type("\r")
    played.host(b"b\r\n>>> ", 2)
    played.pass_time(1)
    assert played.type("c") == NOTHING


def test_letters_that_are_commands_are_never_drawn() -> None:
    played = Played()
    played.host(b"row\r\n:", state=tty(EDITING, "less"))
    for _ in range(20):
        assert played.type("j") == NOTHING
        played.host(b"\r\x1b[Krow\r\n:", 1)


def in_vim() -> Played:
    played = Played()
    played.host(b"\x1b[?1049h\x1b[H", state=tty(EDITING, "vim"))
    played.pass_time(1)
    return played


def test_a_full_screen_program_opens_after_eight_letters_and_closes_at_a_miss() -> None:
    played = in_vim()
    for _ in range(8):
        assert played.type("a") == NOTHING
        played.host(b"a", 1)
    assert played.type("b") != NOTHING
    played.host(b"\r", 1)
    assert played.wrong == 1
    assert played.type("b") == NOTHING


def test_escape_closes_a_full_screen_program() -> None:
    played = in_vim()
    for _ in range(9):
        played.type("a")
        played.host(b"a", 1)
    played.type("\x1b")
    played.host(b"\b", 1)
    assert played.type("d") == NOTHING


# -- when to show


def test_never_guesses_nothing() -> None:
    played = at_prompt("never")
    assert played.type("ls") == NOTHING
    assert played.predictor.counters == (0, 0, 0, 0)


def test_adaptive_shows_late_echoes_only_and_underlines_the_latest() -> None:
    played = at_prompt("adaptive")
    assert played.type("a") == NOTHING
    assert played.predictor.deadline() == pytest.approx(played.now + 0.25)
    played.pass_time(0.25)
    assert played.overlay() != NOTHING  # a glitch
    for latency, shown, underlined in ((0.06, True, False), (0.2, True, True), (0.005, False, False)):  # fmt: skip
        for _ in range(40):
            played.type("b")
            played.pass_time(latency)
            played.host(b"a" if played.applied == 2 else b"b", 1)
            while played.applied < played.end:
                played.host(b"b", 1)
            played.type("\x7f")
            played.pass_time(latency)
            played.host(b"\b\x1b[K", 1)
            played.pass_time(0.2)
        overlay = played.type("c")
        assert (overlay != NOTHING) == shown
        assert any(cell[4] for cell in overlay.cells) == underlined
        played.host(b"c", 1)


def test_keys_that_the_host_has_and_that_have_no_effect_are_hidden() -> None:
    played = at_prompt()
    played.predictor.rtt(0.1)
    played.type("ls")
    played.predictor.state(2, None, played.now, applied=3)
    assert played.predictor.deadline() == pytest.approx(played.now + 1.0)
    played.pass_time(1.0)
    assert played.overlay() == NOTHING
    played.host(b"l", 1)
    assert played.seen() == "host$ ls"


def test_keys_that_wait_for_the_path_stay_and_are_underlined() -> None:
    played = at_prompt()
    played.predictor.rtt(0.05)
    played.type("l")
    assert not any(cell[4] for cell in played.overlay().cells)
    assert played.predictor.deadline() == pytest.approx(played.now + 1.0)
    played.pass_time(5.0)
    played.type("s")
    assert played.seen() == "host$ ls"
    assert all(cell[4] for cell in played.overlay().cells)
    played.host(b"")  # a word that says nothing new: the path works
    assert played.seen() == "host$ ls"
    assert not any(cell[4] for cell in played.overlay().cells)
    played.host(b"ls", 2)
    assert played.overlay() == NOTHING
    assert played.wrong == 0


def test_a_resize_waits_for_the_hosts_word() -> None:
    played = at_prompt()
    played.type("ls")
    played.screen.resize(10, 40)
    played.predictor.resized(played.now)
    assert played.overlay() == NOTHING
    played.host(b"")
    assert played.seen() == "host$ ls"


@pytest.mark.parametrize(
    "modes", [b"\x1b[4h", b"\x1b[?6h", b"\x1b[?7l", b"\x1b[2;5r", b"\x1b[?2026h"]
)
def test_modes_that_move_what_is_drawn_forbid_it(modes: bytes) -> None:
    played = at_prompt()
    played.type("ls")
    row, col, _, _ = played.screen.cursor
    played.screen.feed(modes + b"\x1b[%d;%dH" % (row + 1, col + 1))
    played.predictor.screen_changed(played.now)
    assert played.overlay() == NOTHING


def test_without_applied_settled_is_believed() -> None:
    played = at_prompt()
    played.type("ls")
    played.screen.feed(b"l")
    played.predictor.screen_changed(played.now)
    played.predictor.state(3, None, played.now)
    assert played.seen() == "host$ ls"
    assert played.wrong == 0


def test_a_host_that_has_settled_the_future_is_not_believed() -> None:
    played = at_prompt()
    played.predictor.state(2**40, None, played.now, applied=2**40)
    played.type("ls")
    assert played.seen() == "host$ ls"
    played.host(b"ls", 2)
    assert played.predictor.counters[1:3] == (3, 0)


class Watched:
    """A screen, and how often it was looked at."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self.looks = 0

    def __getattr__(self, name: str) -> Any:
        self.looks += 1
        return getattr(self._screen, name)


def test_a_key_costs_as_few_looks_at_the_screen_as_the_one_before() -> None:
    played = at_prompt(cols=200)
    played.host(b"")
    watched = Watched(played.screen)
    for holder in (played.predictor, played.predictor._line, played.predictor._start):
        holder._screen = watched  # type: ignore[union-attr, assignment]
    looks = []
    for _ in range(100):
        before = watched.looks
        played.type("a")
        looks.append(watched.looks - before)
    assert played.seen() == "host$ " + "a" * 100
    assert 0 < max(looks) == looks[0] < 20


def test_more_keys_than_are_kept_end_in_a_barrier() -> None:
    played = at_prompt()
    played.type("a" * 600 + "\rb")
    assert len(played.predictor._keys) == 512
    played.host(b"a" * 511, 511)
    assert played.predictor._keys[0].key.end == played.end
    played.host(b"\r\n" + PROMPT, 91)
    played.pass_time(1)
    assert played.type("c") != NOTHING


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=8),
            st.sampled_from([b"a", b"\x7f", b"\r", b"\x1b[D", b"\x01", b"\x17", "漢".encode()]),
            st.tuples(st.binary(max_size=40), st.integers(0, 5), st.integers(0, 2047)),
        ),
        max_size=40,
    )
)
def test_anything_may_happen(steps: list[bytes | tuple[bytes, int, int]]) -> None:
    played = Played(rows=4, cols=12)
    for step in steps:
        played.pass_time(0.1)
        if isinstance(step, bytes):
            played.predictor.typed(step, played.end, played.now)
            played.end += len(step)
        else:
            output, taken, flags = step
            taken = min(taken, played.end - played.applied)
            played.host(output, taken, tty(flags))
        overlay = played.overlay()
        assert all(0 <= row < 4 and 0 <= col < 12 for row, col, _, _, _ in overlay.cells)
        assert overlay.cursor is None or (
            0 <= overlay.cursor[0] < 4 and 0 <= overlay.cursor[1] < 12
        )
        played.predictor.deadline()


def test_a_copy_of_a_word_costs_no_look_at_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    played = at_prompt()
    played.host(b"")
    played.type("ls")
    looks: list[float] = []
    rebase = Predictor._rebase

    def counted(self: Predictor, now: float) -> None:
        looks.append(now)
        rebase(self, now)

    monkeypatch.setattr(Predictor, "_rebase", counted)
    for _ in range(3):
        played.host(b"")
    assert not looks
    assert played.seen() == "host$ ls"
    played.host(b"\x1b[m")
    assert looks == [played.now]
    assert played.seen() == "host$ ls"
