"""``qshctl import-sshd-config``: what it says of each keyword, and that what it writes means the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qsh.config.daemon_dump import dump
from qsh.config.daemon_import import survey
from qsh.config.daemon_parser import BadConfiguration, parse
from qsh.config.daemon_schema import DONE, SCHEMA, UNUSED, Keyword

SSHD = "/usr/sbin/sshd"
FILE = "/etc/ssh/sshd_config"


def read_none(_: str) -> list[tuple[str, str]]:
    return []


VALUES = {
    "port": "1", "listen": "127.0.0.1", "integer": "3", "octal": "0177", "count": "3", "users": "a", "names": "a",
    "env_names": "A", "settings": "A=b", "startups": "1:2:3", "netblock": "32:128", "ipqos": "af21",
    "penalties": "authfail:1m", "networks": "192.0.2.0/24", "rekey": "default",
    "permits": "a:1", "subsystem": "x /bin/y", "tcp_port": "2", "timeouts": "session=1", "methods": "publickey,password",
    "key_options": "touch-required", "log_level": "INFO", "facility": "AUTH", "tunnel": "no", "addendum": "x",
    "command": "/bin/x", "line": "x", "key_files": "/x", "seconds": "3", "timeout": "3", "user_environment": "no",
}  # fmt: skip
OTHERS = {
    "algorithms:ciphers": "aes128-ctr", "algorithms:macs": "hmac-sha2-256", "algorithms:kex": "curve25519-sha256",
    "algorithms:keys": "ssh-ed25519", "algorithms:signatures": "ssh-ed25519", "algorithms:gss-kex": "gss-gex-sha1-",
    "choice:family": "any", "choice:compression": "yes", "choice:rhosts": "yes", "choice:digest": "sha256",
    "choice:congestion": "own", "choice:log_format": "json", "permits:listen": "80",
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Subsystem sftp internal-sftp", "the system's sftp-server runs"),
        ("Subsystem sftp internal-sftp -l INFO", "the system's sftp-server runs"),
        ("ForceCommand internal-sftp", "the system's sftp-server runs"),
        ("ForceCommand internal-sftp -d /in", "the system's sftp-server runs"),
    ],
)
def test_sshds_own_sftp_server_is_not_here(line: str, words: str) -> None:
    (told,) = survey(f"{line}\n", FILE, read_none).different
    assert f": {line}: not built in: {words}" in told


def test_other_programs_are_what_they_were() -> None:
    text = "Subsystem sftp /usr/lib/sftp-server\nForceCommand internal-sftpd\n"
    assert len(survey(text, FILE, read_none).same) == 2


@pytest.mark.parametrize("keyword", SCHEMA, ids=lambda keyword: keyword.name)
def test_every_keyword_is_in_one_list(keyword: object) -> None:
    kind, name = keyword.kind, keyword.name  # type: ignore[attr-defined]
    value = (
        OTHERS.get(kind)
        or VALUES.get(kind)
        or ("no" if kind.partition(":")[0] in ("flag", "choice") else "/x")
    )
    text = f"{name} {value}\n"
    if name.endswith("Command") and name.startswith("Authorized"):
        text += f"{name}User x\n"
    found = survey(text, FILE, read_none)
    lists = (found.same, found.different, found.unused, found.refused)
    mine = [[line for line in lines if f"line 1: {name} " in line] for lines in lists]
    assert sum(map(len, mine)) == 1
    status = keyword.status  # type: ignore[attr-defined]
    assert bool(mine[2]) is (status == UNUSED)
    assert not mine[3]
    if status == DONE:
        assert mine[0] or mine[1]


def test_the_report() -> None:
    found = survey(
        "Port 2222\nX11Forwarding yes\nCiphers aes128-ctr\nLoginGraceTime 0\n"
        "Match User a\n  Banner /x\n  PermitTTY no\n",
        FILE,
        read_none,
    )
    assert found.report().splitlines() == [
        "Same effect:",
        f"  {FILE} line 2: X11Forwarding yes",
        f"  {FILE} line 7: PermitTTY no",
        "Another effect:",
        f"  {FILE} line 1: Port 2222: the number is that of a UDP port",
        f"  {FILE} line 4: LoginGraceTime 0: 0 stands for 10 minutes in qshd, for no limit in sshd",
        "Not set, and another default:",
        *[
            line
            for line in found.report().splitlines()
            if line.startswith(("  PermitRoot", "  UsePAM", "  PerSource"))
        ],
        "No effect in qshd:",
        f"  {FILE} line 3: Ciphers aes128-ctr: TLS 1.3 has its own algorithms",
        f"  {FILE} line 6: Banner /x: works only before the first Match",
    ]
    assert len(found.defaults) == 3


PASSWORDS = ("PasswordAuthentication", "KbdInteractiveAuthentication")


@pytest.mark.parametrize("keyword", SCHEMA, ids=lambda keyword: keyword.name)
def test_what_is_refused_is_what_qshd_does_not_start_with(keyword: Keyword) -> None:
    """Though sshd does: those two, and nothing else."""
    kind = keyword.kind
    value = OTHERS.get(kind) or VALUES.get(kind) or ("yes" if kind == "flag" else "")
    if keyword.name == "UsePAM" or not value:
        return
    text = f"UsePAM no\n{keyword.name} {value}\n"
    if kind == "command":
        text += f"{keyword.name}User x\n"
    found = survey(text, FILE, read_none)
    refusals = [line.partition(f"{value}: ")[2] for line in found.refused]
    assert (refusals != []) is (keyword.name in PASSWORDS)
    if refusals:
        with pytest.raises(BadConfiguration) as caught:
            parse(text, FILE)
        assert [error.text for error in caught.value.errors] == refusals
    else:
        parse(text, FILE)


def test_what_is_refused_stays_in_what_is_made(tmp_path: Path) -> None:
    """With a remark."""
    text = (
        "MaxSessions 2\n PasswordAuthentication yes\nKbdInteractiveAuthentication no\nUsePAM no\n"
    )
    found = survey(text, FILE, read_none)
    why = "PasswordAuthentication yes needs UsePAM yes: qshd has passwords checked by PAM only"
    assert found.refused == [f"{FILE} line 2: PasswordAuthentication yes: {why}"]
    assert "Refused: qshd does not start with these:" in found.report()
    assert found.rewrite(text, FILE).splitlines()[1:] == [
        "MaxSessions 2",
        f"# qshd does not start with the next line: {why}",
        " PasswordAuthentication yes",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
    ]
    (tmp_path / "sshd_config").write_text(text)
    assert run(tmp_path / "sshd_config").returncode == 1


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qsh.cli.control", "import-sshd-config", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


BAD = {
    "a bad value": ("UsePAM perhaps\n", "{file} line 1: unsupported option \"perhaps\"."),
    "a word": ("\nFrobnicate x\n", "{file} line 2: Bad configuration option: Frobnicate"),
    "a bad Match": ("Match Frob x\n", "{file} line 1: Unsupported Match attribute Frob"),
    "in an included file": ("Include {dir}/b\n", "{dir}/b line 2: Badly formatted port number."),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_sshd_would_not_take(tmp_path: Path, name: str) -> None:
    text, expected = BAD[name]
    file = tmp_path / "sshd_config"
    file.write_text(text.replace("{dir}", str(tmp_path)))
    (tmp_path / "b").write_text("\nPort x\n")
    done = run(file, "--write", tmp_path / "made")
    assert done.returncode == 255
    assert done.stderr.splitlines()[0] == expected.format(file=file, dir=tmp_path)
    assert not (tmp_path / "made").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = run(tmp_path / "none")
    assert (done.returncode, done.stderr) == (
        255,
        f"qshctl: {tmp_path}/none: No such file or directory\n",
    )


def test_no_file_is_replaced_but_on_request(tmp_path: Path) -> None:
    file, made = tmp_path / "sshd_config", tmp_path / "made"
    file.write_text("MaxSessions 2\n")
    made.write_text("mine\n")
    done = run(file, "--write", made)
    assert done.returncode == 255
    assert f"{made} exists; --force replaces it" in done.stderr
    assert made.read_text() == "mine\n"
    done = run(file, "--write", made, "--force")
    assert done.returncode == 0, done.stderr
    assert "MaxSessions 2" in made.read_text()
    assert made.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["made", "sshd_config"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    file, made = tmp_path / "sshd_config", tmp_path / "made"
    file.write_text("MaxSessions 2\n")
    (tmp_path / "target").write_text("mine\n")
    made.symlink_to(tmp_path / "target")
    assert run(file, "--write", made, "--force").returncode == 0
    assert (tmp_path / "target").read_text() == "mine\n"
    assert not made.is_symlink()


def test_what_is_made_means_the_same(tmp_path: Path) -> None:
    """sshd -T of the one beside qshd -T of the other."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True
    )
    file, made = tmp_path / "sshd_config", tmp_path / "made"
    (tmp_path / "more.conf").write_text("MaxAuthTries 3\nMatch User nobody\nPermitTTY no\n")
    file.write_text(
        f"HostKey {tmp_path}/key\nPermitRootLogin no\nUsePAM no\nPerSourceNetBlockSize 24:48\nPidFile /run/x.pid\n"
        f'Include "{tmp_path}/more.conf" /etc/ssh/none/*.conf\nSubsystem sftp internal-sftp\nAcceptEnv LANG LC_*\n'
        "TrustedUserCAKeys /etc/ssh/cas\nRevokedKeys /etc/ssh/gone\n\nMatch Address 10.0.0.0/8\n\tX11Forwarding yes\n"
    )
    assert run(file, "--write", made).returncode == 0
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    spec = "user=nobody,host=h,addr=10.1.2.3,laddr=1.1.1.1,lport=22"
    theirs = subprocess.run(
        [SSHD, "-T", "-f", file, "-C", spec], capture_output=True, text=True, check=True
    ).stdout
    ours = dump(parse(made.read_text(), str(made), lambda pattern: [
        (str(path), path.read_text()) for path in Path("/").glob(pattern.lstrip("/"))
    ]), spec)  # fmt: skip
    own = ("qsh", "detached", "resume", "sessiondirectory", "persourcepenalt")
    theirs_too = [line for line in theirs.splitlines() if not line.lower().startswith(own)]
    assert [line for line in ours.splitlines() if not line.startswith(own)] == theirs_too


def test_relative_includes_are_those_of_sshd() -> None:
    asked: list[str] = []

    def read(pattern: str) -> list[tuple[str, str]]:
        asked.append(pattern)
        return []

    text = 'Include sshd_config.d/*.conf "a b" # more\n'
    found = survey(text, FILE, read)
    assert asked == ["/etc/ssh/sshd_config.d/*.conf", "/etc/ssh/a b"]
    assert (
        found.rewrite(text, FILE).splitlines()[1]
        == 'Include /etc/ssh/sshd_config.d/*.conf "/etc/ssh/a b"'
    )
