from __future__ import annotations

from qsh.auth.keys import KEY_TYPES, certificate_type
from qsh.auth.sshwire import Reader
from qsh.auth.userauth import default_algorithm, request_algorithms, signed_data


def test_layout_is_that_of_openssh_protocol_3_1() -> None:
    reader = Reader(signed_data(b"id", "user", "ssh-ed25519", b"key", b"host key"))
    assert (reader.string(), reader.byte(), reader.text()) == (b"id", 50, "user")
    assert reader.text() == "ssh-connection"
    assert reader.text() == "publickey-hostbound-v00@openssh.com"
    assert reader.byte() == 1
    assert (reader.text(), reader.string(), reader.string()) == ("ssh-ed25519", b"key", b"host key")
    reader.end()


def test_algorithms() -> None:
    assert default_algorithm("ssh-rsa") == "rsa-sha2-512"
    assert default_algorithm("ssh-rsa-cert-v01@openssh.com") == "rsa-sha2-512-cert-v01@openssh.com"
    assert request_algorithms("ssh-rsa") == ("rsa-sha2-512", "rsa-sha2-256")
    for name in set(KEY_TYPES) - {"ssh-rsa"}:
        assert request_algorithms(name) == (name,)
        assert request_algorithms(certificate_type(name)) == (certificate_type(name),)
