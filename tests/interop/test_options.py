"""Every option of ssh(1) and keyword of ssh_config(5): it works, or is told to have no effect, or is refused in words."""

from __future__ import annotations

import re
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from qsh.auth.private import generate_ed25519
from qsh.auth.randomart import randomart
from qsh.cli.arguments import FLAGS, WITH_VALUE
from qsh.config.schema import IGNORED, KEYWORDS, REFUSED, USED
from tests.support.drop_in import HOST
from tests.support.live_server import write_private

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.drop_in import DropIn

GETOPT = "1246ACGKMNTVXYZafgknqstvxyB:D:E:F:I:J:L:O:P:Q:R:S:W:b:c:e:i:l:m:o:p:w:"
"""OpenSSH 10.5's."""

_NAMES = """
AddKeysToAgent AddressFamily BatchMode BindAddress BindInterface CanonicalDomains CanonicalizeFallbackLocal
CanonicalizeHostname CanonicalizeMaxDots CanonicalizePermittedCNAMEs CASignatureAlgorithms CertificateFile
ChannelTimeout CheckHostIP Ciphers ClearAllForwardings Compression ConnectionAttempts ConnectTimeout ControlMaster
ControlPath ControlPersist DynamicForward EnableEscapeCommandline EnableSSHKeysign EscapeChar ExitOnForwardFailure
FingerprintHash ForkAfterAuthentication ForwardAgent ForwardX11 ForwardX11Timeout ForwardX11Trusted GatewayPorts
GlobalKnownHostsFile GSSAPIAuthentication GSSAPIDelegateCredentials HashKnownHosts Host HostbasedAcceptedAlgorithms
HostbasedAuthentication HostKeyAlgorithms HostKeyAlias Hostname IdentitiesOnly IdentityAgent IdentityFile
IgnoreUnknown Include IPQoS KbdInteractiveAuthentication KbdInteractiveDevices KexAlgorithms KnownHostsCommand
LocalCommand LocalForward LogLevel LogVerbose MACs Match NoHostAuthenticationForLocalhost NumberOfPasswordPrompts
ObscureKeystrokeTiming PasswordAuthentication PermitLocalCommand PermitRemoteOpen PKCS11Provider Port
PreferredAuthentications ProxyCommand ProxyJump ProxyUseFdpass PubkeyAcceptedAlgorithms PubkeyAuthentication
RefuseConnection RekeyLimit RemoteCommand RemoteForward RequestTTY RequiredRSASize RevokedHostKeys
SecurityKeyProvider SendEnv ServerAliveCountMax ServerAliveInterval SessionType SetEnv StdinNull
StreamLocalBindMask StreamLocalBindUnlink StrictHostKeyChecking SyslogFacility Tag TCPKeepAlive Tunnel TunnelDevice
UpdateHostKeys User UserKnownHostsFile VerifyHostKeyDNS VersionAddendum VisualHostKey WarnWeakCrypto XAuthLocation
"""
NAMES = _NAMES.split()
"""ssh_config(5) of OpenSSH 10.x."""

WITHOUT_EFFECT = {
    "addkeys": "yes",
    "addendum": "text",
    "ask": "yes",
    "ciphers": "aes256-ctr",
    "flag": "yes",
    "forwardagent": "no",
    "gss-kex": "gss-group14-sha256-",
    "kex": "curve25519-sha256",
    "keys": "ssh-ed25519",
    "macs": "hmac-sha2-256",
    "master": "auto",
    "persist": "60s",
    "rekey": "1G",
    "string": "word",
    "tundevice": "any",
    "time": "10",
    "weak": "no",
    "zlib": "yes",
}
"""A value for each kind of keyword that may be without effect."""


def test_the_letters_are_those_of_ssh() -> None:
    assert FLAGS + "".join(f"{letter}:" for letter in WITH_VALUE) == GETOPT


@pytest.mark.parametrize("name", NAMES)
def test_a_keyword_of_ssh_config_is_known(name: str) -> None:
    assert KEYWORDS[name.lower()].status in (USED, IGNORED, REFUSED)


@pytest.mark.tool("ssh")
def test_what_this_ssh_prints_is_known() -> None:
    printed = subprocess.run(["ssh", "-G", "h"], capture_output=True, text=True, check=True).stdout
    # -G's own names of what is one keyword in a file
    own = {"host", "canonicalizepermittedcnames"}
    assert {line.split()[0].lower() for line in printed.splitlines()} - own <= set(KEYWORDS)


def test_keywords_without_effect_say_so(drop_in: DropIn) -> None:
    """All of them on one command line, which works; and so with a name that nobody knows, in a file that allows for it."""
    rows = {
        row.name: row
        for row in KEYWORDS.values()
        if row.status == IGNORED
        and row.kind in WITHOUT_EFFECT
        and (row.kind, row.name) != ("string", "ControlPath")
    }
    words = [f"-o{name}={WITHOUT_EFFECT[row.kind]}" for name, row in rows.items()]
    done = drop_in.run("qsh", "-v", "-oIgnoreUnknown=Non*", "-oNonsense=1", *words, HOST, "echo hi")
    assert done.stdout == b"hi\n"
    told = set(re.findall(r"debug1: (\w+) has no effect in qsh", done.stderr.decode()))
    assert told == set(rows)


@pytest.mark.parametrize(
    "letters", ["2", "4", "a", "C", "g", "K", "k", "n", "q", "T", "x", "y", "v"]
)
def test_a_flag_does_no_harm(drop_in: DropIn, letters: str) -> None:
    done = drop_in.run("qsh", f"-{letters}", HOST, "echo hi")
    assert done.stdout == b"hi\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("-1", HOST), "SSH protocol v.1 is no longer supported"),
        (("-Z", HOST), "-Z is not supported"),
        (("-w", "any", HOST), "tunnels over QUIC are not supported"),
        (("-O", "check", HOST), 'No ControlPath specified for "-O" command'),
        (("-oNonsense=1", HOST), "Bad configuration option: nonsense"),
        (("-oPort=x", HOST), "Bad port 'x'"),
        (("-Q", "nonsense"), 'Unsupported query "nonsense"'),
        (("-y", "-E", "x", HOST), "Can't specify both -y and -E"),
        (("-N", "-s", HOST, "sftp"), "Cannot specify -s with -N/SessionType"),
        (("-f", HOST), "Cannot fork into background without a command to execute."),
    ],
)
def test_a_refusal_in_words(drop_in: DropIn, words: tuple[str, ...], why: str) -> None:
    assert why in drop_in.run("qsh", *words, status=255).stderr.decode()


@pytest.mark.parametrize("command", ["check", "stop", "exit"])
def test_control_commands_where_nothing_is_shared(
    drop_in: DropIn, tmp_path: Path, command: str
) -> None:
    words = ("-o", f'ControlPath="{tmp_path}/cp"', "-O", command, HOST)
    done = drop_in.run("qsh", *words, status=255)
    text = done.stderr.decode()
    assert text.startswith(f"Control socket connect({tmp_path}/cp")
    assert "No such file or directory" in text


# queries


@pytest.mark.tool("ssh")
def test_queries_are_those_of_ssh(drop_in: DropIn) -> None:
    """``-Q help`` names the queries; each is answered, those of this ssh and 10.x's."""
    helped = subprocess.run(["ssh", "-Q", "help"], capture_output=True, text=True, check=True)
    names = {*helped.stdout.split(), "key-ca-sign", "Ciphers", "MACs", "KexAlgorithms"}
    names |= {"PubkeyAcceptedAlgorithms", "HostKeyAlgorithms", "HostbasedAcceptedAlgorithms"}
    for name in sorted(names):
        drop_in.run("qsh", "-Q", name)


# messages


def test_debug_lines_that_tools_look_for(drop_in: DropIn) -> None:
    text = drop_in.run("qsh", "-v", HOST, "true").stderr.decode()
    port = drop_in.server.port
    for line in (
        "OpenSSH_",
        f"debug1: Reading configuration data {drop_in.home}/drop_in_config",
        f"debug1: Connecting to 127.0.0.1 [127.0.0.1] port {port}.",
        "debug1: Connection established.",
        "debug1: Server host key: ssh-ed25519 SHA256:",
        "debug1: Host '127.0.0.1' is known and matches the ED25519 host key.",
        f'Authenticated to 127.0.0.1 ([127.0.0.1]:{port}) using "publickey".',
        "debug1: Sending command: true",
        "debug1: Exit status 0",
    ):
        assert line in text, f"{line}\n{text}"


def test_more_of_v_says_more(drop_in: DropIn) -> None:
    texts = [drop_in.run("qsh", letters, HOST, "true").stderr for letters in ("-v", "-vvv")]
    assert b"debug2: " not in texts[0]
    assert b"debug2: " in texts[1]


def test_messages_in_a_file(drop_in: DropIn, tmp_path: Path) -> None:
    done = drop_in.run("qsh", "-v", "-E", tmp_path / "log", HOST, "echo err >&2")
    assert done.stderr == b"err\n"
    assert "Authenticated to" in (tmp_path / "log").read_text()


def test_messages_in_the_system_log(drop_in: DropIn) -> None:
    assert drop_in.run("qsh", "-v", "-y", HOST, "echo err >&2").stderr == b"err\n"


def test_quiet(drop_in: DropIn) -> None:
    words = ("-oPubkeyAuthentication=no", HOST, "true")
    assert b"Permission denied (publickey)." in drop_in.run("qsh", *words, status=255).stderr
    for quiet in ("-q", "-oLogLevel=QUIET"):
        assert drop_in.run("qsh", quiet, *words, status=255).stderr == b""


# commands


def test_remote_command(drop_in: DropIn) -> None:
    words = ("-o", "RemoteCommand=echo %n %h", HOST)
    assert drop_in.run("qsh", *words).stdout == b"box 127.0.0.1\n"
    done = drop_in.run("qsh", *words, "true", status=255)
    assert b"Cannot execute command-line and remote command." in done.stderr


def test_local_command(drop_in: DropIn, tmp_path: Path) -> None:
    command = f"LocalCommand=echo %n %h %r > {tmp_path}/ran"
    drop_in.run("qsh", "-o", command, HOST, "true")
    assert not (tmp_path / "ran").exists()
    drop_in.run("qsh", "-o", "PermitLocalCommand=yes", "-o", command, HOST, "true")
    assert (tmp_path / "ran").read_text() == f"box 127.0.0.1 {drop_in.server.user}\n"


@pytest.mark.parametrize("host", ["a;touch x", "$(touch x)", "`x`", "a|b", "-oProxyCommand=x"])
def test_names_for_a_shell_are_refused_before_expansion(
    drop_in: DropIn, tmp_path: Path, host: str
) -> None:
    words = ("-oPermitLocalCommand=yes", f"-oLocalCommand=echo > {tmp_path}/ran; %n", "--", host)
    done = drop_in.run("qsh", *words, status=255)
    assert b"hostname contains invalid characters" in done.stderr
    words = ("-oPermitLocalCommand=yes", "-l", host.replace("-o", ";"), HOST, "true")
    done = drop_in.run("qsh", *words, status=255)
    assert b"remote username contains invalid characters" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_request_tty(drop_in: DropIn) -> None:
    assert drop_in.run("qsh", "-oRequestTTY=force", HOST, "tty").stdout.startswith(b"/dev/")
    drop_in.run("qsh", "-oRequestTTY=no", HOST, "tty", status=1)


def test_tag(drop_in: DropIn, tmp_path: Path) -> None:
    text = (
        f"Match tagged there\n  RemoteCommand echo tagged\nInclude {drop_in.home}/drop_in_config\n"
    )
    (tmp_path / "config").write_text(text)
    words = ("qsh", "-F", tmp_path / "config", "-P", "there", HOST)
    assert drop_in.run(*words).stdout == b"tagged\n"


# who is asked


@pytest.fixture
def locked_key(drop_in: DropIn, tmp_path: Path) -> Path:
    """A key with the passphrase ``secret``, which the host accepts, and an askpass that counts its calls."""
    text, public = generate_ed25519("locked")
    path = tmp_path / "locked"
    write_private(path, text)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", path], check=True)
    (tmp_path / "locked.pub").write_text(public.line() + "\n")
    with (drop_in.home / "authorized_keys").open("a") as file:
        file.write(public.line() + "\n")
    askpass = tmp_path / "askpass"
    askpass.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >> {tmp_path}/asked\necho "$ANSWER"\n')
    askpass.chmod(0o755)
    return path


def _with_locked_key(
    drop_in: DropIn, key: Path, *options: str, answer: str, status: int
) -> list[str]:
    """The questions."""
    config = (drop_in.home / "drop_in_config").read_text()
    (key.parent / "config").write_text(re.sub(r"IdentityFile .*", f"IdentityFile {key}", config))
    env = {
        "SSH_ASKPASS": str(key.parent / "askpass"),
        "SSH_ASKPASS_REQUIRE": "force",
        "ANSWER": answer,
    }
    words = ("qsh", "-F", key.parent / "config", *options, HOST, "true")
    drop_in.run(*words, env=env, status=status)
    asked = key.parent / "asked"
    return asked.read_text().splitlines() if asked.exists() else []


@pytest.mark.tool("ssh-keygen")
def test_askpass(drop_in: DropIn, locked_key: Path) -> None:
    questions = _with_locked_key(drop_in, locked_key, answer="secret", status=0)
    assert questions == [f"Enter passphrase for key '{locked_key}': "]


@pytest.mark.tool("ssh-keygen")
@pytest.mark.parametrize("count", [1, 2])
def test_number_of_password_prompts(drop_in: DropIn, locked_key: Path, count: int) -> None:
    option = f"-oNumberOfPasswordPrompts={count}"
    assert len(_with_locked_key(drop_in, locked_key, option, answer="bad", status=255)) == count


@pytest.mark.tool("ssh-keygen")
def test_batch_mode_asks_nobody(drop_in: DropIn, locked_key: Path) -> None:
    option = "-oBatchMode=yes"
    assert _with_locked_key(drop_in, locked_key, option, answer="secret", status=255) == []


@pytest.mark.tool("ssh-keygen")
def test_nobody_to_ask(drop_in: DropIn, locked_key: Path) -> None:
    """Neither a terminal nor an askpass: the line that Ansible looks for in -vvv."""
    words = ("qsh", "-vvv", "-F", "none", "-oIdentitiesOnly=yes", "-i", locked_key)
    words += ("-oIdentityAgent=none", f"-oUserKnownHostsFile={drop_in.home}/known_hosts")
    words += ("-oQshFallback=no", "-p", str(drop_in.server.port), "127.0.0.1", "true")
    text = drop_in.run(*words, status=255).stderr
    assert b"read_passphrase: can't open /dev/tty: No such device or address" in text
    assert b"Permission denied (publickey" in text


# who the host is


def test_known_hosts_command(drop_in: DropIn, tmp_path: Path) -> None:
    """Run before there is a key, and again with the key that is not known otherwise."""
    line = " ".join(drop_in.server.host_key.line().split()[:2])
    program = tmp_path / "program"
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/ran\n[ $1 = ORDER ] || echo "$2 {line}"\n'
    )
    program.chmod(0o755)
    command = f"KnownHostsCommand={program} %I %H %t %K"
    words = ("-oUserKnownHostsFile=none", "-oStrictHostKeyChecking=yes", HOST, "echo hi")
    drop_in.run("qsh", *words, status=255)
    assert drop_in.run("qsh", "-o", command, *words).stdout == b"hi\n"
    name = f"[127.0.0.1]:{drop_in.server.port}"
    asked = [f"ORDER {name} NONE NONE", f"HOSTNAME {name} {line}"]
    assert (tmp_path / "ran").read_text().splitlines() == asked
    # what is said before there is a key is no reason to trust one
    program.write_text(program.read_text().replace("[ $1 = ORDER ] ||", "[ $1 != ORDER ] ||"))
    done = drop_in.run("qsh", "-o", command, *words, status=255)
    assert b"Host key verification failed" in done.stderr
    done = drop_in.run("qsh", "-oKnownHostsCommand=false", *words, status=255)
    assert b"KnownHostsCommand path is not absolute" in done.stderr
    done = drop_in.run("qsh", "-oKnownHostsCommand=/bin/false", HOST, "true", status=255)
    text = b"KnownHostsCommand /bin/false failed, status 1\r\nKnownHostsCommand failed\r\n"
    assert done.stderr == text


def test_visual_host_key(drop_in: DropIn) -> None:
    text = drop_in.run("qsh", "-oVisualHostKey=yes", HOST, "true").stderr.decode()
    art = randomart(drop_in.server.host_key).replace("\n", "\r\n")
    fingerprint = drop_in.server.host_key.fingerprint()
    assert text == f"Host key fingerprint is {fingerprint}\r\n{art}\r\n"


@pytest.mark.parametrize("methods", ["none", "password", "hostbased,keyboard-interactive"])
def test_keys_are_not_offered_where_others_are_preferred_alone(
    drop_in: DropIn, methods: str
) -> None:
    option = f"-oPreferredAuthentications={methods}"
    done = drop_in.run("qsh", option, "-oBatchMode=yes", HOST, "true", status=255)
    assert b"Permission denied (publickey" in done.stderr


# time limits


def test_connect_timeout(drop_in: DropIn) -> None:
    """A port that takes packets and says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = str(silent.getsockname()[1])
        words = ("-oConnectTimeout=1", "-p", port, "127.0.0.1", "true")
        assert b"Connection timed out" in drop_in.run("qsh", *words, status=255).stderr
