"""Forwarded connections: SOCKS, reaching a target, listening, and the way between a socket and a stream (docs/protocol.md 11)."""
