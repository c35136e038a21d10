"""The image that daemons share: every byte as it was, and pages given back that are so again."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


def run(text: str) -> str:
    """What a fresh interpreter with ``Image`` prints; it replaces its own memory."""
    begin = "import gc, os, sys, threading\nfrom qsh._native import Image\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_all_is_as_it_was() -> None:
    assert (
        run("""
        kept = {str(number): [bytes([number % 251]) * (number % 5000)] for number in range(3000)}
        before = {key: hash(value[0]) for key, value in kept.items()}
        image = Image()
        assert {key: hash(value[0]) for key, value in kept.items()} == before
        kept = {key: [value[0] + b"x"] for key, value in kept.items()}
        gc.collect()
        import json
        print(json.loads(json.dumps({"a": [1, 2, 3]})))
        """)
        == "{'a': [1, 2, 3]}"
    )


def test_a_page_that_is_as_it_was_is_given_back_and_one_that_is_not_stays() -> None:
    found = run("""
        SIZE = 4096
        block = bytearray(400 * SIZE)
        for page in range(400):
            block[page * SIZE + 100] = page % 256
        image = Image()
        pages = image.pages()
        pages.give_back()
        for page in range(400):
            block[page * SIZE + 100] ^= 255
        changed = pages.give_back()
        for page in range(0, 400, 2):
            block[page * SIZE + 100] ^= 255
        restored = pages.give_back()
        expected = [page % 256 ^ (255 if page % 2 else 0) for page in range(400)]
        assert [block[page * SIZE + 100] for page in range(400)] == expected
        print(changed, restored)
        """)
    changed, restored = map(int, found.split())
    assert changed < 100
    assert 190 <= restored < 300


def test_a_fork_writes_to_its_own() -> None:
    assert (
        run("""
        values = bytearray(b"a" * 100_000)
        image = Image()
        child = os.fork()
        if child == 0:
            pages = image.pages()
            values[:] = b"b" * 100_000
            pages.give_back()
            os._exit(0 if values == b"b" * 100_000 else 1)
        assert os.waitpid(child, 0)[1] == 0
        print(values == b"a" * 100_000)
        """)
        == "True"
    )


def test_not_with_a_second_thread() -> None:
    assert (
        run("""
        ready, done = threading.Event(), threading.Event()
        thread = threading.Thread(target=lambda: (ready.set(), done.wait()))
        thread.start()
        ready.wait()
        try:
            Image()
        except OSError as error:
            print(error)
        finally:
            done.set()
            thread.join()
        """)
        == "more than one thread"
    )


def test_nothing_is_given_back_while_a_second_thread_runs() -> None:
    """A session host looks names up in threads, which write where they like."""
    assert (
        run("""
        pages = Image().pages()
        ready, done = threading.Event(), threading.Event()
        thread = threading.Thread(target=lambda: (ready.set(), done.wait()))
        thread.start()
        ready.wait()
        try:
            pages.give_back()
        except OSError as error:
            print(error)
        finally:
            done.set()
            thread.join()
        while True:  # joined before its last instruction
            try:
                print(pages.give_back() > 0)
                break
            except OSError:
                pass
        """)
        == "more than one thread\nTrue"
    )


@pytest.mark.parametrize("way", ["writable", "longer", "shorter"])
def test_nobody_changes_the_file(way: str) -> None:
    found = run(f"""
        image = Image()
        try:
            if {way!r} == "writable":
                os.pwrite(image.fileno(), b"x", 0)
            elif {way!r} == "longer":
                os.ftruncate(image.fileno(), 1 << 30)
            else:
                os.ftruncate(image.fileno(), 0)
        except PermissionError:
            print("refused")
        """)
    assert found == "refused"
