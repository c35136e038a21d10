"""What a test may ask of the machine. In CI what is missing fails; elsewhere the test is left out, and the report says so.

``@pytest.mark.root`` needs root; ``@pytest.mark.tool("tmux", "vim")`` needs programs.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

hypothesis.settings.register_profile("qsh", deadline=None)  # a busy machine is no counterexample
hypothesis.settings.load_profile("qsh")

IN_CI = bool(os.environ.get("CI"))
INTEROP = Path(sys.prefix, "interop", "bin")
"""What `packaging/setup.sh interop` installs."""
OPENSSH_TESTS = Path(sys.prefix, "openssh", "regress")
"""What `packaging/setup.sh openssh-tests` brings; `test-exec.sh` runs one of them."""
SBIN = os.pathsep.join(
    (os.environ.get("PATH", ""), "/usr/sbin", "/sbin", str(INTEROP), str(OPENSSH_TESTS))
)

_left_out: dict[str, int] = {}


def lacking(item: pytest.Item) -> str | None:
    """What the machine does not offer that ``item`` asks for."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        return "root"
    for marker in item.iter_markers("tool"):
        for tool in marker.args:
            if shutil.which(tool, path=SBIN) is None:
                return str(tool)
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if IN_CI:
        return  # pytest_runtest_setup fails them
    kept, dropped = [], []
    for item in items:
        missing = lacking(item)
        (dropped if missing else kept).append(item)
        if missing:
            _left_out[missing] = _left_out.get(missing, 0) + 1
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def pytest_runtest_setup(item: pytest.Item) -> None:
    if missing := lacking(item):
        pytest.fail(f"this test needs {missing}", pytrace=False)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """In CI a skip is a failure: a check that did not run must not look like one that passed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """The same for a whole file that is skipped when it is read (importorskip)."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for missing, count in sorted(_left_out.items()):
        terminalreporter.write_line(f"LEFT OUT: {count} tests need {missing}", yellow=True)
