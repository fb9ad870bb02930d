"""The verdict on a candidate as people and scripts read it: a terminal, JSON, one page of HTML.

    reports.show(report, console)            # what `vitref compare` prints
    reports.plain(report)                    # plain values, for JSON
    reports.save_page(report, "report.html")

They say what a `vitref.verify.verdicts.Report` holds and decide nothing themselves.
"""

from vitref.verify.reports.summary import headline
from vitref.verify.reports.terminal import show
from vitref.verify.reports.values import plain
from vitref.verify.reports.web import page, save_page

__all__ = ["headline", "page", "plain", "save_page", "show"]
