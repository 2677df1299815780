"""The meaning of every figure on the dashboard, in one sentence each.

Shown on hover and at the end of each page; docs/how-to/dashboard.md has them all, too. No state.
"""

from __future__ import annotations

GLOSSARY = {
    "Runtime coverage": (
        "Of the statements that did not run at load only, how many ran after the first request. "
        "This is what the application uses."
    ),
    "Load coverage": (
        "Of all statements, how many ran while the application was loaded: imports, definitions, "
        "set-up, before the first request."
    ),
    "Executed": "Of all statements, how many ran at all, at load or at runtime.",
    "Files": "Files that are measured, with those that were never imported.",
    "Functions never run": (
        "Functions and methods of which no statement of the body ran, neither at load nor at "
        "runtime. Their def line runs at load and does not count."
    ),
    "Workers": (
        "Live processes of this application on this host; the page of workers lists those of all "
        "hosts of a fleet."
    ),
    "Statements": "Executable statements, as coverage.py counts them.",
    "Ran": (
        "Never; at load only, which is while the application was loaded and never since the first "
        "request; or at runtime. Of a function its body counts."
    ),
    "Last seen": (
        "The last day, in UTC, on which some statement of it ran, whatever was reset since. Days "
        "are kept for as long as seen_days says."
    ),
    "Requests with it": "Requests that were recorded for this label.",
    "Lines of a label": (
        "Lines of the application's own sources that ran for requests with this label, after the "
        "load."
    ),
    "Lines of it alone": "Of these, the lines that ran for no other label.",
    "Unused": "Statements that ran neither at load nor at runtime.",
    "Load only": "Statements that ran at load, and not at runtime.",
    "Load": "Statements that ran while the application was loaded.",
    "Runtime": "Statements that ran after the first request; some of them ran at load, too.",
    "Branches": "Jumps from one line to one of several others; shown where they are measured.",
    "Partial": "Lines with branches of which some were taken, and some were not.",
    "Branches taken": "Of all branches, how many were taken.",
    "Size": "Bytes of the snapshot's combined data file.",
    "Requests seen": (
        "Requests that this worker has handed on to the application since it was started; those to "
        "the dashboard are not among them."
    ),
    "Last published": (
        "Everything that the worker executed up to then is in the next report, even if the "
        "worker is killed."
    ),
}
