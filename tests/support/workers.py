"""What a crash or a hang of a worker means for a test run: a failed test, never a run without end.

Owns how pytest-xdist gives files to workers, how long the end of a test may take, and that a
failure is reported at once. Must never change the result of a test.
"""

import faulthandler
from collections.abc import Generator

import pytest
from _pytest.terminal import TerminalReporter
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

TEARDOWN_S_MAX = 120


class Files(LoadFileScheduling):
    """Whole files, as `--dist loadfile` gives them, also after a crash. pytest-xdist 3.8 then hands
    out all files of the crashed worker again. Those that are done leave the next worker nothing to
    report, so that it gets no more work; and what still waits does not count as work."""

    def remove_node(self, node: WorkerController) -> str | None:
        files = self.assigned_work[node]
        for name in [name for name, tests in files.items() if all(tests.values())]:
            del files[name]
        return super().remove_node(node)

    @property
    def tests_finished(self) -> bool:
        return not self.workqueue and super().tests_finished


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Files | None:
    return Files(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None]:
    """pytest-timeout does not limit what follows a timeout: fixtures that end what hangs may hang
    too. Then the process ends, and xdist reports the test."""
    faulthandler.dump_traceback_later(TEARDOWN_S_MAX, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if isinstance(reporter, TerminalReporter) and config.getoption("dist", "no") != "no":
        config.pluginmanager.register(_Failures(reporter))


class _Failures:
    """Says what has failed when it fails: a run that is ended from outside has no summary."""

    def __init__(self, reporter: TerminalReporter) -> None:
        self._reporter = reporter

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            *_, last = report.longreprtext.splitlines() or [""]
            self._reporter.write_line(f"\n{report.nodeid}: {last}")
