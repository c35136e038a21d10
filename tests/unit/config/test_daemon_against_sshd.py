"""``qshd -T`` beside the real ``sshd -T`` on the same file. Fails without sshd: nothing else
would show that the two agree."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from qsh.config.daemon_dump import dump
from qsh.config.daemon_parser import BadConfiguration, parse
from qsh.config.daemon_schema import SCHEMA

SSHD = "/usr/sbin/sshd"

DIFFERENT = {"pidfile", "persourcenetblocksize"}
"""Keywords whose defaults are our own (and permitrootlogin, which the files below set)."""

OWN = {
    keyword.name.lower()
    for keyword in SCHEMA
    if keyword.name.startswith(("Qsh", "Detached", "Resume", "SessionDirectory", "PerSourcePenalt"))
}
"""And those of sshd since 9.8, which the one here may not print."""

FILES = {
    "defaults": "",
    "ports": "Port 22\nPort 2222\nListenAddress 127.0.0.1\nListenAddress [::1]:99\n",
    "family": "AddressFamily inet\nPort 33\n",
    "family6": "AddressFamily inet6\n",
    "environment": 'AcceptEnv LANG LC_*\nAcceptEnv FOO\nSetEnv A=1 "B=x y" A=2\nSetEnv C=3\n',
    "lists": "AllowUsers a@b c\nAllowUsers d\nDenyGroups x y\nDenyUsers z@10.0.0.0/8\n",
    "first_wins": "Banner /etc/issue\nBanner /etc/other\nMaxSessions 3\nMaxSessions 4\n",
    "startups": "MaxStartups 7:50:9\nPerSourceMaxStartups 3\n",
    "startups_short": "MaxStartups 5\n",
    "times": "LoginGraceTime 1h30m\nClientAliveInterval 1m\nUnusedConnectionTimeout 5m\n",
    "grace_off": "LoginGraceTime 0\n",
    "commands": 'ForceCommand echo "hi  there" x # y\nAuthorizedKeysCommand /usr/bin/x %u\n'
    "AuthorizedKeysCommandUser nobody\n",
    "keys": "AuthorizedKeysFile /a/%u /b %h/.k\n",
    "no_keys": "AuthorizedKeysFile none\n",
    "forwarding": "PermitOpen host:22 [::1]:33\nPermitListen 80 host:90\nGatewayPorts clientspecified\n"
    "AllowTcpForwarding local\nPermitTunnel point-to-point\nStreamLocalBindMask 077\n"
    "DisableForwarding yes\nAllowStreamLocalForwarding remote\n",
    "permit_none": "PermitOpen none\nPermitListen any\n",
    "logging": "LogLevel debug1\nSyslogFacility local3\nLogVerbose foo:*\n",
    "texts": "VersionAddendum hello world\nSubsystem sftp /usr/lib/sftp -l x\n",
    "spelling": 'banner=/etc/issue\n  PRINTMOTD = no # comment\n"PrintLastLog" "no"\n',
    "rekey": "RekeyLimit 1.5G 1h\nIPQoS af21 0x33\n",
    "rekey_default": "RekeyLimit default none\nIPQoS none\n",
    "misc": "Compression delayed\nFingerprintHash md5\nIgnoreRhosts shosts-only\n"
    "ChannelTimeout session=1h agent-connection=30\nPermitUserEnvironment LANG,LC_*\n"
    "ExposeAuthInfo yes\nUsePAM no\nX11Forwarding yes\nX11DisplayOffset 3\nUseDNS yes\n",
    "algorithms": "Ciphers +aes256-cbc\nMACs -*sha1*\nKexAlgorithms ^curve25519-sha256\n"
    "HostKeyAlgorithms ssh-ed25519\n",
    "aliases": "ChallengeResponseAuthentication no\nKeepAlive no\nDSAAuthentication no\nProtocol 2\n",
    "deprecated": "UsePrivilegeSeparation yes\nKeyRegenerationInterval 3\nServerKeyBits 1\n",
    "match_all": "PermitTTY yes\nMatch all\nPermitTTY no\n",
    "certificates": "TrustedUserCAKeys /etc/ssh/cas\nAuthorizedPrincipalsFile %h/.p\nRevokedKeys /etc/ssh/gone\n"
    'AuthorizedPrincipalsCommand /usr/bin/x %i "%K" a\nAuthorizedPrincipalsCommandUser %u\n'
    "CASignatureAlgorithms ^rsa-sha2-512\nPubkeyAcceptedAlgorithms -rsa*\nRequiredRSASize 3072\n"
    "PubkeyAuthOptions verify-required touch-required\n",
    "certificates_none": "TrustedUserCAKeys none\nAuthorizedPrincipalsFile none\nRevokedKeys none\n"
    "AuthorizedPrincipalsCommand none\nAuthorizedKeysCommand none\nPubkeyAuthOptions none\n"
    "ChrootDirectory none\n",
    "relative_names": "Banner ./b\nTrustedUserCAKeys cas\nRevokedKeys a/../gone\nPidFile NONE\nXAuthLocation xauth\n"
    "ChrootDirectory jail\nAuthorizedPrincipalsFile .p\n",
    "quoting": 'Banner "/etc/a b"\nSubsystem x /bin/echo "a  b" \'c d\' \\"e\nSetEnv \'A=b c\' D=e\\ f G="h \'i\'"\n'
    "AllowUsers 'a' \"b\"\nForceCommand 'single' \"double\" \\x %d # kept\n",
    "quotes_around_keywords": '"PermitTTY" no\n"MaxSessions" 3\nPrintMotd="no"\n',
    "blanks": "\tMaxSessions\t 3 \t\n   \n#\n # x\nPrintMotd \t no\r\nBanner   =   /etc/issue  \n",
    "comment_after": 'MaxSessions 3 # x\nAllowUsers a #b c\nBanner /etc/x#y\nAcceptEnv A "#B"\n',
    "last_line_without_end": "MaxSessions 3\nPermitTTY no",
    "case_of_values": "LogLevel VERBOSE\nSyslogFacility Authpriv\nPermitRootLogin without-password\n",
    "same_line_twice": "PermitOpen a:1\nPermitOpen b:2\nSetEnv A=1\nSetEnv A=2\nAuthorizedKeysFile a\nAuthorizedKeysFile b\n"
    "AuthenticationMethods any\nLogVerbose a:*\nLogVerbose b:*\nChannelTimeout *=1\nChannelTimeout x=2\n",
    "units": "LoginGraceTime 1w2d3h4m5s\nClientAliveInterval 90\nRekeyLimit 4G 1d\nMaxStartups 3:100:3\n",
    "include_of_nothing": "Include /no/such/*.conf\nMaxSessions 3\n",
    "include_twice": "Include {directory}/b.conf {directory}/b.conf\nPrintLastLog yes\n",
    "include_quoted": 'Include "{directory}/b.conf"\nMaxSessions 4\n',
    "include_globs": "Include {directory}/[ab].conf {directory}/?.conf\nMaxSessions 4\n",
    "include_after_match": "Match User nobody\nInclude {directory}/nested\nMatch all\nMaxSessions 4\n",
    "match_ends_with_the_file": "Include {directory}/a.conf\nMaxSessions 5\n",
    "tunnels": "PermitTunnel yes\nX11UseLocalhost no\nStreamLocalBindUnlink yes\nGatewayPorts yes\n",
    "own_include": "Include {directory}/*.conf\nPrintMotd yes\n",
}

MATCHES = """\
AcceptEnv G
Match User bob
 AcceptEnv A
 SetEnv X=1
 PermitTTY no
 ForceCommand foo
Match Address 10.0.0.0/8,!10.1.0.0/16 LocalPort 22
 PermitTTY yes
 X11Forwarding yes
 AllowUsers zz
Match User bob,!eve,c* Host *.example.com,!bad.example.com
 AcceptEnv B
 Banner /b
Match LocalAddress 1.1.1.0/24
 MaxSessions 2
Match address 2001:db8::/32
 MaxSessions 1
Match User=carl
 Include {directory}/nested
 PermitTunnel yes
"""

NASTY = """\
MaxSessions 9
Match user bob group !nosuch,* address 10.0.0.0/8,2001:db8::/32 localport 22
 PermitTTY no
Match User "bob" Host "www.example.com"
 X11Forwarding yes
Match user=bob,carl address=10.*
 MaxSessions 8
Match user !bob,*
 MaxSessions 7
Match address !10.0.0.0/8,*
 Banner /not-ten
Match address *.*.*.*
 PrintMotd yes
Match localaddress ::1,1.1.1.1 localport 22
 PermitOpen a:1
Match host !*.example.com,* # all but these
 GatewayPorts yes
MATCH USER bob USER carl
 MaxAuthTries 1
Match all # really
 AllowUsers x y@10.0.0.0/8
 SetEnv B=1
 AuthenticationMethods publickey
 RevokedKeys /gone
 TrustedUserCAKeys /cas
 PubkeyAuthOptions touch-required
""".replace(" PrintMotd yes\n", " PermitUserRC no\n")

CONNECTIONS = [
    "user=bob,host=h,addr=10.2.3.4,lport=22,laddr=1.1.1.1",
    "user=bob,host=www.example.com,addr=10.1.3.4,lport=22,laddr=1.1.2.1",
    "user=bob,host=bad.example.com,addr=10.1.3.4,lport=23,laddr=1.1.2.1",
    "user=carl,host=WWW.example.com,addr=2001:db8::5,lport=22,laddr=2001:db8::1",
    "user=eve,host=www.example.com,addr=10.9.3.4,lport=2222,laddr=1.1.2.1",
    "user=root,host=a,addr=::1,lport=22,laddr=::1",
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("sshd")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", where / "key"], check=True)
    (where / "a.conf").write_text("PrintMotd no\nMatch User nobody\nPermitTTY no\n")
    (where / "b.conf").write_text("PrintLastLog no\n")
    (where / "nested").write_text(
        "GatewayPorts yes\nMatch Address 2001:db8::5\nX11Forwarding yes\nMatch All\nPermitUserRC no\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return where


def read_files(pattern: str) -> list[tuple[str, str]]:
    where = Path(pattern)
    return [(str(path), path.read_text()) for path in sorted(where.parent.glob(where.name))]


def sshd(path: Path, *more: str) -> tuple[list[str], str, int]:
    assert Path(SSHD).exists(), "apt-get install openssh-server"
    done = subprocess.run(
        [SSHD, "-T", "-f", path, *more], capture_output=True, text=True, timeout=20, check=False
    )
    lines = [
        line for line in done.stdout.splitlines() if line.split()[0].lower() not in DIFFERENT | OWN
    ]
    return lines, done.stderr, done.returncode


def qshd(path: Path, connection: str | None = None) -> list[str]:
    text = dump(parse(path.read_text(), str(path), read_files), connection)
    return [line for line in text.splitlines() if line.split()[0] not in DIFFERENT | OWN]


def write(directory: Path, text: str) -> Path:
    path = directory / "config"
    body = text.replace("{directory}", str(directory))
    # permitrootlogin first: its default differs, and Match may follow
    path.write_text(
        f"HostKey {directory}/key\nPermitRootLogin prohibit-password\nUsePAM no\n{body}"
    )
    return path


@pytest.mark.parametrize("name", FILES)
def test_prints_what_sshd_prints(directory: Path, name: str) -> None:
    path = write(directory, FILES[name])
    theirs, errors, status = sshd(path)
    assert status == 0, errors
    assert len(theirs) > 80
    assert qshd(path) == theirs


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_match_gives_what_sshd_gives(directory: Path, connection: str) -> None:
    path = write(directory, MATCHES)
    theirs, errors, status = sshd(path, "-C", connection)
    assert status == 0, errors
    assert qshd(path, connection) == theirs


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_nasty_matches_give_what_sshd_gives(directory: Path, connection: str) -> None:
    path = write(directory, NASTY)
    theirs, errors, status = sshd(path, "-C", connection)
    assert status == 0, errors
    facts = dict(part.split("=") for part in connection.split(","))
    groups = {"root": ("root",)}.get(facts["user"], ())
    text = dump(parse(path.read_text(), str(path), read_files), connection, lambda user: groups)
    ours = [line for line in text.splitlines() if line.split()[0] not in DIFFERENT | OWN]
    assert ours == theirs


BAD = [
    "Port abc",
    "Port 0",
    "PermitRootLogin maybe",
    "Banner",
    "UsePAM yes extra",
    "MaxStartups 3:200:4",
    "MaxStartups 5:3",
    "LoginGraceTime 1x",
    "LoginGraceTime none",
    "ListenAddress",
    "ListenAddress 1.2.3.4:0",
    "LogLevel LOUD",
    "SyslogFacility X",
    "Subsystem a",
    "AddressFamily foo",
    "MaxAuthTries x",
    'AllowUsers ""',
    "SetEnv foo",
    "AcceptEnv A=b",
    "PermitOpen foo",
    "AuthenticationMethods foo",
    'Banner "x',
    "HostKey a b",
    "StreamLocalBindMask 9",
    "IPQoS zz",
    "PerSourceNetBlockSize 33",
    "RekeyLimit 3",
    "Compression maybe",
    "DenyUsers a@1.2.3.4/8",
    "ChannelTimeout x",
    "AuthorizedKeysCommand foo",
    "PubkeyAuthOptions z",
    "GatewayPorts x",
    "PermitTunnel x",
    "FingerprintHash x",
    "Ciphers foo",
    "Match User x\nPort 22",
    "RDomain foo",
    "TrustedUserCAKeys",
    "RevokedKeys a b",
    "AuthorizedPrincipalsCommand x",
    "AuthorizedKeysCommandUser",
    "CASignatureAlgorithms nope",
    "PubkeyAcceptedAlgorithms ssh-ed25519,nope",
    "RequiredRSASize big",
    "ChrootDirectory",
    "Match",
    "Match User",
    "Match User a all",
    "Match all User a",
    "Match Frob x",
    "Match Address 10.0.0.1/8",
    "Match LocalPort x",
    "Match User bob\nUsePAM yes",
    "Match User bob\nHostKey /x",
    "Include",
    "PermitListen x",
    "AuthenticationMethods any publickey",
    "AllowGroups",
    "Subsystem",
    "HostKeyAlgorithms x",
    "Banner 'x",
    "PerSourceMaxStartups x",
    "MaxSessions",
    "PermitUserEnvironment",
]


@pytest.mark.parametrize("line", BAD)
def test_complains_as_sshd_does(directory: Path, line: str) -> None:
    path = write(directory, line + "\n")
    _, errors, status = sshd(path)
    assert status != 0
    with pytest.raises(BadConfiguration) as caught:
        parse(path.read_text(), str(path))
    if line.startswith("RDomain"):
        return  # sshd on Linux knows the word only to refuse it
    first = caught.value.errors[0]
    if (
        line.startswith("Match ") and "\n" not in line
    ):  # sshd names the place on another line, or no file
        assert any(told.startswith(first.text) for told in errors.splitlines())
    else:
        assert str(first) in errors.splitlines()


def test_match_group_as_sshd_has_it(directory: Path) -> None:
    path = write(
        directory, "Match Group nosuch,root\nMaxAuthTries 2\nMatch Group !root,*\nMaxSessions 1\n"
    )
    connection = "user=root,host=h,addr=10.2.3.4,lport=22,laddr=1.1.1.1"
    theirs, errors, status = sshd(path, "-C", connection)
    assert status == 0, errors
    text = dump(parse(path.read_text(), str(path)), connection, lambda user: ("root",))
    ours = [line for line in text.splitlines() if line.split()[0] not in DIFFERENT | OWN]
    assert ours == theirs
    assert "maxauthtries 2" in ours
    assert "maxsessions 10" in ours
