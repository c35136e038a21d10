"""Which hosts lead to a host: ProxyJump, -J, and a ProxyCommand that is qsh."""

from __future__ import annotations

import pytest

from qsh.cli.arguments import parse_arguments
from qsh.cli.jump import hops_of
from qsh.config.resolve import resolve
from qsh.errors import ConfigError, UsageError
from tests.unit.config.world import World

USER = "/home/me/.ssh/config"


def hops(config: str, *words: str) -> list[str] | None:
    world = World({f"{World.home}/.ssh/config": config})
    arguments = parse_arguments(words, world)
    found = hops_of(resolve(arguments, world), arguments, world)
    if found is None:
        return None
    return [f"{options.user}@{options.hostname}:{options.port}" for options in found]


def test_a_list_goes_from_the_nearest_to_the_farthest() -> None:
    me = World.user
    assert hops("", "-J", "a,you@b:5,[::1]:6", "host") == [f"{me}@a:22", "you@b:5", f"{me}@::1:6"]
    assert hops("", "host") == []
    assert hops("ProxyJump none", "host") == []
    assert hops("", "-J", "none", "host") == []


def test_each_hop_has_its_own_configuration() -> None:
    config = (
        "Host a\n  HostName a.example\n  User ann\n  Port 7\nHost b\n  ProxyJump a\n"
        "Host c\n  ProxyJump b\n"
    )
    assert hops(config, "c") == ["ann@a.example:7", f"{World.user}@b:22"]
    assert hops(config, "-J", "a", "c") == ["ann@a.example:7"]


def test_options_of_the_command_line_are_for_the_target() -> None:
    assert hops("", "-p", "5", "-l", "you", "-J", "a", "host") == [f"{World.user}@a:22"]


def test_a_hop_forwards_nothing() -> None:
    world = World(
        {f"{World.home}/.ssh/config": "Host a\n  LocalForward 5 x:5\n  RemoteCommand x\n"}
    )
    arguments = parse_arguments(["-J", "a", "host"], world)
    (hop,) = hops_of(resolve(arguments, world), arguments, world) or ()
    assert (hop.local_forward, hop.session_type) == ((), "none")


@pytest.mark.parametrize(
    "command",
    [
        "qsh -W %h:%p -p 5 you@a",
        "exec /usr/bin/qsh -W '[%h]:%p' -p 5 -l you a",
        "qsh -qW %h:%p -oPort=5 you@a",
    ],
)
def test_a_proxy_command_that_is_qsh(command: str) -> None:
    assert hops(f"Host host\n  ProxyCommand {command}", "host") == ["you@a:5"]
    assert hops(f"Host host\n  ProxyJump none\n  ProxyCommand {command}", "host") in (
        [],
        ["you@a:5"],
    )


@pytest.mark.parametrize(
    "command",
    [
        *("nc %h %p", "ssh -W %h:%p a", "qsh a nc %h %p", "qsh -W other:22 a", "qsh -W %h:23 a"),
        *(
            "qsh -W %h:%p a | tee x",
            "qsh -W %h:%p `a`",
            "qsh -W %h:%p --nonesuch",
        ),
        *("sh -c 'qsh -W %h:%p a'", "qsh"),
    ],
)
def test_other_commands_are_not_ours(command: str) -> None:
    assert hops(f"ProxyCommand {command}", "host") is None


def test_loops_and_bad_hops() -> None:
    with pytest.raises(ConfigError, match="more than 8"):
        hops("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n", "-J", "a", "host")
    with pytest.raises((ConfigError, UsageError)):
        hops("ProxyJump -oProxyCommand=x", "host")
