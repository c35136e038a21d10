"""How often a client asks whether the path is back, by a clock that the test turns."""

from __future__ import annotations

from itertools import pairwise

import pytest

from qsh.session.probing import Probing


def probes(probing: Probing, until: float) -> list[float]:
    """When probes go, if nothing is heard."""
    times: list[float] = []
    while (deadline := probing.deadline) is not None and deadline <= until:
        assert probing.due(deadline)
        assert not probing.due(deadline - 0.001)
        probing.probed(deadline)
        times.append(deadline)
    return times


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


def test_who_waits_for_nothing_does_not_probe() -> None:
    probing = Probing()
    assert probing.deadline is None
    probing.probed(1.0)
    assert not probing.due(1e9)
    probing.asked(2.0)
    probing.heard()
    assert probing.deadline is None


@pytest.mark.parametrize(("rtt_s", "first_s"), [(0.01, 0.1), (0.4, 0.6)])
def test_an_answer_has_its_time(rtt_s: float, first_s: float) -> None:
    probing = Probing()
    probing.rtt(rtt_s)
    probing.asked(5.0)
    assert probing.deadline == pytest.approx(5.0 + first_s)


def test_more_questions_do_not_put_the_first_one_s_probes_off() -> None:
    probing = Probing()
    probing.asked(5.0)
    probing.asked(5.09)
    assert probing.deadline == pytest.approx(5.1)


def test_every_50_ms_for_a_minute_then_every_250_for_ten_then_every_second() -> None:
    probing = Probing()
    probing.asked(0.0)
    times = probes(probing, 700.0)
    young = [at for at in times if at < 60.0]
    assert max(gaps([0.1, *young])) <= 0.05
    assert len(young) * 120 / 60 <= 4000  # bytes a second, with all headers: 32 kbit/s
    middle = [at for at in times if 60.0 < at < 660.0]
    assert gaps(middle) == pytest.approx([0.25] * (len(middle) - 1))
    late = [at for at in times if at > 661.0]
    assert gaps(late) == pytest.approx([1.0] * (len(late) - 1))


def test_a_word_begins_anew() -> None:
    probing = Probing()
    probing.asked(0.0)
    probes(probing, 700.0)
    probing.heard()
    probing.asked(701.0)
    times = probes(probing, 710.0)
    assert max(gaps(times)) <= 0.05
