"""The client: from a command line to an exit status."""
