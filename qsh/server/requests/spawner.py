"""Monitor and spawner: what is to be forked, and what has ended."""

from __future__ import annotations

from msgspec import Struct

from qsh.auth.key_options import KeyOptions  # noqa: TC001 - msgspec reads the annotations
from qsh.config.daemon_options import DaemonOptions  # noqa: TC001
from qsh.server.account import Account  # noqa: TC001
from qsh.server.requests.fields import Address, Blob, Local, Text
from qsh.server.requests.front_monitor import Login, NewListener, Rules

__all__ = [
    "FRONT",
    "SIGNER",
    "Grant",
    "LoginRecord",
    "Reaped",
    "RecordLogin",
    "RecordLogout",
    "Reload",
    "Reloaded",
    "SpawnFailed",
    "SpawnLogin",
    "SpawnSession",
    "Spawned",
    "SpawnerReport",
    "SpawnerRequest",
    "StartFront",
    "StartSigner",
    "Step",
]


class Grant(Struct, frozen=True):
    """What a login child found that the session host needs: whose session, under which rules."""

    account: Account
    options: DaemonOptions | None
    """None: the configuration's, which every process has; they are many, and decoding them costs a session host memory."""
    key: KeyOptions | None
    """None: a key without options."""
    client: Address
    server: Address
    last_login: tuple[float, str] | None = None
    auth_info: str = ""
    """For ExposeAuthInfo: what let the user in."""
    generation: int = 0
    """Which of the configurations that there were since the start ``options`` None means."""
    environment: dict[str, str] | None = None
    """What PAM's modules want the session to have; None: no PAM was asked."""
    message: str = ""
    """What they want the user to read."""


class Step(Struct, frozen=True, omit_defaults=True):
    """A method that is done, of those that AuthenticationMethods wants."""

    method: str
    key: Blob = b""
    """That was proved."""


class SpawnLogin(Local, frozen=True, tag="spawn"):
    """Fork a login child; descriptors: its socket to the monitor and, for a method that asks, that to the front."""

    number: int
    login: Login
    host_key: Blob
    resumes: int | None = None
    """Of a login that resumes: the uid in its record, which the monitor has opened; None: it is not one of ours."""
    moved_from: Address | None = None
    """The login was accepted there, at ``then``, and its client is where ``login`` says now."""
    then: float = 0.0
    steps: list[Step] = []
    """What the same client has done before, in this order; of a login that resumes: what the one that it continues had."""
    orphans: dict[int, bytes] = {}
    """Of a login that resumes: the user's session hosts whose front has ended, with their rights (adoption.py)."""


class SpawnSession(Local, frozen=True, tag="session"):
    """Fork a session host; descriptors: its socket to the monitor, its socket to the front."""

    number: int
    grant: Grant


class StartFront(Local, frozen=True, tag="front"):
    """Fork a front; descriptors: its socket to the monitor, its signing socket."""


class StartSigner(Local, frozen=True, tag="signer"):
    """Fork the signer; descriptor: its socket to the monitor."""


FRONT, SIGNER = 0, -1
"""Numbers of these two in what the spawner reports."""


class RecordLogin(Local, frozen=True, tag="record"):
    """Note a login on a terminal in utmp, wtmp and lastlog."""

    line: str
    user: str
    host: str
    pid: int
    uid: int
    now: float


class RecordLogout(Local, frozen=True, tag="unrecord"):
    """Note the end of one."""

    line: str
    pid: int
    now: float


class Reload(Local, frozen=True, tag="reload"):
    """Read the configuration again. Answered by NewListener for each new socket, then Reloaded."""


LoginRecord = RecordLogin | RecordLogout
SpawnerRequest = SpawnLogin | SpawnSession | StartFront | StartSigner | Reload | LoginRecord


class Spawned(Local, frozen=True, tag="spawned"):
    """A child runs; ``number`` may be FRONT or SIGNER, ``host`` tells a session host from its login child."""

    number: int
    pid: int
    host: bool = False


class SpawnFailed(Local, frozen=True, tag="unspawned"):
    """No child could be forked for this number."""

    number: int


class Reaped(Local, frozen=True, tag="reaped"):
    """A child of the spawner has ended, with this wait status."""

    pid: int
    status: int


class Reloaded(Local, frozen=True, tag="reloaded"):
    """The configuration was read again; without rules the old ones stay."""

    errors: list[Text] = []
    rules: Rules | None = None
    other_keys: bool = False
    """The signer is to read the host keys again."""


SpawnerReport = Spawned | SpawnFailed | Reaped | NewListener | Reloaded
