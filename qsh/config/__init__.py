"""Configuration files: ssh_config for the client, qshd_config for the server. Sans-IO."""
