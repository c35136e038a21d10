"""Terminals, sans-IO."""
