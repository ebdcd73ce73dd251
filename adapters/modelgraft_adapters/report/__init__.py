"""One HTML page that says how good an adapter is, where it errs, what it cost and how to make it again."""

from __future__ import annotations

from modelgraft_adapters.report.collecting import collect
from modelgraft_adapters.report.contents import Cost, HardExample, ProbeReport, Repeat
from modelgraft_adapters.report.probe_page import build_report

__all__ = ["Cost", "HardExample", "ProbeReport", "Repeat", "build_report", "collect"]
