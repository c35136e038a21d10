"""The lock files hold no version with a known hole, no host of a registry and no package without a hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The first version without the hole. Raise it when an advisory says so.
CRATES = {
    "aws-lc-sys": "0.39.1",  # RUSTSEC-2026-0044, -0048
    "quinn": "0.11.12",
    "quinn-proto": "0.11.19",  # CVE-2026-31812, RUSTSEC-2026-0185
    "ring": "0.17.12",  # RUSTSEC-2025-0009
    "rustls": "0.23.45",  # RUSTSEC-2026-0285
    "rustls-webpki": "0.103.13",  # RUSTSEC-2026-0049, -0098, -0099, -0104
}
OPTIONAL_CRATES = {"ring", "rustls-webpki"}
PACKAGES = {
    "asyncssh": "2.23.1",  # CVE-2026-54591
}


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+", maxsplit=1)[0].split("."))


def locked_crates() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with (ROOT / "native/Cargo.lock").open("rb") as file:
        for package in tomllib.load(file)["package"]:
            found.setdefault(package["name"], []).append(package["version"])
    return found


def locked_packages(name: str = "requirements.lock") -> dict[str, str]:
    text = (ROOT / name).read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", sorted(CRATES))
def test_crate_is_new_enough(name: str) -> None:
    versions = locked_crates().get(name, [])
    assert versions or name in OPTIONAL_CRATES
    for version in versions:
        assert number(version) >= number(CRATES[name])


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_package_is_new_enough(name: str) -> None:
    assert number(locked_packages()[name]) >= number(PACKAGES[name])


def test_comparison_is_by_number() -> None:
    assert number("0.11.9") < number("0.11.19")


def test_every_crate_has_a_checksum_and_comes_from_the_registry() -> None:
    with (ROOT / "native/Cargo.lock").open("rb") as file:
        packages = tomllib.load(file)["package"]
    foreign = [package for package in packages if "checksum" not in package]
    assert [package["name"] for package in foreign] == ["qsh-native"]
    assert len(packages) > 20


@pytest.mark.parametrize(
    "name", ["requirements.lock", "requirements-bench.lock", "requirements-interop.lock"]
)
def test_every_package_has_a_hash_and_no_host_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 10
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_declared_dependencies_are_locked() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    declared = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.split(r"[<>=~!; \[]", line)[0].replace("_", "-").lower() for line in declared}
    assert names <= set(locked_packages())
