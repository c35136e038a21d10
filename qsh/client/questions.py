"""The methods ``password`` and ``keyboard-interactive``: the server's questions, in OpenSSH's words (sshconnect2.c).

Imported only when a server is to ask something. What it says is shown with its control characters made visible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsh.client.log import log
from qsh.client.text import visible, visible_lines
from qsh.wire.messages import MAX_ANSWER, AuthAnswers

if TYPE_CHECKING:
    from qsh.client.prompt import Prompter
    from qsh.config.options import ClientOptions
    from qsh.wire.messages import AuthQuestions

__all__ = ["Questions"]

PASSWORD: Final = "password"  # noqa: S105 - a method's name
MAX_USER: Final = 30
MAX_HOST: Final = 128


class Questions:
    """Of one login. Every question blocks until the person has answered."""

    def __init__(self, options: ClientOptions, prompter: Prompter) -> None:
        self._user, self._host = options.user, options.hostname.lower()
        self._named = options.host_key_alias or self._host
        self._prompter, self._limit = prompter, options.number_of_password_prompts
        self._attempts: dict[str, int] = {}
        self._asked = 0
        """Rounds of this attempt."""

    def begin(self, method: str) -> bool:
        """Whether another attempt is to be made."""
        attempt = self._attempts.get(method, 0)
        if attempt >= self._limit or (attempt and not self._asked and method != PASSWORD):
            return False  # NumberOfPasswordPrompts, or a server that has nothing to ask
        if attempt and method == PASSWORD:
            log.error("Permission denied, please try again.")
        self._attempts[method] = attempt + 1
        self._asked = 0
        return True

    def give_up(self, method: str) -> None:
        """There is nobody to ask."""
        self._attempts[method] = self._limit

    def renew(self) -> None:
        """Something was right: what is left begins anew."""
        self._attempts.clear()

    def answers(self, method: str, questions: AuthQuestions) -> AuthAnswers | None:
        """None: nobody can be asked."""
        first = not self._asked
        self._asked += 1
        for text in (questions.name, questions.instruction):
            if text:
                log.info(visible_lines(text))
        own = method == PASSWORD and first and len(questions.prompts) == 1
        given = []
        for prompt in questions.prompts:
            if own:
                text = f"{self._user[:MAX_USER]}@{self._host[:MAX_HOST]}'s password: "
            else:
                text = f"({self._user}@{self._named}) {prompt.text}"
            ask = self._prompter.line if prompt.echo else self._prompter.passphrase
            answer = ask(visible_lines(text) if not own else visible(text))
            if answer is None:
                return None
            given.append(_sendable(answer))
        return AuthAnswers(given)


def _sendable(answer: str) -> str:
    """What is no UTF-8 cannot be sent, and is no password here."""
    return answer.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:MAX_ANSWER]
