"""Files of packaging/ that other programs read, read by those."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"


@pytest.mark.tool("systemd-analyze")
@pytest.mark.parametrize("name", ["qshd.service", "qshd.socket"])
def test_systemd_understands_the_unit(name: str, tmp_path: Path) -> None:
    for each in ("qshd.service", "qshd.socket"):
        text = (PACKAGING / "systemd" / each).read_text()
        (tmp_path / each).write_text(text.replace("/usr/sbin/qshd", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.tool("systemd-analyze")
def test_a_mistake_in_a_unit_is_found(tmp_path: Path) -> None:
    """The control of the test above."""
    text = (PACKAGING / "systemd" / "qshd.service").read_text()
    (tmp_path / "qshd.service").write_text(text.replace("KillMode=process", "KillMode=proces"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "qshd.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "kill mode" in done.stderr


def test_what_users_do_is_not_the_services_fault() -> None:
    """Their programs are in its control group: one that runs out of memory must not stop qshd, and none inherits more
    descriptors than sshd's have (programs that close all that they might have take seconds with 524288)."""
    lines = (PACKAGING / "systemd" / "qshd.service").read_text().splitlines()
    unit = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert unit["OOMPolicy"] == "continue"
    soft, _, hard = unit["LimitNOFILE"].partition(":")
    assert int(soft) == 1024 < int(hard)


@pytest.mark.tool("apparmor_parser")
def test_apparmor_understands_the_profile() -> None:
    done = subprocess.run(
        [
            "apparmor_parser",
            "--skip-kernel-load",
            "--skip-cache",
            str(PACKAGING / "apparmor" / "qshd"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "script",
    ["init/qshd", "deb.sh", "debian/qshd.postinst", "debian/qshd.prerm", "debian/qshd.postrm"],
)
def test_the_shell_understands_the_script(script: str) -> None:
    subprocess.run(["sh", "-n", str(PACKAGING / script)], check=True)


def test_what_is_installed_unasked() -> None:
    """Neither started nor let through a firewall: that is the administrator's to say."""
    postinst = (PACKAGING / "debian" / "qshd.postinst").read_text()
    for word in ("enable", " start", "ufw", "firewall", "iptables", "nft"):
        assert word not in postinst, word
