"""``make fuzz``: every target in turn for its share of the time, with new seeds: python -m tests.fuzz SECONDS [TARGET...]"""

from __future__ import annotations

import hashlib
import random
import sys

from tests.fuzz.runner import HERE, Failure, names, run

ROUND_S = 60.0


def main(argv: list[str]) -> int:
    seconds = float(argv[0]) if argv else ROUND_S
    targets = argv[1:] or names()
    share_s = seconds / len(targets)
    rounds = max(1, round(share_s / ROUND_S))
    for _ in range(rounds):
        for name in targets:
            seed = random.SystemRandom().randrange(2**32)
            try:
                count = run(name, share_s / rounds, seed)
            except Failure as failure:
                folder = HERE / "corpus" / name
                folder.mkdir(parents=True, exist_ok=True)
                (folder / hashlib.sha256(failure.data).hexdigest()[:16]).write_bytes(failure.data)
                print(failure, flush=True)
                raise
            print(f"{name}: seed {seed}, {count} inputs", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
