"""Channels on QUIC streams, shared by client and server."""
