"""Licences of all that goes into a package: ``licences.py FOLDER`` prints a line for each Python distribution in the folder,
and for each crate of native/Cargo.lock that is linked into the module.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

MANIFEST = Path(__file__).parent.parent / "native" / "Cargo.toml"


def python_lines(folder: str) -> list[str]:
    """``name version: licence``, sorted."""
    found = []
    for each in metadata.distributions(path=[folder]):
        words = each.metadata
        licence = words["License-Expression"] or words["License"] or ""
        if not licence or "\n" in licence:  # the text itself, or only a classifier
            named = [
                c.rpartition(" :: ")[2]
                for c in words.get_all("Classifier") or ()
                if c.startswith("License ::")
            ]
            licence = ", ".join(named) or licence.split("\n")[0]
        if not licence:
            raise SystemExit(f"{words['Name']}: no licence is named")
        found.append(f"{words['Name']} {words['Version']}: {licence}")
    return sorted(found, key=str.lower)


def crate_lines() -> list[str]:
    """The same for crates, without those that only build or test."""
    command = [
        "cargo",
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--manifest-path",
        str(MANIFEST),
    ]
    target = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    (host,) = (
        line.removeprefix("host: ") for line in target.splitlines() if line.startswith("host: ")
    )
    told = json.loads(
        subprocess.run(
            [*command, "--filter-platform", host], check=True, capture_output=True
        ).stdout
    )
    packages = {each["id"]: each for each in told["packages"]}
    nodes = {each["id"]: each for each in told["resolve"]["nodes"]}
    waiting, linked = [told["resolve"]["root"]], set()
    while waiting:
        name = waiting.pop()
        if name in linked:
            continue
        linked.add(name)
        waiting += [
            dependency["pkg"]
            for dependency in nodes[name]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]
    return sorted(
        f"{packages[name]['name']} {packages[name]['version']}: {packages[name]['license']}"
        for name in linked
    )


def main() -> None:
    """Print both lists."""
    python, crates = python_lines(sys.argv[1]), crate_lines()
    lines = [
        "Python distributions in this package (each has its licence's text in its dist-info):",
        *(f"  {line}" for line in python),
        "",
        "Crates linked into qsh/_native:",
        *(f"  {line}" for line in crates),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
