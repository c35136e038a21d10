"""qsh: a remote shell over QUIC."""

__version__ = "0.1.0"
