"""From files and options to ClientOptions."""

from __future__ import annotations

import pytest

from qsh.cli.arguments import parse_arguments
from qsh.cli.query import print_config
from qsh.config.dump import dump
from qsh.config.options import ClientOptions
from qsh.config.resolve import resolve, resolve_host
from qsh.config.settings import Settings
from qsh.errors import ConfigError, UsageError
from tests.unit.config.world import World

USER = "/home/alice/.ssh/config"
QSH_USER = "/home/alice/.config/qsh/config"
SYSTEM = "/etc/ssh/ssh_config"
QSH_SYSTEM = "/etc/qsh/qsh_config"


def options(world: World, *argv: str) -> ClientOptions:
    return resolve(parse_arguments(argv or ("host",), world), world)


def configured(text: str, *argv: str, **variables: str) -> ClientOptions:
    return options(World({USER: text}, **variables), *argv)


def test_defaults() -> None:
    found = options(World())
    assert (found.user, found.hostname, found.port) == ("alice", "host", 22)
    assert found.user_known_hosts_file[0] == "/home/alice/.ssh/known_hosts"
    assert found.identity_file[0] == "/home/alice/.ssh/id_rsa"
    assert found.strict_host_key_checking == "ask"
    assert found.update_host_keys == "yes"
    assert found.escape_char == "~"
    assert found.connect_timeout is None
    assert found.qsh_port is None
    assert (found.qsh_fallback, found.qsh_on_hangup) == ("exec", "end")
    assert not found.notes
    with pytest.raises(AttributeError):
        found.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_every_annotated_attribute_has_a_value() -> None:
    found = options(World())
    for name in ClientOptions.__annotations__:
        getattr(found, name)


def test_file_order() -> None:
    world = World(
        {QSH_USER: "Port 1\n", USER: "Port 2\n", QSH_SYSTEM: "Port 3\n", SYSTEM: "Port 4\n"}
    )
    assert options(world, "-o", "Port=9", "h").port == 9
    for path, port in ((QSH_USER, 1), (USER, 2), (QSH_SYSTEM, 3), (SYSTEM, 4)):
        found = options(world)
        assert found.port == port
        assert found.source("Port") == f"{path} line 1"
        del world.files[path]
    assert options(world).port == 22
    assert not options(world).is_set("port")


def test_what_is_typed_again_for_the_same_host() -> None:
    """Not what files say for the name: that holds the next time too."""
    text = "User fred\nPort 23\n"
    assert configured(text, "h").as_typed == "h"
    assert configured(text, "-p", "2222", "you@h").as_typed == "-p 2222 you@h"
    assert configured(text, "-l", "you", "h").as_typed == "you@h"
    assert configured(text, "ssh://you@h:24").as_typed == "-p 24 you@h"
    assert configured(text, "-J", "a,you@b:24", "h").as_typed == "-J a,you@b:24 h"
    assert configured(f"{text}ProxyJump a\n", "h").as_typed == "h"
    assert configured(f"{text}ProxyJump a\n", "-J", "none", "h").as_typed == "-J none h"


def test_only_the_file_of_dash_f() -> None:
    world = World({USER: "Port 2\n", "/x": "User u\n"})
    found = options(world, "-F", "/x", "h")
    assert (found.port, found.user) == (22, "u")
    assert options(world, "-F", "none", "h").port == 22
    with pytest.raises(ConfigError, match="Can't open user config file /y: No such file"):
        options(world, "-F", "/y", "h")


def test_own_keywords_in_ssh_config() -> None:
    found = configured("QshPort 4433\nQshFallback no\nQshKeyLog ~/keys\n")
    assert (found.qsh_port, found.qsh_fallback) == (4433, "no")
    assert found.qsh_key_log == "/home/alice/keys"
    with pytest.raises(ConfigError, match='unsupported option "maybe"'):
        configured("QshFallback maybe\n")


def test_own_keywords_are_never_printed() -> None:
    world = World({USER: "QshPort 4433\nControlPath /x/%r\n"})
    text = print_config(["-o", "QshFallback=no", "h"], world)
    assert "qsh" not in text.lower()
    assert "\ncontrolpath /x/alice\n" in text


@pytest.mark.parametrize(
    ("mode", "uid", "fine"),
    [
        (0o600, 1000, True),
        (0o644, 0, True),
        (0o664, 1000, False),
        (0o602, 1000, False),
        (0o600, 7, False),
    ],
)
def test_permissions(mode: int, uid: int, fine: bool) -> None:
    world = World({USER: "Port 5\n"})
    world.files[USER].mode, world.files[USER].uid = 0o100000 | mode, uid
    if fine:
        assert options(world).port == 5
    else:
        with pytest.raises(ConfigError, match=f"^Bad owner or permissions on {USER}$"):
            options(world)
    assert options(world, "-F", USER, "h").port == 5


def test_bad_lines_are_collected() -> None:
    with pytest.raises(ConfigError) as caught:
        configured("Foo 1\nPort x\nUser a b\nMatch foo x\nPort\n")
    assert str(caught.value).splitlines() == [
        f"{USER}: line 1: Bad configuration option: foo",
        f"{USER} line 2: Bad port 'x'.",
        f"{USER} line 3: keyword user extra arguments at end of line",
        "Unsupported Match attribute foo",
        f"{USER} line 4: Bad Match condition",
        f'{USER} line 5: no argument after keyword "port"',
        f"{USER}: terminating, 5 bad configuration options",
    ]
    first = caught.value.__cause__
    assert isinstance(first, ConfigError)
    assert (first.file, first.line, first.keyword) == (USER, 1, "foo")


def test_error_in_included_file() -> None:
    world = World({USER: "Include sub\n", "/home/alice/.ssh/sub": "Foo 1\n"})
    with pytest.raises(ConfigError) as caught:
        options(world)
    sub = "/home/alice/.ssh/sub"
    assert str(caught.value).splitlines() == [
        f"{sub}: line 1: Bad configuration option: foo",
        f"{sub}: terminating, 1 bad configuration options",
    ]


def test_bad_option() -> None:
    with pytest.raises(ConfigError) as caught:
        options(World(), "-o", "Foo=1", "h")
    assert str(caught.value) == "command-line: line 0: Bad configuration option: foo"
    with pytest.raises(ConfigError, match=r"^command-line line 0: Bad port 'x'.$"):
        options(World(), "-o", "Port=x", "h")


def test_refuse_connection() -> None:
    with pytest.raises(ConfigError, match=f"^{USER} line 2: RefuseConnection: go away$"):
        configured('Host host\n RefuseConnection "go away"\n')
    assert configured('Host other\n RefuseConnection "go away"\n').port == 22


def test_include_relative() -> None:
    world = World(
        {
            USER: "Include conf.d/*\n",
            "/home/alice/.ssh/conf.d/a": "Port 5\n",
            SYSTEM: "Include more\n",
            "/etc/ssh/more": "User sys\n",
            QSH_USER: "Include mine\n",
            "/home/alice/.config/qsh/mine": "QshPort 7\n",
        }
    )
    found = options(world)
    assert (found.port, found.user, found.qsh_port) == (5, "sys", 7)


def test_include_tokens_and_depth() -> None:
    world = World({USER: "Include ${DIR}/%h\n", "/d/host": "Port 5\n"}, DIR="/d")
    assert options(world).port == 5
    world = World({USER: "Include config\n"})
    with pytest.raises(ConfigError, match="Too many recursive configuration includes"):
        options(world)
    with pytest.raises(ConfigError, match="bad include path"):
        options(World({SYSTEM: "Include ~/x\n"}))


def test_match_newer_criteria() -> None:
    assert configured("Match tagged t*\n Port 5\n", "-P", "tag", "h").port == 5
    assert configured("Tag x\nMatch tagged x\n Port 5\n").port == 5
    assert configured('Match tagged ""\n Port 5\n').port == 5
    assert configured("Match sessiontype shell\n Port 5\n").port == 5
    assert configured("Match sessiontype exec command git*\n Port 5\n", "h", "git-x", "y").port == 5
    assert configured("Match sessiontype none\n Port 5\n", "-N", "h").port == 5
    assert configured("Match sessiontype=subsystem\n Port 5\n", "-s", "h", "sftp").port == 5
    assert configured("Match version OpenSSH_10.*\n Port 5\n").port == 5
    assert configured("Match version qsh_*\n Port 5\n").port == 5
    assert configured("Match version !qsh_*,*\n Port 5\n").port == 22


def test_match_localnetwork() -> None:
    world = World({USER: "Match localnetwork 10.0.0.0/8,2001:db8::/32\n Port 5\n"})
    assert options(world).port == 22
    world.addresses = ["192.0.2.1", "fe80::1%eth0", "10.1.2.3"]
    assert options(world).port == 5
    world.addresses = ["2001:db8::1"]
    assert options(world).port == 5
    for bad in ("10.0.0.1/8", "x", "10.0.0.0/33", "10.0.0.0/8,"):
        with pytest.raises(ConfigError, match="Bad Match condition"):
            configured(f"Match localnetwork {bad}\n")


def test_match_exec_runs_once_and_only_if_needed() -> None:
    world = World({USER: 'Match host other exec "a"\nMatch host host exec "b %h %r"\n Port 5\n'})
    world.statuses["b host alice"] = 0
    assert options(world).port == 5
    assert world.ran == ["b host alice"]
    world.statuses["b host alice"] = -1
    with pytest.raises(ConfigError, match="match exec 'b host alice' error"):
        options(world)


def test_match_not_final_asks_for_no_second_pass() -> None:
    world = World({USER: "Match !final exec x\n Port 5\n"})
    options(world)
    assert world.ran == ["x"]


def test_canonical_names() -> None:
    text = (
        "CanonicalizeHostname yes\nCanonicalDomains a.example b.example\n"
        "CanonicalizePermittedCNAMEs *.b.example:*.real.example\n"
        "Match canonical host *.real.example\n Port 5\n"
    )
    world = World({USER: text})
    world.names = {"host.b.example.": "Host.Real.Example."}
    assert (options(world).hostname, options(world).port) == ("host.real.example", 5)
    offline = parse_arguments(["-G", "host"], world)
    assert resolve(offline, world).hostname == "host"
    assert options(world, "a.b.c").hostname == "a.b.c"
    assert options(world, "-o", "ProxyCommand=x", "host").hostname == "host"
    with pytest.raises(ConfigError, match='Could not resolve host "none"'):
        options(world, "-o", "CanonicalizeFallbackLocal=no", "none")


def test_expansions() -> None:
    found = configured(
        "IdentityFile ~/k-%h-%r\nIdentityFile ${D}/k\nCertificateFile ~bob/c\nUser %u-x\n"
        "ControlPath ~/%L-%l-%j-%C\nProxyCommand nc %h %p %%\nRemoteCommand run %n\nSetEnv A=${D}%p\n"
        "RevokedHostKeys ~/r\nUserKnownHostsFile ~/%k\nHostKeyAlias Al\nLocalForward /l-%u /r-%h\n",
        D="/d",
    )
    assert found.user == "alice-x"
    assert found.identity_file == ("/home/alice/k-host-alice-x", "/d/k")
    assert found.certificate_file == ("/home/bob/c",)
    assert found.control_path is not None
    assert found.control_path.startswith("/home/alice/box-box.example.org--")
    assert found.proxy_command == "nc host 22 %"
    assert found.remote_command == found.command == "run host"
    assert found.set_env == (("A", "/d22"),)
    assert found.revoked_host_keys == ("/home/alice/r",)
    assert found.user_known_hosts_file == ("/home/alice/al",)
    assert found.local_forward[0].listen_path == "/l-alice"
    assert found.local_forward[0].connect_path == "/r-host"


def test_tokens_only_where_they_are_allowed() -> None:
    with pytest.raises(ConfigError, match="unknown key %r"):
        configured("Hostname %r\n")
    with pytest.raises(ConfigError, match="unknown key %T"):
        _ = configured("IdentityFile %T\n").identity_file
    with pytest.raises(ConfigError, match="unknown key %C"):
        configured("User %C\n")
    found = configured("LocalCommand ifconfig %T\nKnownHostsCommand /x %H %t\n")
    assert found.expand("LocalCommand", "%T %h", T="tun0") == "tun0 host"
    assert found.expand("KnownHostsCommand", "%H%t", H="a", t="b") == "ab"


def test_what_is_printed_is_expanded_as_ssh_10_does() -> None:
    """OpenSSH's regress/percent.sh looks for it."""
    text = "SetEnv A=%p-${D} B=%%\nRevokedHostKeys ~/%h %n\n"
    printed = dump(configured(text, D="/d")).splitlines()
    assert {"setenv A=22-/d", "setenv B=%", "revokedhostkeys /home/alice/host host"} <= set(printed)


def test_agent() -> None:
    assert configured("", SSH_AUTH_SOCK="/s").identity_agent == "/s"
    assert configured("IdentityAgent none\n", SSH_AUTH_SOCK="/s").identity_agent is None
    assert configured("IdentityAgent $MINE\n", MINE="/m").identity_agent == "/m"
    assert configured("IdentityAgent ~/a-%u\n").identity_agent == "/home/alice/a-alice"


def test_lists_and_none() -> None:
    found = configured(
        "IdentityFile none\nUserKnownHostsFile none\nGlobalKnownHostsFile none\n"
        "RevokedHostKeys none\nProxyCommand none\nControlPath none\nChannelTimeout none\n"
    )
    assert found.identity_file == found.user_known_hosts_file == found.global_known_hosts_file == ()
    assert found.revoked_host_keys == found.channel_timeout == ()
    assert found.proxy_command is None
    assert found.control_path is None


def test_tty() -> None:
    assert options(World(), "h").wants_tty(stdin_is_terminal=True)
    assert not options(World(), "h").wants_tty(stdin_is_terminal=False)
    assert not options(World(), "h", "cmd").wants_tty(stdin_is_terminal=True)
    assert options(World(), "-t", "h", "cmd").wants_tty(stdin_is_terminal=True)
    assert not options(World(), "-t", "h", "cmd").wants_tty(stdin_is_terminal=False)
    assert options(World(), "-tt", "h", "cmd").wants_tty(stdin_is_terminal=False)
    assert not options(World(), "-tt", "-N", "h").wants_tty(stdin_is_terminal=True)
    assert not options(World(), "-n", "h").wants_tty(stdin_is_terminal=True)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("-o", "RemoteCommand=x", "h", "y"), "Cannot execute command-line and remote command."),
        (("-f", "h"), "Cannot fork into background without a command to execute."),
        (("-o", "ConnectionAttempts=0", "h"), "Invalid number of ConnectionAttempts"),
        (("-J", "h", "h"), "jumphost loop via h"),
    ],
)
def test_contradictions(argv: tuple[str, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        options(World(), *argv)


def test_notes_and_warnings() -> None:
    found = configured(
        "Ciphers aes128-ctr\nCipher x\nRSAAuthentication yes\nIgnoreUnknown z\nz 1\n"
    )
    assert "Ciphers has no effect in qsh" in found.notes
    assert any("Deprecated option" in note for note in found.notes)
    assert any('Ignored unknown option "z"' in note for note in found.notes)
    assert found.warnings == [f'{USER} line 3: Unsupported option "rsaauthentication"']


# CVE-2023-51385, CVE-2025-61984, CVE-2025-61985, CVE-2026-35386

EVIL_HOSTS = [
    "-oProxyCommand=x", "$(id)", "`id`", "a;b", "a|b", "a&b", "a b", "a\nb", "a\tb", "a>b", "a<b",
    "a'b", 'a"b', "a\\b", "a(b", "a{b}", "a,b", "a\x00b", "a\x1bb", "a\x7fb", "$HOME",
]  # fmt: skip
EVIL_USERS = [
    "-x", "`id`", "a;b", "a|b", "a&b", "a\nb", "a>b", "a<b", "a'b", 'a"b', "a(b", "a{b}", "a -b",
    "a\\", "a\x00b", "a\x1bb", "a\x7fb", "a\r",
]  # fmt: skip


@pytest.mark.parametrize("host", EVIL_HOSTS)
def test_evil_host(host: str) -> None:
    world = World({USER: 'ProxyCommand nc %h %p\nMatch exec "probe %h %n"\n'})
    with pytest.raises(UsageError, match=r"^hostname contains invalid characters$"):
        options(world, "--", host)
    with pytest.raises(ConfigError, match=r"^hostname contains invalid characters$"):
        resolve_host(Settings(), world, host=host)
    assert world.ran == []


@pytest.mark.parametrize("user", EVIL_USERS)
def test_evil_user(user: str) -> None:
    world = World({USER: 'ProxyCommand nc %r %p\nMatch exec "probe %r"\n'})
    for argv in (("-l", user, "h"), ("--", f"{user}@h"), ("-o", f"User='{user}'", "h")):
        if argv[0] == "--" and user == "-x":
            continue
        if argv[0] == "-o" and any(char in user for char in "'\0\r\\"):
            continue
        with pytest.raises(UsageError, match=r"^remote username contains invalid characters$"):
            options(world, *argv)
    assert world.ran == []


def test_good_names_pass() -> None:
    for user in ("DOMAIN\\user", "a b", "jürgen", "a$b", "first.last+tag", "u@realm"):
        assert options(World(), "-l", user, "h").user == user
    for host in ("a_b", "x.example.", "192.0.2.1", "exämple", "a%b"):
        assert options(World(), host).hostname == host.lower()


def test_evil_expansion_of_user() -> None:
    with pytest.raises(ConfigError, match="remote username contains invalid characters"):
        configured("User ${EVIL}\n", EVIL="x;id")
    assert configured("User literal;id\n").user == "literal;id"


@pytest.mark.parametrize("jump", ["$(id)", "a;b@c", "-x", "u@a b", "ok,`id`"])
def test_evil_jump(jump: str) -> None:
    with pytest.raises(UsageError, match=r"Invalid -J argument"):
        options(World(), "-J", jump, "h")
    with pytest.raises(ConfigError, match="Invalid ProxyJump"):
        options(World(), "-o", f"ProxyJump={jump}", "h")


def test_expansion_is_not_looked_at_twice() -> None:
    found = configured("ProxyCommand nc %h\n", "a%pb")
    assert found.proxy_command == "nc a%pb"
