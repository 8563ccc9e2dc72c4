"""The report: one HTML file that shows what was kept, what was dropped, and why."""

from pairsift.report.build import ReportSummary, write_report

__all__ = ["ReportSummary", "write_report"]
