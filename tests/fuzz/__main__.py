"""``make fuzz``: every target for its share of the time, as many at a time as there are processors, with new seeds:
python -m tests.fuzz SECONDS [TARGET...]
"""

from __future__ import annotations

import sys

from tests.fuzz import side_by_side
from tests.fuzz.runner import names

ROUND_S = 60.0


def main(argv: list[str]) -> int:
    seconds = float(argv[0]) if argv else ROUND_S
    targets = argv[1:] or names()
    share_s = seconds * min(side_by_side.workers(), len(targets)) / len(targets)
    rounds = max(1, round(share_s / ROUND_S))
    failed = 0
    for _ in range(rounds):
        for name, running in side_by_side.begin(targets, share_s / rounds).items():
            result = running.result()
            failed += bool(result.failure)
            print(
                result.failure or f"{name}: seed {result.seed}, {result.inputs} inputs", flush=True
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
