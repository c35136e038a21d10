"""qsh.server.metrics, read by prometheus_client's own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from qsh.server.metrics import Gauges, Metrics


def samples(metrics: Metrics, gauges: Gauges | None = None) -> dict[str, float]:
    page = metrics.render(gauges or Gauges(0, 0, 0, 0, {}))
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_what_has_happened() -> None:
    metrics = Metrics(12.5)
    metrics.login("publickey", "accepted")
    metrics.login("publickey", "accepted")
    metrics.login("resume", "refused")
    found = samples(metrics)
    assert found["qshd_logins_total{method=publickey,outcome=accepted}"] == 2
    assert found["qshd_logins_total{method=resume,outcome=refused}"] == 1
    assert found["qshd_start_time_seconds"] == 12.5


def test_what_is_so_now() -> None:
    found = samples(Metrics(0.0), Gauges(3, 1, 5, 7, {"front": 4096}))
    assert found["qshd_sessions"] == 3
    assert found["qshd_logins_judging"] == 1
    assert found["qshd_connections{state=unauthenticated}"] == 5
    assert found["qshd_connections{state=authenticated}"] == 7
    assert found["qshd_resident_bytes{process=front}"] == 4096


def test_counts_go_on_when_the_front_is_another() -> None:
    metrics = Metrics(0.0)
    metrics.front_started()
    metrics.front_counts({"accept": 5, "retry": 1})
    metrics.front_counts({"accept": 6, "retry": 1})
    metrics.front_started()
    metrics.front_counts({"accept": 2, "retry": 0})
    found = samples(metrics)
    assert found["qshd_attempts_total{decision=accept}"] == 8
    assert found["qshd_attempts_total{decision=retry}"] == 1
    assert found["qshd_fronts_total"] == 2


def test_odd_characters_in_a_label() -> None:
    odd = 'a"b\\c\nd'
    found = samples(Metrics(0.0), Gauges(0, 0, 0, 0, {odd: 1}))
    assert found[f"qshd_resident_bytes{{process={odd}}}"] == 1
