"""Who is who: keys, known_hosts, authorized_keys, certificates, and what is signed. Sans-IO."""
