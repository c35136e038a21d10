"""One qshd for each file of tests, and ``qsh`` in PATH that reaches it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.drop_in import DropIn
from tests.support.live_server import PLAIN_SHELL, LiveServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DropIn]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), f"{PLAIN_SHELL}\nAcceptEnv GIT_PROTOCOL")
    yield DropIn(server)
    server.stop()


@pytest.fixture
def drop_in(live: DropIn) -> DropIn:
    live.forget()
    return live
