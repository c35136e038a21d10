"""The door to the native terminal model and the reading of terminals: what they do is described in qsh/_native.pyi."""

from __future__ import annotations

from qsh._native import (
    MODE_ALTERNATE,
    MODE_APP_CURSOR,
    MODE_BRACKETED_PASTE,
    MODE_INSERT,
    MODE_MARGINS,
    MODE_MOUSE,
    MODE_NO_WRAP,
    MODE_ORIGIN,
    MODE_STRING,
    MODE_SYNC,
    Screen,
    Snapshot,
    gulp,
    look,
    pour,
    wait,
)

__all__ = [
    "MODE_ALTERNATE",
    "MODE_APP_CURSOR",
    "MODE_BRACKETED_PASTE",
    "MODE_INSERT",
    "MODE_MARGINS",
    "MODE_MOUSE",
    "MODE_NO_WRAP",
    "MODE_ORIGIN",
    "MODE_STRING",
    "MODE_SYNC",
    "Screen",
    "Snapshot",
    "gulp",
    "look",
    "pour",
    "wait",
]
