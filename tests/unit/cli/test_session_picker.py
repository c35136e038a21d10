"""Which sessions are offered at login, and in what words."""

from __future__ import annotations

from qsh.cli.session_picker import choices

NOW_S = 1_800_000_000.0


def row(name: str, **more: object) -> dict[str, object]:
    return {
        "name": name, "command": "vim", "host": "laptop", "started": NOW_S - 7200,
        "traffic": NOW_S - 60, "attached": 0, "ended": False, **more,
    }  # fmt: skip


def test_those_that_nobody_uses_the_newest_first() -> None:
    rows = [
        row("1"),
        row("2", attached=1),
        row("3", ended=True),
        row("4", traffic=NOW_S - 5),
        row("5", traffic="never"),
    ]
    found = choices(rows, NOW_S)
    assert [name for name, _ in found] == ["4", "1", "5"]
    assert found[1][1] == "1: vim, from laptop, started 2 h ago, last traffic 1 min ago"


def test_what_a_host_may_say() -> None:
    assert choices([], NOW_S) == []
    assert choices([7, None, {}, {"name": 3}], NOW_S) == []
    assert choices({"name": "1"}, NOW_S) == []  # type: ignore[arg-type]
    ((_, text),) = choices([row("1", command="\x1b]52;c;eA==\x07")], NOW_S)
    assert not {"\x1b", "\x07"} & set(text)
