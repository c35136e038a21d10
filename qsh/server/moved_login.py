"""Whether a client may stay that has moved to another address (docs/protocol.md 5.9), in a login child.

Only rules for addresses can say no: ``from=``, Match Address, AllowUsers and DenyUsers with a host. So the login is judged twice,
at the time of its login: where it was and where it is. A key whose time is over, or that was taken out of its file, is refused
at both, and the connection goes on, as one that stays where it was does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qsh.server.login import Opinion
from qsh.server.requests import OTHER_RULES, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.config.daemon_options import DaemonOptions
    from qsh.server.login import Judge
    from qsh.server.requests import Address

__all__ = ["judge_move"]


def judge_move(judge_at: Callable[[Address], Judge], before: Address, now: Address) -> Opinion:
    """ACCEPTED, or REFUSED with the reason; OTHER_RULES: it may log in again, and is then held to them."""
    there = judge_at(now).judge_again()
    here = judge_at(before).judge_again()
    if here.outcome != Outcome.ACCEPTED:
        return Opinion(Outcome.ACCEPTED)
    if there.outcome != Outcome.ACCEPTED:
        return there
    if _relevant(there.options) != _relevant(here.options) or there.key_options != here.key_options:
        return Opinion(Outcome.REFUSED, OTHER_RULES)
    return Opinion(Outcome.ACCEPTED)


def _relevant(options: DaemonOptions | None) -> DaemonOptions | None:
    """Without what a Match block may change and the login may do the same."""
    if options is None:
        return None
    return replace(options, banner="none", log_level="INFO", log_verbose=())
