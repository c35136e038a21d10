"""The command lines that other programs send (compat.md) and what people type."""

from __future__ import annotations

import pytest

from qsh.cli.arguments import USAGE, parse_arguments
from qsh.cli.query import answer
from qsh.config.environment import Environment
from qsh.errors import UsageError

SCP = (
    "-x -oPermitLocalCommand=no -oClearAllForwardings=yes -oRemoteCommand=none -oRequestTTY=no "
    "-oControlMaster=no -C -i /k -oForwardAgent=no -p 2222 -l u -s -- h sftp"
)


def test_scp() -> None:
    found = parse_arguments(SCP.split(" "), Environment())
    assert (found.host, found.user, found.command, found.subsystem) == ("h", "u", "sftp", True)
    assert found.settings.get("port") == 2222
    assert found.settings.get("clear_all_forwardings") is True
    assert found.warnings == [
        "Warning: Identity file /k not accessible: No such file or directory."
    ]
    legacy = parse_arguments(["-l", "u", "--", "h", "scp -t /x"], Environment())
    assert legacy.command == "scp -t /x"
    third = parse_arguments(["-x", "-n", "-p", "22", "h1", "scp", "/x", "u@h2:/y"], Environment())
    assert third.command == "scp /x u@h2:/y"


def test_sftp() -> None:
    words = ["-oForwardX11 no", "-oPermitLocalCommand no", "-oClearAllForwardings yes"]
    words += [
        "-obatchmode yes",
        "-oForwardAgent no",
        "-oPort 2222",
        "-l",
        "u",
        "-s",
        "--",
        "h",
        "sftp",
    ]
    found = parse_arguments(words, Environment())
    assert found.settings.get("batch_mode") is True
    assert found.settings.get("port") == 2222
    assert found.options[0] == ("ForwardX11", "no")


def test_rsync() -> None:
    found = parse_arguments(
        ["-l", "u", "h", "rsync", "--server", "-vlogDtpre.iLsfxCIvu", ".", "/x"], Environment()
    )
    assert found.command == "rsync --server -vlogDtpre.iLsfxCIvu . /x"


def test_git() -> None:
    line = ["-o", "SendEnv=GIT_PROTOCOL", "-p", "2222", "u@h", "git-upload-pack '/r.git'"]
    found = parse_arguments(line, Environment())
    assert found.command == "git-upload-pack '/r.git'"
    assert found.settings.get("send_env") == ["GIT_PROTOCOL"]
    assert parse_arguments(["-G", *line[:-1]], Environment()).print_config


def test_ansible() -> None:
    words = [
        "-C",
        "-o",
        "ControlMaster=auto",
        "-o",
        "ControlPersist=60s",
        "-o",
        'IdentityFile="/a b"',
    ]
    words += ["-o", 'User="name"', "-o", "ConnectTimeout=10", "-o", 'ControlPath="/cp/0123"', "-tt"]
    found = parse_arguments([*words, "h", "/bin/sh -c 'x'"], Environment())
    get = found.settings.get
    assert get("identity_file") == [("/a b", True)]
    assert (found.user, get("connect_timeout"), get("control_path")) == ("name", 10, "/cp/0123")
    assert get("control_persist") == (True, 60)
    assert get("request_tty") == "force"
    assert parse_arguments(["-O", "check", "h"], Environment()).control_command == "check"


def test_vscode() -> None:
    found = parse_arguments(
        ["-v", "-T", "-D", "4711", "-o", "ConnectTimeout=15", "host"], Environment()
    )
    assert (found.verbosity, found.command) == (1, None)
    assert found.settings.get("local_forward")[0].listen_port == 4711
    found = parse_arguments(
        ["-T", "-D", "1", "-o", "RemoteCommand=none", "host", "sh"], Environment()
    )
    assert found.command == "sh"


def test_mosh_and_sshuttle() -> None:
    found = parse_arguments(["-n", "-tt", "u@h", "--", "mosh-server new"], Environment())
    assert (found.host, found.command) == ("h", "mosh-server new")
    found = parse_arguments(["-p", "22", "u@h", "--", "/bin/sh -c 'x'"], Environment())
    assert found.command == "/bin/sh -c 'x'"


@pytest.mark.parametrize(
    ("line", "host", "user", "command"),
    [
        ("h", "h", None, None),
        ("a@b@h x", "h", "a@b", "x"),
        ("h -l u x -v", "h", "u", "x -v"),
        ("-l a b@h", "h", "a", None),
        ("ssh://u@h:5 x", "h", "u", "x"),
        ("h -- -x", "h", None, "-x"),
        ("-- h -x", "h", None, "-x"),
        ("status", "status", None, None),
        ("h a  b", "h", None, "a  b"),
    ],
)
def test_destination(line: str, host: str, user: str | None, command: str | None) -> None:
    found = parse_arguments(line.split(" "), Environment())
    assert (found.host, found.user, found.command) == (host, user, command)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", USAGE),
        ("-p", f"option requires an argument -- p\n{USAGE}"),
        ("-u h", f"unknown option -- u\n{USAGE}"),
        ("--version", f"unknown option -- -\n{USAGE}"),
        ("@h", USAGE),
        ("-1 h", "SSH protocol v.1 is no longer supported"),
        ("-p 0 h", "Bad port '0'"),
        ("-p x h", "Bad port 'x'"),
        ("-L x h", "Bad local forwarding specification 'x'"),
        ("-R x:y h", "Bad remote forwarding specification 'x:y'"),
        ("-D x:y:z h", "Bad dynamic forwarding specification 'x:y:z'"),
        ("-W x h", "Bad stdio forwarding specification 'x'"),
        ("-w x h", "Bad tun device 'x'"),
        ("-e xy h", "Bad escape character 'xy'."),
        ("-c x h", "Unknown cipher type 'x'"),
        ("-m x h", "Unknown mac type 'x'"),
        ("-O x h", "Invalid multiplex command."),
        ("-O exit -O exit h", "Multiplexing command already specified"),
        ("-O exit -W a:1 h", "Cannot specify stdio forward with -O"),
        ("-W a:1 -O exit h", "Cannot specify multiplexing command with -W"),
        ("-W a:1 -W b:1 h", "stdio forward already specified"),
        ("-J @ h", "Invalid -J argument"),
        ("-N -s h x", "Cannot specify -s with -N/SessionType"),
        ("-s -N h x", "Cannot specify -N with -s/SessionType"),
        ("-s h", f"You must specify a subsystem to invoke.\n{USAGE}"),
        ("-y -E f h", "Can't specify both -y and -E"),
        (
            "-J a -J b h",
            "Only a single -J option is permitted (use commas to separate multiple jump hops)",
        ),
        ("-o ProxyCommand=x -J b h", "Cannot specify -J with ProxyCommand"),
    ],
)
def test_usage_errors(line: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_arguments(line.split(" ") if line else [], Environment())
    assert str(caught.value) == text


def test_version_and_query_end_it() -> None:
    assert parse_arguments(["-V", "-p", "bad"], Environment()).version
    assert parse_arguments(["-vQ", "kex", "-p", "bad"], Environment()).query == "kex"


def test_what_ssh_gets() -> None:
    line = "-4 -o QshFallback=no -oqshport=5 -o Port=3 -v u@h -p 7 -o BatchMode=yes cmd -x"
    found = parse_arguments(line.split(" "), Environment())
    expected = "-4 -o Port=3 -v -p 7 -o BatchMode=yes -l u -- h cmd -x"
    assert list(found.ssh_argv) == expected.split(" ")
    assert ("QshFallback", "no") in found.options


def test_stdio_forward() -> None:
    assert parse_arguments(["-W", "[::1]:22", "h"], Environment()).stdio_forward == ("::1", 22)


def test_queries() -> None:
    names = answer("help").split()
    assert names == sorted(names)
    for name in names:
        assert answer(name).strip() or name == "kex-gss"  # there is no GSSAPI
    assert "X25519MLKEM768" in answer("kex")
    assert answer("protocol-version") == "2\n"
    assert answer("HostKeyAlgorithms") == answer("key-sig")
    assert answer("MACs") == answer("mac")
    with pytest.raises(UsageError, match=r'^Unsupported query "x"$'):
        answer("x")


def test_start_up_imports_nothing_heavy() -> None:
    """Start-up is a feature: reading ~/.ssh/config takes a few milliseconds, imports included."""
    import subprocess
    import sys

    code = (
        "import sys; before = set(sys.modules)\n"
        "from qsh.cli.query import print_config\n"
        "from qsh.cli.environment import SystemEnvironment\n"
        "print_config(['-F', '/etc/ssh/ssh_config', 'host'], SystemEnvironment())\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    heavy = {
        "typing",
        "dataclasses",
        "re",
        "enum",
        "socket",
        "subprocess",
        "asyncio",
        "glob",
        "ssl",
    }
    assert not loaded & heavy
