"""Who is let in by which key under which rules: one table for our judgement, for the real sshd and for a real qshd.

A case is lines of the configuration, an authorized_keys file, other files, and what the client shows. ``{name}`` in a text is the
public key of that name, ``{dir}`` the folder that the files are in, ``{user}`` the user.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, NamedTuple

from qsh.auth.keys import PublicKey

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CASES", "Case", "Credentials"]

NAMES = ("key", "other", "ca", "other-ca", "rsa2048", "rsa3072", "p256", "p384")


class Case(NamedTuple):
    """One row. The defaults are a key that authorized_keys names."""

    allowed: bool
    config: str = ""
    keys: str = "{key}"
    """authorized_keys."""
    shows: str = "key"
    signed: tuple[str, ...] | None = None
    """Arguments of ssh-keygen -s for a certificate of the key that is shown."""
    by: str = "ca"
    files: dict[str, str] = {}  # noqa: RUF012 - a default that nobody changes
    krl: str = ""
    """A specification for ssh-keygen -k; the file is ``{dir}/krl``."""
    user: str = "{user}"
    sshd: bool | None = None
    """What sshd 9.2 says, where that differs."""


ME = ("-n", "{user}", "-I", "an id")
CA = "TrustedUserCAKeys {dir}/cas"
CAS = {"cas": "# authorities\n{ca}\n"}
FILE = f"{CA}\nAuthorizedPrincipalsFile {{dir}}/principals"


def by_ca(allowed: bool, signed: tuple[str, ...] = ME, config: str = CA, **more: object) -> Case:
    """A certificate of an authority in TrustedUserCAKeys, and no key in authorized_keys."""
    return Case(allowed, config, "", signed=signed, files={**CAS, **more.pop("files", {})}, **more)  # type: ignore[dict-item, arg-type]


def by_file(
    allowed: bool, principals: str, signed: tuple[str, ...] = ("-n", "ops,web", "-I", "x")
) -> Case:
    return by_ca(allowed, signed, FILE, files={"principals": principals})


def by_line(allowed: bool, options: str, signed: tuple[str, ...] = ME, config: str = "") -> Case:
    """A certificate by a line of authorized_keys."""
    return Case(allowed, config, f"{options} {{ca}}", signed=signed)


CASES: dict[str, Case] = {
    # -- keys and their lines
    "a key that is listed": Case(True),
    "a key that is not": Case(False, shows="other"),
    "no file at all": Case(False, keys=""),
    "PubkeyAuthentication no": Case(False, "PubkeyAuthentication no"),
    "AuthorizedKeysFile none": Case(False, "AuthorizedKeysFile none"),
    "restrict": Case(True, keys="restrict {key}"),
    "from= the address": Case(True, keys='from="127.0.0.0/8" {key}'),
    "from= another": Case(False, keys='from="192.0.2.0/24" {key}'),
    "a negated from=": Case(False, keys='from="*,!127.0.0.1" {key}'),
    "its time is over": Case(False, keys='expiry-time="20200101" {key}'),
    "its time is to come": Case(True, keys='expiry-time="20990101" {key}'),
    "an option that nobody knows": Case(False, keys="frobnicate {key}"),
    "principals= on a plain key": Case(False, keys='principals="{user}" {key}'),
    "a key as cert-authority": Case(False, keys="cert-authority {key}"),
    "a forced command": Case(True, keys='command="true" {key}'),
    "the second line has it": Case(True, keys="{other}\n# no\n{key}"),
    "a refused line before a good one": Case(True, keys='from="192.0.2.1" {key}\n{key}'),
    # -- lists of users, and root
    "AllowUsers": Case(True, "AllowUsers {user}"),
    "AllowUsers somebody else": Case(False, "AllowUsers nobody"),
    "AllowUsers at the address": Case(True, "AllowUsers {user}@127.0.0.0/8"),
    "AllowUsers at another": Case(False, "AllowUsers {user}@192.0.2.0/24"),
    "DenyUsers": Case(False, "DenyUsers {user}"),
    "DenyUsers at another address": Case(True, "DenyUsers {user}@192.0.2.1"),
    "DenyUsers and AllowUsers": Case(False, "AllowUsers {user}\nDenyUsers {user}"),
    "AllowGroups": Case(True, "AllowGroups nosuch {group}"),
    "AllowGroups another": Case(False, "AllowGroups nosuch"),
    "DenyGroups": Case(False, "DenyGroups {group}"),
    "AllowUsers and DenyGroups": Case(False, "AllowUsers {user}\nDenyGroups {group}"),
    "AllowUsers without AllowGroups": Case(False, "AllowUsers {user}\nAllowGroups nosuch"),
    "an unknown user": Case(False, user="no-such-user"),
    # -- Match
    "Match User": Case(False, "Match User {user}\nPubkeyAuthentication no"),
    "Match User somebody else": Case(True, "Match User nobody\nPubkeyAuthentication no"),
    "Match Address": Case(False, "Match Address 127.0.0.0/8\nPubkeyAuthentication no"),
    "Match Address another": Case(True, "Match Address 192.0.2.0/24\nPubkeyAuthentication no"),
    "Match Group": Case(False, "Match Group {group}\nAuthorizedKeysFile none"),
    "Match LocalAddress": Case(False, "Match LocalAddress 127.0.0.1\nDenyUsers *"),
    "Match takes a list away": Case(True, "AllowUsers nobody\nMatch User {user}\nAllowUsers {user}"),
    "Match All": Case(False, "Match all\nDenyUsers *"),
    "Match lets an authority in": by_ca(True, config=f"Match User {{user}}\n{CA}"),
    "Match lets it in for somebody else": by_ca(False, config=f"Match User nobody\n{CA}"),
    "Match takes an authority away": by_ca(False, config=f"{CA}\nMatch User {{user}}\nTrustedUserCAKeys none"),
    # -- authorities in authorized_keys
    "cert-authority": by_line(True, "cert-authority"),
    "cert-authority, another signs": Case(False, keys="cert-authority {ca}", signed=ME, by="other-ca"),
    "the authority without cert-authority": by_line(False, ""),
    "cert-authority, another name": by_line(False, "cert-authority", ("-n", "nobody", "-I", "x")),
    "principals= has the name": by_line(True, 'cert-authority,principals="ops,web"', ("-n", "web", "-I", "x")),
    "principals= has another": by_line(False, 'cert-authority,principals="ops"', ("-n", "web", "-I", "x")),
    "principals= without the user": by_line(False, 'cert-authority,principals="ops"'),
    "principals= has one of its names": by_line(True, 'cert-authority,principals="a,b"', ("-n", "b,c", "-I", "x")),
    "cert-authority from= another": by_line(False, 'cert-authority,from="192.0.2.1"'),
    "the certified key is listed, not the authority": Case(False, signed=ME, sshd=True),  # ssh shows the key, too
    # -- TrustedUserCAKeys
    "a trusted authority": by_ca(True),
    "an authority that is not": by_ca(False, by="other-ca"),
    "the file of authorities is missing": Case(False, "TrustedUserCAKeys {dir}/missing", "", signed=ME),
    "an authority as a comment": by_ca(False, files={"cas": "# {ca}\n"}),
    "an authority with options": by_ca(False, files={"cas": "cert-authority {ca}\n"}),
    "the plain key of a certificate": Case(False, CA, "", files=CAS),
    "the authority's own key": Case(False, CA, "", shows="ca", files=CAS),
    "another name": by_ca(False, ("-n", "nobody", "-I", "x")),
    "several names": by_ca(True, ("-n", "nobody,{user}", "-I", "x")),
    "a pattern is no name": by_ca(False, ("-n", "*", "-I", "x")),
    "no name": by_ca(False, ("-I", "x")),
    "a host certificate": by_ca(False, ("-h", *ME)),
    "over": by_ca(False, (*ME, "-V", "20200101:20210101")),
    "not yet": by_ca(False, (*ME, "-V", "20980101:20990101")),
    "for now": by_ca(True, (*ME, "-V", "20200101:20990101")),
    "source-address": by_ca(True, (*ME, "-O", "source-address=127.0.0.0/8")),
    "source-address another": by_ca(False, (*ME, "-O", "source-address=192.0.2.0/24")),
    "force-command": by_ca(True, (*ME, "-O", "force-command=true")),
    "verify-required on a key without": by_ca(True, (*ME, "-O", "verify-required")),
    "a critical option that nobody knows": by_ca(False, (*ME, "-O", "critical:x@example.org=1")),
    "an extension that nobody knows": by_ca(True, (*ME, "-O", "extension:x@example.org=1")),
    "no extension": by_ca(True, (*ME, "-O", "clear")),
    # -- AuthorizedPrincipalsFile
    "a name in the file": by_file(True, "ops\n"),
    "another name in the file": by_file(False, "dba\n"),
    "the user's name counts no more": by_file(False, "ops\n", ME),
    "the user's name in the file": by_file(True, "{user}\n", ME),
    "the file is missing": by_ca(False, ME, f"{CA}\nAuthorizedPrincipalsFile {{dir}}/missing"),
    "an empty file": by_file(False, "", ME),
    "comments in the file": by_file(True, "# who\n\n  web  # the web\n"),
    "a name as a comment": by_file(False, "#ops\n"),
    "a line with options": by_file(True, 'from="127.0.0.1",no-pty ops\n'),
    "a line with options that refuse": by_file(False, 'from="192.0.2.1" ops\n'),
    "a line with options that nobody knows": by_file(False, "frobnicate ops\n"),
    "the first line that fits counts": by_file(False, 'from="192.0.2.1" ops\nweb\n'),
    "names apart by commas": by_file(False, "ops,web\n"),
    "cert-authority in the file": by_file(False, "cert-authority ops\n"),
    "commands that differ": by_ca(
        False, ("-n", "ops", "-I", "x", "-O", "force-command=a"), FILE, files={"principals": 'command="b" ops\n'}
    ),
    "commands that agree": by_ca(
        True, ("-n", "ops", "-I", "x", "-O", "force-command=true"), FILE, files={"principals": 'command="true" ops\n'}
    ),
    "by the line of another file": Case(
        True, FILE, "cert-authority {ca}", signed=ME, files={**CAS, "principals": "nobody\n"}
    ),
    # -- RevokedKeys
    "revoked, a list": Case(False, "RevokedKeys {dir}/gone", files={"gone": "# left\n{key}\n"}),
    "others revoked, a list": Case(True, "RevokedKeys {dir}/gone", files={"gone": "{other}\n{ca}\n"}),
    "an empty list": Case(True, "RevokedKeys {dir}/gone", files={"gone": ""}),
    "the list is missing": Case(False, "RevokedKeys {dir}/gone"),
    "the list is a directory": Case(False, "RevokedKeys {dir}"),
    "nonsense in the list": Case(False, "RevokedKeys {dir}/gone", files={"gone": "{other}\nnonsense\n"}),
    "a revoked authority, a list": by_ca(False, config=f"{CA}\nRevokedKeys {{dir}}/gone", files={"gone": "{ca}\n"}),
    "a revoked key in a certificate, a list": by_ca(
        False, config=f"{CA}\nRevokedKeys {{dir}}/gone", files={"gone": "{key}\n"}
    ),
    "a revoked authority in authorized_keys": Case(
        False, "RevokedKeys {dir}/gone", "cert-authority {ca}", signed=ME, files={"gone": "{ca}\n"}
    ),
    "revoked, a KRL": Case(False, "RevokedKeys {dir}/krl", krl="key: {key}"),
    "others revoked, a KRL": Case(True, "RevokedKeys {dir}/krl", krl="key: {other}\nserial: 7"),
    "revoked by SHA1": Case(False, "RevokedKeys {dir}/krl", krl="sha1: {key}"),
    "revoked by SHA256": Case(False, "RevokedKeys {dir}/krl", krl="sha256: {key}"),
    "a revoked serial": by_ca(False, (*ME, "-z", "7"), f"{CA}\nRevokedKeys {{dir}}/krl", krl="serial: 5-8"),
    "another serial": by_ca(True, (*ME, "-z", "9"), f"{CA}\nRevokedKeys {{dir}}/krl", krl="serial: 5-8"),
    "a revoked key id": by_ca(False, config=f"{CA}\nRevokedKeys {{dir}}/krl", krl="id: an id"),
    "a revoked authority, a KRL": by_ca(False, config=f"{CA}\nRevokedKeys {{dir}}/krl", krl="key: {ca}"),
    "Match revokes": Case(False, "Match User {user}\nRevokedKeys {dir}/gone", files={"gone": "{key}\n"}),
    # -- algorithms
    "an algorithm that is taken": Case(True, "PubkeyAcceptedAlgorithms ssh-ed25519"),
    "one that is not": Case(False, "PubkeyAcceptedAlgorithms rsa-sha2-512"),
    "one that is taken out": Case(False, "PubkeyAcceptedAlgorithms -ssh-ed25519"),
    "ECDSA by its curve": Case(
        False, "PubkeyAcceptedAlgorithms ecdsa-sha2-nistp384", "{p256}\n{p384}", shows="p256"
    ),
    "ECDSA of that curve": Case(
        True, "PubkeyAcceptedAlgorithms ecdsa-sha2-nistp384", "{p256}\n{p384}", shows="p384"
    ),
    "a certificate's own algorithm": by_ca(False, config=f"{CA}\nPubkeyAcceptedAlgorithms ssh-ed25519"),
    "a certificate's algorithm": by_ca(True, config=f"{CA}\nPubkeyAcceptedAlgorithms ssh-ed25519-cert-v01@openssh.com"),
    "an algorithm of authorities": by_ca(True, config=f"{CA}\nCASignatureAlgorithms ssh-ed25519"),
    "another algorithm of authorities": by_ca(False, config=f"{CA}\nCASignatureAlgorithms rsa-sha2-512"),
    "RSA for certificates, with SHA-1 left out": by_ca(
        True, by="rsa3072", files={"cas": "{rsa3072}"}, config=f"{CA}\nCASignatureAlgorithms rsa-sha2-512"
    ),
    "RSA": Case(True, keys="{rsa2048}", shows="rsa2048"),
    "RSA, too short": Case(False, "RequiredRSASize 3072", "{rsa2048}", shows="rsa2048"),
    "RSA, long enough": Case(True, "RequiredRSASize 3072", "{rsa3072}", shows="rsa3072"),
    "RSA by SHA-256 only": Case(True, "PubkeyAcceptedAlgorithms rsa-sha2-256,rsa-sha2-512", "{rsa2048}", shows="rsa2048"),
    "ssh-rsa is SHA-1": Case(False, "PubkeyAcceptedAlgorithms ssh-rsa", "{rsa2048}", shows="rsa2048"),
    "verify-required of all": Case(True, "PubkeyAuthOptions verify-required"),
    # -- commands: {program} prints the file "printed"
    "AuthorizedKeysCommand": Case(
        True, "AuthorizedKeysCommand {program} keys\nAuthorizedKeysCommandUser root", "", files={"printed": "{key}\n"}
    ),
    "AuthorizedKeysCommand, options": Case(
        False, "AuthorizedKeysCommand {program} keys\nAuthorizedKeysCommandUser root", "",
        files={"printed": 'from="192.0.2.1" {key}\n'},
    ),
    "AuthorizedKeysCommand, another key": Case(
        False, "AuthorizedKeysCommand {program} keys\nAuthorizedKeysCommandUser root", "", files={"printed": "{other}\n"}
    ),
    "AuthorizedKeysCommand, an authority": Case(
        True, "AuthorizedKeysCommand {program} keys\nAuthorizedKeysCommandUser root", "",
        signed=ME, files={"printed": "cert-authority {ca}\n"},
    ),
    "AuthorizedKeysCommand fails": Case(
        False, "AuthorizedKeysCommand {program} fail\nAuthorizedKeysCommandUser root", "", files={"printed": "{key}\n"}
    ),
    "AuthorizedKeysCommand dies": Case(
        False, "AuthorizedKeysCommand {program} die\nAuthorizedKeysCommandUser root", "", files={"printed": "{key}\n"}
    ),
    "AuthorizedKeysCommand is missing": Case(
        False, "AuthorizedKeysCommand {dir}/missing\nAuthorizedKeysCommandUser root", ""
    ),
    "AuthorizedKeysCommand that others can write": Case(
        False, "AuthorizedKeysCommand {dir}/open keys\nAuthorizedKeysCommandUser root", "", files={"printed": "{key}\n"}
    ),
    "AuthorizedKeysCommandUser is nobody": Case(
        False, "AuthorizedKeysCommand {program} keys\nAuthorizedKeysCommandUser no-such-user", "", files={"printed": "{key}\n"}
    ),
    "AuthorizedKeysCommand and a revoked key": Case(
        False, "AuthorizedKeysCommand {program} keys\nAuthorizedKeysCommandUser root\nRevokedKeys {dir}/gone", "",
        files={"printed": "{key}\n", "gone": "{key}\n"},
    ),
    "AuthorizedKeysCommand is told of the key": Case(
        True, "AuthorizedKeysCommand {program} tokens %u %U %h %t %f %k %%\nAuthorizedKeysCommandUser root", "",
        files={"printed": "{key}\n"},
    ),
    "AuthorizedKeysCommand with quotes": Case(
        True, "AuthorizedKeysCommand {program} \"ke\"ys 'a b'\nAuthorizedKeysCommandUser root", "", files={"printed": "{key}\n"}
    ),
    "a key by file, and a command that fails": Case(
        True, "AuthorizedKeysCommand {program} fail\nAuthorizedKeysCommandUser root", files={"printed": ""}
    ),
    "AuthorizedPrincipalsCommand": by_ca(
        True, ("-n", "ops", "-I", "x"),
        f"{CA}\nAuthorizedPrincipalsCommand {{program}} names\nAuthorizedPrincipalsCommandUser root",
        files={"printed": "dba\nops\n"},
    ),
    "AuthorizedPrincipalsCommand, another name": by_ca(
        False, ME,
        f"{CA}\nAuthorizedPrincipalsCommand {{program}} names\nAuthorizedPrincipalsCommandUser root",
        files={"printed": "dba\nops\n"},
    ),
    "AuthorizedPrincipalsCommand fails": by_ca(
        False, ME,
        f"{CA}\nAuthorizedPrincipalsCommand {{program}} fail\nAuthorizedPrincipalsCommandUser root",
        files={"printed": "{user}\n"},
    ),
    "AuthorizedPrincipalsCommand beside a file": by_ca(
        True, ("-n", "ops", "-I", "x"),
        f"{FILE}\nAuthorizedPrincipalsCommand {{program}} names\nAuthorizedPrincipalsCommandUser root",
        files={"principals": "dba\n", "printed": "ops\n"},
    ),
    "AuthorizedPrincipalsCommand is told of the certificate": by_ca(
        True, ("-n", "ops", "-I", "x y", "-z", "7"),
        f"{CA}\nAuthorizedPrincipalsCommand {{program}} names %i %s %T %F %K %t %f %k %u %U %h\n"
        "AuthorizedPrincipalsCommandUser root",
        files={"printed": "ops\n"},
    ),
}  # fmt: skip

PROGRAM = """\
#!/bin/sh
printf '%s\\n' "$@" > {dir}/arguments
case $1 in
    fail) cat {dir}/printed; exit 1;;
    die) cat {dir}/printed; kill -9 $$;;
esac
cat {dir}/printed
"""


class Credentials:
    """Keys of every name, made once in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in NAMES:
            kind = {"rsa2048": "rsa", "rsa3072": "rsa", "p256": "ecdsa", "p384": "ecdsa"}.get(
                name, "ed25519"
            )
            bits = name[-4:] if kind == "rsa" else name[-3:]
            size = ("-b", bits) if kind != "ed25519" else ()
            self.keygen("-q", "-t", kind, *size, "-N", "", "-C", name, "-f", folder / name)

    @staticmethod
    def keygen(*words: object) -> None:
        subprocess.run(["ssh-keygen", *map(str, words)], check=True, capture_output=True)

    def public(self, name: str) -> PublicKey:
        return PublicKey.from_line((self.folder / f"{name}.pub").read_text())

    def fill(self, text: str, where: Path, user: str, group: str) -> str:
        """``text`` with its names replaced."""
        words = {name: self.public(name).line() for name in NAMES}
        words |= {"dir": str(where), "user": user, "group": group, "program": f"{where}/program"}
        for name, value in words.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def prepare(self, case: Case, where: Path, user: str, group: str) -> PublicKey:
        """Write the case's files below ``where``; what the client shows."""

        def write(name: str, text: str, mode: int = 0o644) -> None:
            (where / name).write_text(self.fill(text, where, user, group))
            (where / name).chmod(mode)

        write("authorized_keys", case.keys + "\n")
        for name, text in case.files.items():
            write(name, text)
        write("program", PROGRAM, 0o755)
        write("open", PROGRAM, 0o777)
        if case.krl:
            write("krl-specification", case.krl + "\n")
            self.keygen(
                "-k", "-f", where / "krl", "-s", self.folder / "ca", where / "krl-specification"
            )
        shown = where / "shown.pub"
        shown.write_text(self.public(case.shows).line() + "\n")
        if case.signed is None:
            return self.public(case.shows)
        words = [self.fill(word, where, user, group) for word in case.signed]
        self.keygen("-q", "-s", self.folder / case.by, *words, shown)
        return PublicKey.from_line((where / "shown-cert.pub").read_text())
