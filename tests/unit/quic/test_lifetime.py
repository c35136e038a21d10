"""Threads and processes: nothing is left behind, nothing hangs."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qsh.errors import TransportError
from qsh.quic import Driver, engine_version, warm_up

from .engine import engine_pair


def tasks() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def settled(count: int) -> bool:
    deadline = time.monotonic() + 2
    while tasks() > count:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture(autouse=True)
def nobody_elses_threads() -> None:
    """Engines of earlier tests that were not collected yet."""
    gc.collect()
    settled(1)


def test_version_names_the_engine() -> None:
    assert engine_version().startswith("quinn ")


def test_warm_up_ends_by_itself() -> None:
    before = tasks()
    warm_up()
    assert settled(before)


def test_close_leaves_no_thread(tmp_path: Path) -> None:
    before = tasks()
    big = tmp_path / "big"
    big.write_bytes(bytes(64 << 20))

    async def main() -> None:
        async with engine_pair(stream_window=65536) as pair:
            client, server = await pair.connect()
            splices = []
            tty_like, _far = os.openpty()
            for fd in (os.pipe()[0], tty_like, os.open(big, os.O_RDONLY)):
                stream = await client.open_bi()
                splices.append(asyncio.create_task(stream.send.splice_from(fd, shared=True)))
                splices.append(asyncio.create_task(stream.recv.splice_to(os.pipe()[1])))
            reading = asyncio.create_task(server.accept_uni())
            await asyncio.sleep(0.05)
            assert tasks() > before + 3
            start = time.monotonic()
            assert pair.driver.close(1000)
            assert time.monotonic() - start < 0.5
            results = await asyncio.gather(*splices, reading, return_exceptions=True)
            assert all(isinstance(r, asyncio.CancelledError) for r in results)
            with pytest.raises(TransportError):
                await client.open_bi()
            client.close()
            assert pair.driver.close()

    asyncio.run(main())
    assert settled(before)


def test_a_collected_runtime_stops_its_threads() -> None:
    before = tasks()

    async def main() -> None:
        driver = Driver(worker_threads=4)
        asyncio.get_running_loop().remove_reader(driver.native.fileno())
        assert tasks() == before + 4

    asyncio.run(main())
    assert settled(before)


EXIT = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
from engine import engine_pair

async def main():
    async with engine_pair() as pair:
        client, server = await pair.connect()
        stream = await client.open_bi()
        asyncio.ensure_future(stream.send.splice_from(os.pipe()[0], shared=True))
        asyncio.ensure_future(stream.recv.splice_to(os.open("/dev/null", os.O_WRONLY)))
        await asyncio.sleep(0.05)
        {how}

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("how", "status"), [("sys.exit(3)", 3), ("os._exit(4)", 4), ("raise RuntimeError", 1)]
)
def test_the_interpreter_exits_with_things_running(how: str, status: int) -> None:
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", EXIT.format(how=how), here],
        timeout=10,
        check=False,
        stderr=subprocess.PIPE,
    )
    assert done.returncode == status, done.stderr


FORGOTTEN = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from qsh.quic import Driver, client_endpoint, client_socket
async def main():
    global kept
    driver = Driver()
    kept = driver, client_endpoint(driver, client_socket("127.0.0.1"))
asyncio.run(main())
"""


def test_the_interpreter_exits_with_a_forgotten_runtime() -> None:
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", FORGOTTEN, here], timeout=10, check=False)
    assert done.returncode == 0


def test_importing_starts_no_thread() -> None:
    code = "import qsh.quic, os; assert len(os.listdir('/proc/self/task')) == 1"
    subprocess.run([sys.executable, "-c", code], timeout=10, check=True)
