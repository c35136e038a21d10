"""qshd's processes: front, monitor, spawner, session host (docs/architecture.md 2)."""
