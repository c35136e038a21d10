"""The wire protocol ``qsh/1`` (docs/protocol.md), sans-IO."""
