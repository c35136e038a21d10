from __future__ import annotations

from qsh.client.path_history import PathHistory


def test_counts_moves_and_resumes() -> None:
    history = PathHistory()
    history.migrated("192.0.2.1:4000", "198.51.100.7:4001")
    history.migrated("198.51.100.7:4001", "[2001:db8::1]:4002")
    history.resumed()
    assert (history.migrations, history.resumes) == (2, 1)
    assert history.last_move == ("198.51.100.7:4001", "[2001:db8::1]:4002")
