"""Who echoes what is typed: the classes that decide how it may be predicted."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qsh.wire.terminal import TtyState

__all__ = ["FULL_SCREEN", "KERNEL", "LINE_EDITOR", "RAW", "SECRET", "looks_secret", "tty_class"]

KERNEL: Final = "K"
"""The terminal line itself: ECHO and ICANON."""
SECRET: Final = "P"  # noqa: S105 - a class, no password
"""A line is read without echo. Nothing is drawn, nothing is kept."""
LINE_EDITOR: Final = "L"
"""A program edits a line on the main screen and takes bracketed paste."""
RAW: Final = "R"
"""Another program that reads single keys."""
FULL_SCREEN: Final = "A"
"""A program on the alternate screen."""

ECHO: Final = 1
ICANON: Final = 2


def _folded(text: str) -> str:
    """Full-width forms as ASCII, without case."""
    return unicodedata.normalize("NFKC", text).casefold()


_SECRET_WORDS: Final = tuple(
    _folded(word)
    for word in (
        *("passw", "passphrase", "pass phrase", "passcode", "passkey", "secret", "token"),
        *("verification code", "security code", "authentication code", "one-time", "recovery key"),
        *("api key", "api-key", "apikey", "access key", "pin ", "pin:", "otp", "cvv", "2fa"),
        *("kennwort", "geheim", "losungswort", "zugangscode"),
        *("wachtwoord", "toegangscode", "lösenord", "lösenfras"),
        *("passord", "adgangskode", "kodeord", "lykilorð"),
        *("mot de passe", "phrase de passe", "mdp", "mot secret", "code secret", "clé secrète"),
        *("contraseñ", "contrasen", "clave", "frase de paso", "contrasinal", "pasahitz"),
        *("senha", "palavra-passe", "palavra passe", "segredo"),
        *("parola", "segret", "chiave d'accesso"),
        *("salasana", "salalause", "tunnusluku", "parool", "salasõna", "slaptažod", "parole"),
        *(
            "hasło",
            "haslo",
            "heslo",
            "geslo",
            "lozink",
            "zaporka",
            "jelszó",
            "jelszo",
            "fjalëkalim",
        ),
        *("пароль", "пароля", "парола", "гасло", "лозинк", "κωδικ", "συνθηματικ"),
        *("şifre", "sifre", "mật khẩu", "kata sandi", "kata laluan"),
        *("密码", "密碼", "口令", "密钥", "密鑰", "验证码", "驗證碼"),
        *("パスワード", "パスフレーズ", "パスコード", "暗証", "비밀번호", "암호"),
        *("كلمة المرور", "كلمة السر", "گذرواژه", "رمز", "סיסמ", "पासवर्ड", "कूटशब्द", "รหัสผ่าน"),
    )
)
_ENDS: Final = (":", "?", ">", "=", "\u061f", "\u00bb", "\u203a", "\u276f")


def tty_class(tty: TtyState | None, *, alternate: bool, bracketed_paste: bool) -> str:
    """The class of a terminal in this state. Without word from the host: RAW, which trusts only what it saw."""
    flags = 0 if tty is None else tty.flags
    if flags & ICANON:
        return KERNEL if flags & ECHO else SECRET
    if alternate:
        return FULL_SCREEN
    return LINE_EDITOR if bracketed_paste and tty is not None else RAW


def looks_secret(prompt: str) -> bool:
    """Whether a line left of the cursor asks for a secret: an inner ssh's or tmux's programs cannot be asked."""
    text = _folded(prompt).rstrip()
    return text.endswith(_ENDS) and any(word in text for word in _SECRET_WORDS)
