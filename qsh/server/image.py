"""The door to the native image of a daemon's memory: what it does is described in qsh/_native.pyi and native/src/image.rs."""

from __future__ import annotations

from qsh._native import Image, Pages

__all__ = ["Image", "Pages"]
