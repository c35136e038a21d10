"""The client's edge of one persistent terminal (docs/protocol.md 10); ``remote.py`` is its front door and its clock.

Towards the host: ``keyboard.py`` reads keys, ``typed.py`` sends them until they have arrived, ``reports.py`` says what the user's
terminal has taken; all by ``channel.py``. From the host: ``reception.py`` to ``view.py``, the user's terminal. When the host is
silent: ``contact.py`` asks and tells, ``reattaching.py`` gets another connection. ``path.py`` watches round trip and loss,
``history.py`` shows what has left the screen, ``ending.py`` is how it ends.
"""
