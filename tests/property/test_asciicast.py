"""Recordings: any bytes, cut anywhere, are read back as the same text in order; any line is an event or RecordingError."""

from __future__ import annotations

import json
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from qsh.errors import RecordingError
from qsh.terminal.asciicast import INPUT, OUTPUT, CastWriter, read_event, read_header

pieces = st.lists(
    st.tuples(
        st.booleans(),
        st.floats(0, 1e6),
        st.one_of(
            st.binary(max_size=64),
            st.text(max_size=16).map(lambda text: text.encode("utf-8", "replace")),
        ),
        st.integers(0, 64),
    ),
    max_size=20,
)


@given(pieces)
def test_a_round_trip(found: list[tuple[bool, float, bytes, int]]) -> None:
    writer, lines = CastWriter(0.0), b""
    whole = {OUTPUT: b"", INPUT: b""}
    for typed, now_s, data, cut in found:
        for part in (data[:cut], data[cut:]):
            lines += (writer.input if typed else writer.output)(now_s, part)
            whole[INPUT if typed else OUTPUT] += part
    lines += writer.end(0.0)
    events = [read_event(line) for line in lines.splitlines(keepends=True)]
    for kind, data in whole.items():
        text = "".join(event.data for event in events if event.kind == kind)
        assert text == data.decode("utf-8", "replace")
    times = [event.at_s for event in events]
    assert times == sorted(times)


@given(st.binary(max_size=200))
def test_any_line(line: bytes) -> None:
    for read in (read_header, read_event):
        with suppress(RecordingError):
            read(line + b"\n")


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(
                st.sampled_from(("version", "width", "height", "title", "idle_time_limit")), inner
            ),
        ),
        max_leaves=8,
    )
)
def test_any_json(value: object) -> None:
    line = json.dumps(value).encode() + b"\n"
    for read in (read_header, read_event):
        with suppress(RecordingError):
            read(line)
