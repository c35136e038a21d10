"""What both ends of a terminal session count: logs by offset, repetition, flow control, settling. No I/O, no clock."""
