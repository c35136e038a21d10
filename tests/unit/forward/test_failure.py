"""The words for what could not be had are OpenSSH's."""

from __future__ import annotations

import errno
import socket

from qsh.forward.failure import NOT_PERMITTED, of_error, open_failed


def test_words() -> None:
    refused = of_error(errno.ECONNREFUSED)
    assert refused == ("connect-failed", "Connection refused", "ECONNREFUSED")
    assert open_failed(*refused[:2]) == "open failed: connect failed: Connection refused"
    assert (
        open_failed(*NOT_PERMITTED[:2]) == "open failed: administratively prohibited: open failed"
    )
    unknown = of_error(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    assert unknown == ("connect-failed", "Name or service not known", "EAI_NONAME")
    assert of_error(OSError(errno.EMFILE, "x")).code == "resources"
    assert open_failed("unheard-of", "") == "open failed: unheard-of: open failed"
