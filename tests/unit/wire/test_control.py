"""docs/protocol.md 4 and 5: every message in every state, both ways."""

from __future__ import annotations

import pytest

from qsh.errors import LocalProtocolError, RemoteProtocolError
from qsh.wire import control, framing
from qsh.wire.control import ClientControl, ServerControl, State
from qsh.wire.messages import (
    Auth,
    AuthAccepted,
    AuthAnswers,
    AuthContinue,
    AuthQuestions,
    AuthRefused,
    Banner,
    Exit,
    ExitAck,
    Hello,
    KeyProofs,
    Listen,
    Listening,
    Message,
    Offer,
    Prompt,
    Proof,
    ProveKeys,
    Signal,
    Target,
    Unlisten,
    WindowChange,
)

AUTH = Auth(user="anna", offers=[Offer(b"key")], proof=Proof(0, "ssh-ed25519", b"sig"))
ASKING = Auth(user="anna", method="keyboard-interactive")
QUESTIONS = AuthQuestions(prompts=[Prompt("Password: "), Prompt("Colour: ", echo=True)])
ANSWERS = AuthAnswers(["s3cret", "blue"])
CLIENT_MESSAGES: tuple[Message, ...] = (
    AUTH,
    ANSWERS,
    WindowChange(channel=4, rows=24, cols=80),
    Signal(channel=4, name="INT"),
    ExitAck(channel=4),
    Listen(listener=1, target=Target("localhost", 0)),
    Unlisten(listener=1),
    ProveKeys(),
)
SERVER_MESSAGES: tuple[Message, ...] = (
    AuthAccepted(),
    AuthContinue(acceptable=[0]),
    QUESTIONS,
    AuthRefused(),
    Banner(text="hi"),
    Exit(channel=4, stdout_offset=0, stderr_offset=0, status=0),
    Listening(listener=1, port=4711),
    KeyProofs([b"signature"]),
)
PERMITTED_FROM_CLIENT = {
    State.GREETED: {Auth},
    State.ASKED: {Auth, AuthAnswers},
    State.OPEN: {WindowChange, Signal, ExitAck, Listen, Unlisten, ProveKeys},
}
PERMITTED_FROM_SERVER = {
    State.GREETED: {Banner},
    State.PENDING: {Banner, AuthAccepted, AuthContinue, AuthQuestions, AuthRefused},
    State.OPEN: {Exit, Listening, KeyProofs},
}


def pair(state: State) -> tuple[ClientControl, ServerControl]:
    """Both ends, in ``state``."""
    client, server = ClientControl(), ServerControl()
    if state is State.START:
        return client, server
    server.receive(client.send_hello("c"))
    assert isinstance(server.next_message(), Hello)
    client.receive(server.send_hello("s"))
    if state is State.GREETED:
        return client, server
    server.receive(client.send(ASKING))
    assert server.next_message() == ASKING
    if state is State.OPEN:
        client.receive(server.send(AuthAccepted()))
    elif state is State.ASKED:
        client.receive(server.send(QUESTIONS))
    return client, server


@pytest.mark.parametrize("state", list(State))
def test_pair_reaches_every_state(state: State) -> None:
    client, server = pair(state)
    assert client.state is server.state is state


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("message", CLIENT_MESSAGES, ids=lambda m: type(m).__name__)
def test_client_messages_in_every_state(state: State, message: Message) -> None:
    client, server = pair(state)
    permitted = type(message) in PERMITTED_FROM_CLIENT.get(state, ())
    server.receive(framing.encode(message))
    if state is State.PENDING:
        assert server.next_message() is None, "what follows an AUTH waits for its answer"
    elif permitted:
        assert server.next_message() == message
    else:
        with pytest.raises(RemoteProtocolError) as error:
            server.next_message()
        assert error.value.code == "out-of-state"
    if permitted:
        client.send(message)  # type: ignore[arg-type]
    else:
        with pytest.raises(LocalProtocolError):
            client.send(message)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("message", SERVER_MESSAGES, ids=lambda m: type(m).__name__)
def test_server_messages_in_every_state(state: State, message: Message) -> None:
    client, server = pair(state)
    permitted = type(message) in PERMITTED_FROM_SERVER.get(state, ())
    if permitted:
        assert client.receive(framing.encode(message)) == [message]
        server.send(message)  # type: ignore[arg-type]
    else:
        with pytest.raises(RemoteProtocolError) as error:
            client.receive(framing.encode(message))
        assert error.value.code == "out-of-state"
        with pytest.raises(LocalProtocolError):
            server.send(message)  # type: ignore[arg-type]


def test_hello_and_auth_are_pipelined() -> None:
    client, server = ClientControl(), ServerControl()
    server.receive(client.send_hello("c") + client.send(AUTH))
    assert isinstance(server.next_message(), Hello)
    assert server.next_message() == AUTH
    assert client.receive(server.send_hello("s") + server.send(AuthRefused()))[1] == AuthRefused()
    server.receive(client.send(AUTH))
    assert server.next_message() == AUTH


def test_a_second_hello_is_refused() -> None:
    client, server = pair(State.GREETED)
    server.receive(framing.encode(Hello(versions=[1])))
    with pytest.raises(RemoteProtocolError, match="second hello"):
        server.next_message()
    with pytest.raises(LocalProtocolError):
        client.send_hello("again")


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        (Hello(versions=[2, 3]), "version"),
        (Hello(versions=[]), "version"),
        (Hello(versions=[1], critical=["time-travel"]), "critical-feature"),
    ],
)
def test_negotiation_fails_by_name(hello: Hello, code: str) -> None:
    server = ServerControl()
    server.receive(framing.encode(hello))
    with pytest.raises(RemoteProtocolError) as error:
        server.next_message()
    assert error.value.code == code


def test_features_are_the_intersection() -> None:
    server = ServerControl()
    server.receive(framing.encode(Hello(versions=[1, 2], features=["exec", "unheard-of"])))
    server.next_message()
    assert server.features == {"exec"}
    assert server.version == 1


def test_bytes_before_authentication_are_limited() -> None:
    server = ServerControl()
    for _ in range(control.BYTES_BEFORE_AUTH // 1000):
        server.receive(b"\0" * 1000)
    with pytest.raises(RemoteProtocolError) as error:
        server.receive(b"\0" * 1000)
    assert error.value.code == "too-much-before-auth"


def test_a_dialogue_has_several_rounds() -> None:
    client, server = pair(State.ASKED)
    server.receive(client.send(ANSWERS))
    assert server.next_message() == ANSWERS
    to_read = AuthQuestions(instruction="Your password ends in 3 days.")
    assert client.receive(server.send(to_read)) == [to_read]
    server.receive(client.send(AuthAnswers()))
    assert server.next_message() == AuthAnswers()
    partial = AuthRefused(methods=["publickey"], partial=True)
    assert client.receive(server.send(partial)) == [partial]
    assert client.state is server.state is State.GREETED


def test_another_auth_ends_a_dialogue() -> None:
    client, server = pair(State.ASKED)
    server.receive(client.send(AUTH))
    assert server.next_message() == AUTH
    with pytest.raises(LocalProtocolError, match="nobody asked for"):
        server.send(QUESTIONS)
    with pytest.raises(RemoteProtocolError, match="nobody asked for") as error:
        client.receive(framing.encode(QUESTIONS))
    assert error.value.code == "out-of-state"


@pytest.mark.parametrize("answers", [[], ["one"], ["one", "two", "three"]])
def test_there_are_as_many_answers_as_prompts(answers: list[str]) -> None:
    client, server = pair(State.ASKED)
    with pytest.raises(LocalProtocolError, match="answers to 2 questions"):
        client.send(AuthAnswers(answers))
    server.receive(framing.encode(AuthAnswers(answers)))
    with pytest.raises(RemoteProtocolError) as error:
        server.next_message()
    assert error.value.code == "bad-answers"


def test_a_method_goes_without_keys() -> None:
    both = Auth(user="anna", offers=[Offer(b"key")], method="password")
    client, server = pair(State.GREETED)
    with pytest.raises(LocalProtocolError):
        client.send(both)
    server.receive(framing.encode(both))
    with pytest.raises(RemoteProtocolError) as error:
        server.next_message()
    assert error.value.code == "bad-auth"


@pytest.mark.parametrize(
    "message",
    [
        AuthAnswers(["x" * 1025]),
        AuthAnswers(["x"] * 33),
        AuthAnswers(["x" * 1024] * 32 + ["x"]),
    ],
    ids=["long", "many", "both"],
)
def test_answers_are_bounded(message: AuthAnswers) -> None:
    _, server = pair(State.ASKED)
    server.receive(framing.encode(message))
    with pytest.raises(RemoteProtocolError) as error:
        server.next_message()
    assert error.value.code == "bad-message"
    assert "x" * 9 not in str(error.value)


def test_prompts_are_bounded() -> None:
    client, _ = pair(State.PENDING)
    with pytest.raises(RemoteProtocolError) as error:
        client.receive(framing.encode(AuthQuestions(prompts=[Prompt("?")] * 33)))
    assert error.value.code == "bad-message"


def test_no_text_shows_answers() -> None:
    assert "s3cret" not in f"{ANSWERS!r} {ANSWERS}"
