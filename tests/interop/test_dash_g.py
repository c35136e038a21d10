"""``qsh -G`` against the real ``ssh -G`` (OpenSSH 9.2): whole outputs, key by key and in order.

key                  ours differs because
-------------------  ------------------------------------------------------------------
tag, channeltimeout,  newer than 9.2: not printed; 9.2 refuses the keyword (not compared)
  obscurekeystroke…
user                 10.x expands tokens in User from a file; 9.2 prints them
controlpath          10.x's %C covers the jump host as well; equal without ProxyJump
-P                   a flag without a value in 9.2, a tag since 9.4 (not compared)
Match version, tagged, sessiontype, command:  newer than 9.2 (not compared)
identityfile         no difference printed, but qsh never loads id_xmss and id_dsa
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from qsh.cli.environment import SystemEnvironment
from qsh.cli.query import print_config
from qsh.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

SSH = shutil.which("ssh") or "/usr/bin/ssh"
VARIABLES = {"QSH_TEST_DIR": "/var/test", "QSH_EMPTY": "", "SSH_AUTH_SOCK": "/tmp/agent.sock"}


@pytest.fixture(scope="module", autouse=True)
def _ssh_is_there() -> None:
    version = subprocess.run([SSH, "-V"], capture_output=True, text=True, check=True)
    assert "OpenSSH_9.2" in version.stderr, "the expected outputs are OpenSSH 9.2's"


def _theirs(argv: list[str]) -> str | None:
    env = {**os.environ, **VARIABLES}
    run = subprocess.run(
        [SSH, "-G", *argv],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=env,
        check=False,
    )
    return run.stdout if run.returncode == 0 else None


def _ours(argv: list[str]) -> str | None:
    try:
        return print_config(["-G", *argv], SystemEnvironment())
    except (ConfigError, UsageError):
        return None


def _compare(cases: list[list[str]], *, refused: bool | None = None) -> None:
    """All cases at once: starting ssh is what takes the time."""
    with ThreadPoolExecutor(4) as pool:
        expected = list(pool.map(_theirs, cases))
    wrong = []
    for argv, theirs in zip(cases, expected, strict=True):
        ours = _ours(argv)
        if ours != theirs:
            wrong.append(f"{argv}\n{_difference(theirs, ours)}")
    assert not wrong, "\n\n".join(wrong)
    if refused is not None:
        assert [text is None for text in expected] == [refused] * len(cases)


def _difference(theirs: str | None, ours: str | None) -> str:
    if theirs is None or ours is None:
        return f"  ssh {'refuses' if theirs is None else 'accepts'}, we do not"
    left, right = theirs.splitlines(), ours.splitlines()
    pairs = itertools.zip_longest(left, right, fillvalue="(nothing)")
    return "\n".join(f"  ssh: {a}\n  qsh: {b}" for a, b in pairs if a != b)


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


# every keyword with the values it takes, good and bad

RESOLVES = ("CanonicalizePermittedCNAMEs",)
"""ssh -G asks the resolver for these; ours never does, so they are compared with an address."""

FLAG = ("yes", "no", "true", "FALSE", "maybe", "")
TIME = ("10", "1h30m", "2W", "none", "5x", "", "1d2h3m4s", "99999999999", "0")
COUNT = ("1", "7", "-1", "x", "99999999999", "")
STRING = ("word", '"two words"', "'single'", "none", "a b")
KEY_LIST = (
    "ssh-ed25519",
    "+ssh-rsa",
    "-ssh-*",
    "^rsa-sha2-256,ssh-ed25519",
    "ssh-*",
    "nonsense",
    "+nonsense",
    "ecdsa-sha2-nistp256,ssh-ed25519",
)
VALUES: dict[str, tuple[str, ...]] = {
    "AddKeysToAgent": (
        "yes",
        "no",
        "ask",
        "confirm",
        "5m",
        "confirm 1h",
        "ask 5m",
        "x",
        "confirm x",
    ),
    "AddressFamily": ("inet", "inet6", "any", "INET", "x"),
    "BatchMode": FLAG,
    "BindAddress": STRING,
    "BindInterface": STRING,
    "CanonicalDomains": ("a.example b.example", "none", "none a", "-bad", "a..b", "Upper.Case."),
    "CanonicalizeFallbackLocal": FLAG,
    "CanonicalizeMaxDots": COUNT,
    "CanonicalizePermittedCNAMEs": ("*.a:*.b", "none", "A:B c:d", "bad", "none a:b"),
    "CASignatureAlgorithms": ("ssh-ed25519", "+ssh-rsa", "-ecdsa*", "nonsense"),
    "CertificateFile": STRING,
    "ChallengeResponseAuthentication": FLAG,
    "CheckHostIP": FLAG,
    "Cipher": ("3des", "x y z"),
    "Ciphers": (
        "aes128-ctr",
        "+3des-cbc",
        "-aes*",
        "^aes256-ctr",
        "aes*",
        "x",
        "aes128-ctr,aes256-ctr",
        "+aes128-ctr",
        "aes128-ctr,",
        "-*",
    ),
    "ClearAllForwardings": FLAG,
    "Compression": ("yes", "no", "true", "x"),
    "ConnectionAttempts": ("1", "5", "0", "x"),
    "ConnectTimeout": TIME,
    "ControlMaster": ("yes", "no", "ask", "auto", "autoask", "true", "x"),
    "ControlPath": ("/tmp/%r@%h:%p", "none", "~/.ssh/c-%C", "${QSH_TEST_DIR}/%n-%L", "%z", "/a%%b"),
    "ControlPersist": ("yes", "no", "10m", "0", "x", "true", "YES"),
    "DynamicForward": ("1080", "localhost:1080", "[::1]:1080", "0", "x:y:z", "*:5", "/tmp/s"),
    "EnableEscapeCommandline": FLAG,
    "EnableSSHKeysign": FLAG,
    "EscapeChar": ("~", "^B", "none", "x", "%", "^", "^[", "xy", r"\\"),
    "ExitOnForwardFailure": FLAG,
    "FingerprintHash": ("md5", "SHA256", "sha512", "crc"),
    "ForkAfterAuthentication": FLAG,
    "ForwardAgent": (
        "yes",
        "no",
        "/tmp/agent-%h",
        "$SSH_AUTH_SOCK",
        "${QSH_TEST_DIR}/a",
        "${NOPE}",
    ),
    "ForwardX11": FLAG,
    "ForwardX11Timeout": TIME,
    "ForwardX11Trusted": FLAG,
    "GatewayPorts": FLAG,
    "GlobalKnownHostsFile": ("/a /b", "none", "~/x", "none /a", '"/a b"'),
    "GSSAPIAuthentication": FLAG,
    "GSSAPIClientIdentity": STRING,
    "GSSAPIDelegateCredentials": FLAG,
    "GSSAPIKexAlgorithms": ("gss-nistp256-sha256-", "x"),
    "GSSAPIKeyExchange": FLAG,
    "GSSAPIRenewalForcesRekey": FLAG,
    "GSSAPIServerIdentity": STRING,
    "GSSAPITrustDns": FLAG,
    "HashKnownHosts": FLAG,
    "HostbasedAcceptedAlgorithms": KEY_LIST,
    "HostbasedAuthentication": FLAG,
    "HostbasedKeyTypes": KEY_LIST,
    "HostKeyAlgorithms": KEY_LIST,
    "HostKeyAlias": ("Alias", "a b"),
    "Hostname": ("Real.Example", "%h.example", "%%h", "%n", "192.0.2.1", "2001:DB8::1", "127.1"),
    "IdentitiesOnly": FLAG,
    "IdentityAgent": ("/tmp/a", "none", "SSH_AUTH_SOCK", "$SSH_AUTH_SOCK", "~/a-%u", "$b-d", "${x"),
    "IdentityFile": ("~/.ssh/other", "none", "/a/%h", '"/a b"', "/a b", "${QSH_TEST_DIR}/k"),
    "IdentityFile2": ("/x",),
    "IgnoreUnknown": ("x*,y", "a b"),
    "IPQoS": (
        "ef",
        "none",
        "af21 cs1",
        "0x20",
        "7",
        "256",
        "x",
        "lowdelay throughput",
        "010",
        "le none",
    ),
    "KbdInteractiveAuthentication": FLAG,
    "KbdInteractiveDevices": ("bsdauth,pam",),
    "KeepAlive": FLAG,
    "KexAlgorithms": (
        "curve25519-sha256",
        "+diffie-hellman-group1-sha1",
        "-ecdh*",
        "^ecdh-sha2-nistp256",
        "x",
    ),
    "KnownHostsCommand": ("/usr/bin/x %H %K", "none"),
    "LocalCommand": ("echo %h # not a comment", "none", "= x"),
    "LocalForward": (
        "8080 host:80",
        "localhost:8080 host:80",
        "[::1]:8080 [2001:db8::1]:80",
        "8080 /var/run/x.sock",
        "/tmp/a.sock host:80",
        "/tmp/a.sock /tmp/b-%h",
        "8080",
        "8080 host",
        "0 host:80",
        "8080 host:99999",
        "*:8080 host:http",
        "8080 host:80 extra",
        "${QSH_TEST_DIR}/s /b",
    ),
    "LogLevel": ("QUIET", "debug", "DEBUG1", "debug3", "x", "verbose"),
    "LogVerbose": ("kex.c:*:1000", "a b", "none", "none a"),
    "MACs": ("hmac-sha2-256", "+hmac-md5", "-umac*", "^hmac-sha1", "x", ""),
    "NoHostAuthenticationForLocalhost": FLAG,
    "NumberOfPasswordPrompts": COUNT,
    "PasswordAuthentication": FLAG,
    "PermitLocalCommand": FLAG,
    "PermitRemoteOpen": (
        "any",
        "none",
        "host:80",
        "a:1 b:*",
        "any a:1",
        "host",
        "[::1]:80",
        "host:x",
    ),
    "PKCS11Provider": STRING,
    "Port": ("22", "2222", "0", "65536", "ssh", "http", "x", "-1", "+22", ""),
    "PreferredAuthentications": ("publickey,password",),
    "Protocol": ("1", "2,1"),
    "ProtocolKeepAlives": TIME,
    "ProxyCommand": ("nc %h %p", "none", "NONE", "-", "ssh -W '[%h]:%p' jump # x", "=x"),
    "ProxyJump": (
        "jump",
        "user@jump:2222",
        "a,b,c@d:1",
        "none",
        "ssh://u@h:22",
        "[::1]:22",
        "192.0.2.1",
        "@x",
        "x:0",
        "a,,b",
        "jump # comment",
        "ssh://h/path",
    ),
    "ProxyUseFdpass": FLAG,
    "PubkeyAcceptedAlgorithms": KEY_LIST,
    "PubkeyAcceptedKeyTypes": KEY_LIST,
    "PubkeyAuthentication": ("yes", "no", "unbound", "host-bound", "true", "x"),
    "RekeyLimit": ("1G", "default none", "500M 1h", "10", "x", "0 0", "1K 5x", "16", "1.5G", "2T"),
    "RemoteCommand": ("uptime %h", "none", "echo '%%'", "echo %z"),
    "RemoteForward": (
        "8080 host:80",
        "0 host:80",
        "8080",
        "localhost:1080",
        "/tmp/r.sock host:80",
        "/tmp/r.sock /tmp/l.sock",
        "x",
    ),
    "RequestTTY": ("yes", "no", "auto", "force", "x"),
    "RequiredRSASize": COUNT,
    "RevokedHostKeys": ("/etc/revoked", "none"),
    "RSAAuthentication": FLAG[:2],
    "SecurityKeyProvider": ("internal", "/x", "none", "$VAR"),
    "SendEnv": ("LANG LC_*", "A=b", "-LC_* X", "LANG -LA* Y"),
    "ServerAliveCountMax": COUNT,
    "ServerAliveInterval": TIME,
    "SessionType": ("none", "subsystem", "default", "x"),
    "SetEnv": ("A=1", "A=1 B=2 A=3", "A", '"A=x y"', "A="),
    "SetupTimeOut": TIME,
    "SmartcardDevice": ("/x",),
    "StdinNull": FLAG,
    "StreamLocalBindMask": ("0177", "077", "9", "1000", "x", "0"),
    "StreamLocalBindUnlink": FLAG,
    "StrictHostKeyChecking": ("yes", "no", "ask", "off", "accept-new", "true", "x"),
    "SyslogFacility": ("AUTH", "local7", "x"),
    "TCPKeepAlive": FLAG,
    "Tunnel": ("yes", "no", "ethernet", "point-to-point", "true", "x"),
    "TunnelDevice": ("any", "0", "1:2", "any:3", "x", "1:x"),
    "UpdateHostKeys": ("yes", "no", "ask", "x"),
    "UsePrivilegedPort": ("yes",),
    "UseBlacklistedKeys": ("yes",),
    "User": ("me", '"a b"', "a b"),
    "UserKnownHostsFile": (
        "/a ~/b",
        "none",
        "~/.ssh/known_hosts",
        "/dev/null",
        "/x-%h-%k",
        "none /a",
    ),
    "VerifyHostKeyDNS": ("yes", "no", "ask", "x"),
    "VisualHostKey": FLAG,
    "XAuthLocation": STRING,
}


@pytest.mark.parametrize("keyword", sorted(VALUES))
def test_keyword(keyword: str) -> None:
    values = VALUES[keyword]
    host = "192.0.2.7" if keyword in RESOLVES else "Host.Example"
    cases = [["-F", "none", "-o", f"{keyword} {value}", host] for value in values]
    cases.append(["-F", "none", "-o", f"{keyword.lower()}={values[0]}", host.lower()])
    _compare(cases)


def test_no_keyword_is_left_out() -> None:
    from qsh.config.schema import KEYWORDS

    newer = {
        "tag", "channeltimeout", "obscurekeystroketiming", "versionaddendum",
        "refuseconnection", "warnweakcrypto",
    }  # fmt: skip
    structure = {"host", "match", "include", "canonicalizehostname"}
    gone = {
        "fallbacktorsh", "globalknownhostsfile2", "rhostsauthentication", "userknownhostsfile2",
        "useroaming", "usersh", "afstokenpassing", "kerberosauthentication", "kerberostgtpassing",
        "rhostsrsaauthentication", "compressionlevel", "skeyauthentication", "tisauthentication",
        "dsaauthentication",
    }  # fmt: skip
    own = {name for name in KEYWORDS if name.startswith("qsh")}
    assert set(KEYWORDS) - newer - structure - gone - own == {name.lower() for name in VALUES}
    _compare([["-F", "none", "-o", f"{name} yes", "h"] for name in sorted(gone)], refused=False)


# command lines

ARGUMENTS = """
h
u@h
a@b@h
ssh://h
ssh://u@h:2222
ssh://u%40x@h
ssh://u;x=1@h:22
ssh://h/
ssh://h/path
ssh://u@h:0
ssh://[::1]:22
ssh://@h
@h
-l a b@h
b@h -l a
-p 1 -p 2 h
-p 2222 ssh://h:1
-p x h
-p 0 h
-o Port=5 -p 6 h
-p 6 -o Port=5 h
-4 h
-6 -4 h
-o AddressFamily=inet6 -4 h
-4 -o AddressFamily=inet6 h
-A h
-A -a h
-o ForwardAgent=/x -a h
-C h
-f h
-f h true
-f -N h
-g h
-K h
-k h
-K -k h
-M h
-MM h
-MMM h
-o ControlMaster=yes -M h
-N h
-N -s h sftp
-s h sftp
-s h
-s -N h x
-N -N h
-s -s h x
-n h
-q h
-t h
-tt h
-ttt h
-o RequestTTY=yes -t h
-t -o RequestTTY=no h
-T h
-tT h
-Tt h
-v h
-vv h
-vvv h
-vvvv h
-q -v h
-v -q h
-v -q -v h
-vq -v -v h
-o LogLevel=error -v h
-v -o LogLevel=error h
-X h
-Y h
-x h
-X -x h
-y h
-2 h
-1 h
-B eth0 h
-b 192.0.2.1 h
-c aes128-ctr h
-c +3des-cbc h
-c ^aes256-ctr h
-c -aes128-ctr h
-c nonsense h
-m hmac-sha2-256 h
-m nonsense h
-m +hmac-md5 h
-D 1080 h
-D [::1]:1080 h
-D a:b h
-e none h
-e ^B h
-e x h
-e xy h
-e ^ h
-I /lib/p11.so h
-i /etc/passwd h
-i /etc/passwd -i /etc/passwd -i /etc/group h
-i /does/not/exist h
-i ~/x h
-J jump h
-J u@jump:22,b h
-J a -J b h
-J none h
-o ProxyCommand=x -J a h
-J a -o ProxyCommand=x h
-J a -o ProxyJump=b h
-J @ h
-L 8080:host:80 h
-L 8080:host:80 -L 8080:host:80 -L 8081:host:81 h
-L [::1]:8080:[::2]:80 h
-L /a:/b h
-L 8080:/sock h
-L x h
-L 8080:host h
-L 1:2:3:4:5 h
-L 8080:host:80: h
-R 8080:host:80 h
-R 1080 h
-R 0:host:80 h
-R /a:host:1 h
-R :::: h
-O check h
-O nonsense h
-O check -O exit h
-S /tmp/%r h
-S none h
-W host:22 h
-W host h
-W a:1 -W b:2 h
-W [::1]:22 h
-W a:1 -O check h
-o ExitOnForwardFailure=no -W host:22 -L 1:a:2 h
-o ClearAllForwardings=no -W host:22 -L 1:a:2 h
-w 1 h
-w any:2 h
-w x h
-o Tunnel=ethernet -w 3:4 h
-E /dev/null h
-y -E /dev/null h
h -p 2222
h -p 2222 cmd
h cmd -p 2222
h -l u -v -- cmd
-- h -p 2222
-p 22 -- h -v
-l -- h -v
-p
-o
-Q
-u h
-
- x
-vp22 h
-vp 22 h
-vp22h
h -x
h --
h -- -x
-oBatchMode=yes h
-oBatchMode yes h
-obatchmode=YES h
-o Host=x h
-o Match=all h
-o Include=/x h
-o nonsense=1 h
-o IgnoreUnknown=x* -o xyz=1 h
-o BatchMode h
-o = h
-o BatchMode==yes h
-o RemoteCommand=x h y
-o RemoteCommand=x -f h
-o User=a b@h
b@h -o User=a
-o SessionType=none -s h x
HOST.Example
10.0.0.1
127.1
0x7f.1
::1
fe80::1%lo
2001:DB8:0:0::1
1.2.3
999.1.1.1
"""


def test_command_lines() -> None:
    cases = [["-F", "none", *line.split(" ")] for line in ARGUMENTS.strip().splitlines()]
    _compare(cases)
    assert len(cases) > 150


def test_quoted_option_values() -> None:
    """What Ansible, sftp and people pass."""
    options = [
        'IdentityFile="/a b"', "Port 2222", "Port = 2222", "Port= 2222", 'User="name"',
        'ControlPath="/home/u/.ansible/cp/0123456789"', "ForwardX11 no", "  Port  =  7  ",
        '"Port" 8', 'User "a', "User 'a", "User a\\ b", 'User a"b c"d', "User a\tb", "Port 5 # x",
        "User #x", "User a#b", 'User ""', "SetEnv A='x y' B=\"q\\\"r\"", "SendEnv",
        "ProxyCommand='/usr/bin/mosh' '--family=prefer-inet' --fake-proxy -- %h %p",
    ]  # fmt: skip
    _compare([["-F", "none", "-o", option, "h"] for option in options])


# files

FILES = {
    "first-wins": "Port 1\nPort 2\nHost *\n Port 3\n User u\n",
    "host-patterns": "Host a* !ab\n Port 1\nHost ?b\n Port 2\nHost * !*\n Port 3\nHost *\n Port 4\n",
    "host-many": "Host x y ab z\n Port 1\nHost !ab *\n Port 2\n",
    "host-case": "Host AB\n Port 1\nHost ab\n Port 2\n",
    "host-hash": "Host x # ab\n Port 1\nHost ab#\n Port 2\n",
    "host-empty": 'Host ""\n Port 1\n',
    "match-all": "Match all\n Port 7\n",
    "match-not-all": "Match !all\n Port 7\n",
    "match-host": "Match host a*,!ac\n Port 7\nMatch host zz\n User x\n",
    "match-negated": "Match !host x\n Port 7\n",
    "match-user": "Match user u\n Port 7\nMatch user root,me\n Port 8\n",
    "match-user-set": "User u\nMatch user u\n Port 7\n",
    "match-localuser": "Match localuser root\n Port 7\nMatch !localuser nobody\n User q\n",
    "match-originalhost": "Hostname real\nMatch originalhost ab host real\n Port 7\n",
    "match-host-after-hostname": "Hostname %h.x\nMatch host ab.x\n Port 7\n",
    "match-exec": 'Match exec true\n Port 7\nMatch exec "exit 3"\n User x\nMatch !exec false\n User y\n',
    "match-exec-tokens": 'Match exec "test %h = ab -a %n = ab -a %p = 22 -a %r = root"\n Port 7\n',
    "match-exec-skipped": 'Match host zz exec "exit 1"\n Port 1\n',
    "match-final": "Match final\n Port 7\nMatch all\n Port 8\n",
    "match-final-host": "Hostname real\nMatch final host real\n User f\n",
    "match-canonical": "Match canonical\n Port 7\n",
    "match-final-all": "Match final all\n User f\n",
    "match-canonical-all": "Match canonical all\n User f\n",
    "match-host-all": "Match host a user b all\n User f\n",
    "match-all-more": "Match all host x\n Port 1\n",
    "match-none": "Match\n Port 1\n",
    "match-missing": "Match host\n Port 1\n",
    "match-unknown": "Match foo bar\n Port 1\n",
    "match-comment": "Match host ab # comment\n Port 1\n",
    "match-equals": "Match host=ab user=root\n Port 1\n",
    "match-quoted": 'Match host "ab,cd" user "root"\n Port 1\n',
    "match-upper": "Match HOST AB\n Port 1\n",
    "final-second-hostname": "Host real\n Port 9\nHost *\n Hostname real\nMatch final\n User x\n",
    "comments": "# c\n\n   # d\nPort 1 # e\n\tUser u\t\nCompression yes#x\n",
    "no-newline": "Port 5",
    "crlf": "Port 5\r\nUser u\r\nHost *\r\n BatchMode yes\r\n",
    "form-feed": "Port 5 \f\nUser u\f\n",
    "equals": "Port=5\nUser = u\nBatchMode =yes\nCompression= yes\n",
    "double-equals": "User ==u\n",
    "quotes": 'User "a b"\nBindAddress \'c d\'\nXAuthLocation /x" y"z\n',
    "open-quote": 'User "a\nPort 5\n',
    "open-quote-keyword": '"Port 5\nUser u\n',
    "bad-options": "Foo 1\nBar 2\nPort 5\n",
    "bad-in-other-host": "Host zz\n Foo 1\n",
    "bad-value-in-other-host": "Host zz\n Port x\n",
    "ignore-unknown": "IgnoreUnknown Foo,b*\nFoo 1\nBar 2\nPort 5\n",
    "ignore-unknown-late": "Foo 1\nIgnoreUnknown foo\n",
    "no-argument": "Port\n",
    "extra-arguments": "Port 1 2\n",
    "facility-everywhere": "Host zz\n SyslogFacility LOCAL1\n StreamLocalBindMask 0\n",
    "identities": "IdentityFile a\nIdentityFile b\nHost *\n IdentityFile a\n IdentityFile c\n",
    "certificates": "CertificateFile a\nCertificateFile b\nCertificateFile a\n",
    "sendenv": "SendEnv A B\nSendEnv A C\nSendEnv -A\n",
    "setenv": "SetEnv A=1\nSetEnv B=2\n",
    "forwards": "LocalForward 1 a:1\nLocalForward 1 a:1\nDynamicForward 2\nLocalForward 3 /s\n"
    "RemoteForward 4 b:4\nRemoteForward 5\nLocalForward /a /b\n",
    "clear-forwards": "LocalForward 1 a:1\nTunnel yes\nClearAllForwardings yes\n",
    "known-hosts": "UserKnownHostsFile a b\nUserKnownHostsFile c\nGlobalKnownHostsFile d\n",
    "jump-then-command": "ProxyJump a\nProxyCommand b\n",
    "command-then-jump": "ProxyCommand b\nProxyJump a\n",
    "jump-none-then-command": "ProxyJump none\nProxyCommand b\n",
    "jump-loop": "ProxyJump ab\n",
    "jump-user": "User me\nPort 5\nProxyJump me@ab:5\n",
    "alias": "HostKeyAlias Foo\nUserKnownHostsFile /k/%k\nControlPath /c/%k\n",
    "control-path": "ControlPath /c/%C-%L-%d-%h-%i-%l-%n-%p-%r-%u-%%\nPort 99\nUser u\n",
    "agent": "IdentityAgent ${QSH_TEST_DIR}/%u.sock\n",
    "forward-paths": "LocalForward /tmp/%u-%h /tmp/%p\nRemoteForward /r-%r /l-%n\n",
    "update-hostkeys-files": "UserKnownHostsFile /x\n",
    "update-hostkeys-one": "UserKnownHostsFile ~/.ssh/known_hosts\n",
    "update-hostkeys-dns": "VerifyHostKeyDNS ask\n",
    "update-hostkeys-ask-persist": "UpdateHostKeys ask\nControlPersist yes\nControlPath /x\n",
    "update-hostkeys-ask-quiet": "UpdateHostKeys ask\nLogLevel ERROR\n",
    "batch": "BatchMode yes\n",
    "batch-alive": "BatchMode yes\nServerAliveInterval 5\n",
    "timeout-none-then-value": "ConnectTimeout none\nConnectTimeout 5\n",
    "persist-zero": "ControlPersist 0\n",
    "connection-attempts": "ConnectionAttempts 0\n",
    "include-missing": "Include /nonexistent/*.conf\nPort 3\n",
    "include": "Include {dir}/inc/one.conf\nPort 3\n",
    "include-glob": "Include {dir}/inc/*.conf\nPort 3\n",
    "include-two": "Include {dir}/inc/two.conf {dir}/inc/one.conf\n",
    "include-in-host": "Host zz\n Include {dir}/inc/one.conf\nHost ab\n Include {dir}/inc/two.conf\nPort 3\n",
    "include-match-does-not-leak": "Host ab\n Include {dir}/inc/match.conf\n Port 3\n",
    "include-recursive": "Include {dir}/inc/loop.conf2\n",
    "include-bad": "Include {dir}/inc/bad.conf2\nPort 3\n",
    "include-writable": "Include {dir}/inc/writable.conf2\nPort 3\n",
    "include-directory": "Include {dir}/inc\nPort 3\n",
    "long": "User " + "x" * 3000 + "\n",
    "utf8": "User jürgen\nHostname exämple\n",
    "canonical-addresses": "Hostname 127.0.0.1\nMatch host 127.*\n User loop\n",
    "tokens-host": "Hostname %h.%%.x\n",
    "debian": "Include /etc/ssh/ssh_config.d/*.conf\n\nHost *\n    SendEnv LANG LC_*\n"
    "    HashKnownHosts yes\n    GSSAPIAuthentication yes\n",
}


def _write_includes(folder: Path) -> None:
    inc = folder / "inc"
    inc.mkdir()
    (inc / "one.conf").write_text("Port 11\nUser one\n")
    (inc / "two.conf").write_text("Host a*\n User two\nHost zz\n Port 12\n")
    (inc / "match.conf").write_text("Match host zz\n User no\n")
    (inc / ".hidden.conf").write_text("User hidden\n")
    (inc / "loop.conf2").write_text(f"Include {inc}/loop.conf2\n")
    (inc / "bad.conf2").write_text("Nonsense 1\n")
    (inc / "writable.conf2").write_text("User w\n")
    for path in inc.iterdir():
        path.chmod(0o600)
    (inc / "writable.conf2").chmod(0o666)


def test_files(tmp_path: Path) -> None:
    _write_includes(tmp_path)
    cases = []
    for name, text in FILES.items():
        path = tmp_path / name
        path.write_bytes(text.replace("{dir}", str(tmp_path)).encode())
        path.chmod(0o600)
        cases.append(["-F", str(path), "ab"])
        cases.append(["-F", str(path), "-p", "77", "-o", "User=cli", "real", "-v"])
    _compare(cases)
    assert len(FILES) > 60


def test_missing_file() -> None:
    _compare([["-F", "/nonexistent/x", "h"], ["-F", "/", "h"]])
    _compare([["-F", "/dev/null", "h"]], refused=False)


def _random_config(choose: random.Random) -> str:
    hosts = ("ab", "a*", "?b", "*", "!ab", "real", "zz", "!a* *")
    heads = (
        *(f"Host {' '.join(choose.sample(hosts, choose.randint(1, 3)))}" for _ in range(4)),
        *(f"Match host {host.replace(' ', ',')}" for host in hosts),
        "Match final", "Match user u", "Match !user u,root", "Match originalhost ab", "Match all",
        "Match exec false", "Match localuser root host a*",
    )  # fmt: skip
    lines = []
    for _ in range(choose.randint(1, 25)):
        if choose.random() < 0.25:
            lines.append(choose.choice(heads))
            continue
        keyword = choose.choice(_SAFE)
        lines.append(f"  {keyword} {choose.choice(VALUES[keyword])}")
    return "\n".join(lines) + "\n"


_SAFE = sorted(set(VALUES) - set(RESOLVES))


def test_generated_files(tmp_path: Path) -> None:
    choose = random.Random(20261123)
    cases, good = [], 0
    for number in range(250):
        text = "\n".join(
            line
            for line in _random_config(choose).splitlines()
            if not line.startswith("  ") or _accepted(line.strip()) or choose.random() < 0.02
        )
        path = tmp_path / f"config-{number}"
        path.write_text(text + "\n")
        cases.append(["-F", str(path), choose.choice(("ab", "real", "u@zz"))])
        good += _ours(cases[-1]) is not None
    assert good > 100
    _compare(cases)


_KNOWN: dict[str, bool] = {}


def _accepted(line: str) -> bool:
    if line not in _KNOWN:
        _KNOWN[line] = _ours(["-F", "none", "-o", line, "h"]) is not None
    return _KNOWN[line]


def test_speed() -> None:
    """git asks before every clone."""
    import time

    started = time.perf_counter()
    for _ in range(20):
        assert _ours(["-F", "none", "h"])
    assert (time.perf_counter() - started) / 20 < 0.02
