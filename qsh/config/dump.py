"""``-G``: the configuration as OpenSSH 9.2 prints it, key for key. git and sshuttle read it.

Only OpenSSH's keys are printed. Values that ssh expands before it prints are expanded, the
others are as written; ControlPath has no ``.qsh`` at its end.
"""

from __future__ import annotations

from qsh.config.values import IPQOS, ipqos_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.config.forwards import Forward
    from qsh.config.options import ClientOptions

__all__ = ["dump"]

# these print yes and no as true and false
_TRUTH = {"yes": "true", "no": "false"}
_TRUTHFUL = (
    "canonicalize_hostname",
    "control_master",
    "pubkey_authentication",
    "request_tty",
    "strict_host_key_checking",
    "tunnel",
    "verify_host_key_dns",
    "update_host_keys",
)

_FLAGS = (
    "address_family batch_mode canonicalize_fallback_local canonicalize_hostname check_host_ip "
    "compression control_master enable_ssh_keysign clear_all_forwardings exit_on_forward_failure "
    "fingerprint_hash forward_x11 forward_x11_trusted gateway_ports gssapi_authentication "
    "gssapi_key_exchange gssapi_delegate_credentials gssapi_trust_dns "
    "gssapi_renewal_forces_rekey gssapi_client_identity gssapi_server_identity "
    "gssapi_kex_algorithms "
    "hash_known_hosts hostbased_authentication "
    "identities_only kbd_interactive_authentication no_host_authentication_for_localhost "
    "password_authentication permit_local_command proxy_use_fdpass pubkey_authentication "
    "request_tty session_type stdin_null fork_after_authentication streamlocal_bind_unlink "
    "strict_host_key_checking tcp_keep_alive tunnel verify_host_key_dns visual_host_key "
    "update_host_keys enable_escape_commandline "
    "canonicalize_max_dots connection_attempts forward_x11_timeout number_of_password_prompts "
    "server_alive_count_max server_alive_interval required_rsa_size"
)

_STRINGS = (
    "bind_address bind_interface ciphers control_path host_key_algorithms host_key_alias "
    "hostbased_accepted_algorithms identity_agent ignore_unknown kbd_interactive_devices "
    "kex_algorithms ca_signature_algorithms local_command remote_command log_level macs "
    "pkcs11_provider security_key_provider preferred_authentications "
    "pubkey_accepted_algorithms revoked_host_keys xauth_location known_hosts_command"
)
_OLD_IDENTITIES = (
    "id_rsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
    "id_xmss",
    "id_dsa",
)


def dump(options: ClientOptions) -> str:
    """The whole output of ``-G``."""
    lines = [
        f"host {options.host_arg}",
        f"user {options.user}",
        f"hostname {options.hostname}",
        f"port {options.port}",
    ]
    lines += _plain(options, _FLAGS)
    lines += _plain(options, _STRINGS)
    lines += _forwards(options)
    lines += _lists(options)
    lines += _special(options)
    return "\n".join(lines) + "\n"


def _plain(options: ClientOptions, names: str) -> Iterator[str]:
    for name in names.split():
        value = _AS_WRITTEN[name](options) if name in _AS_WRITTEN else getattr(options, name)
        if value is None:
            continue
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif name in _TRUTHFUL:
            value = _TRUTH.get(value, value)
        elif value == "QUIET" and name == "log_level":
            value = "SILENT"  # its first name
        yield f"{name.replace('_', '')} {value}"


def _security_key_provider(options: ClientOptions) -> str | None:
    value: str = options.settings.get("security_key_provider", "internal")
    return None if value.lower() == "none" else value


def _identity_agent(options: ClientOptions) -> str | None:
    value = options.settings.get("identity_agent")
    return None if value is None else options.expand_path(value)


def _revoked(options: ClientOptions) -> str | None:
    if not options.settings.get("revoked_host_keys"):
        return None
    return " ".join(options.revoked_host_keys) or None


_AS_WRITTEN = {
    "security_key_provider": _security_key_provider,
    "identity_agent": _identity_agent,
    "revoked_host_keys": _revoked,
}


def _forwards(options: ClientOptions) -> Iterator[str]:
    for forward in options.dynamic_forward:
        yield f"dynamicforward{_listen(forward)}"
    for forward in options.local_forward:
        if forward.connect_host is None:  # a quirk of ssh: it prints these twice
            yield f"dynamicforward{_listen(forward)}"
    for keyword, forwards in (
        ("localforward", options.local_forward),
        ("remoteforward", options.remote_forward),
    ):
        for forward in forwards:
            yield f"{keyword}{_listen(forward)}{_connect(forward)}"


def _listen(forward: Forward) -> str:
    if forward.listen_path is not None:
        return f" {forward.listen_path}"
    udp = "udp/" if forward.udp else ""
    if forward.listen_host is None:
        return f" {udp}{forward.listen_port}"
    return f" {udp}[{forward.listen_host}]:{forward.listen_port}"


def _connect(forward: Forward) -> str:
    if forward.connect_path is not None:
        return f" {forward.connect_path}"
    return f" [{forward.connect_host}]:{forward.connect_port}"


def _lists(options: ClientOptions) -> Iterator[str]:
    written = options.settings.get
    old = [(f"~/.ssh/{name}", False) for name in _OLD_IDENTITIES]
    for name, _ in written("identity_file") or old:
        yield f"identityfile {name}"
    yield _one_line("canonicaldomains", options.canonical_domains)
    for name, _ in written("certificate_file", ()):
        yield f"certificatefile {name}"
    yield _one_line("globalknownhostsfile", options.global_known_hosts_file)
    yield _one_line("userknownhostsfile", options.user_known_hosts_file)
    for text in options.send_env:
        yield f"sendenv {text}"
    for name, value in options.set_env:
        yield f"setenv {name}={value}"
    yield _one_line("logverbose", options.log_verbose)
    yield _one_line("permitremoteopen", options.permit_remote_open, "any")


def _one_line(keyword: str, words: tuple[str, ...], nothing: str = "none") -> str:
    return f"{keyword} {' '.join(words) or nothing}"


def _special(options: ClientOptions) -> Iterator[str]:
    lifetime = options.add_keys_lifetime
    state = options.add_keys_to_agent
    if lifetime > 0:
        yield f"addkeystoagent{' confirm' if state == 'confirm' else ''} {lifetime}"
    else:
        yield f"addkeystoagent {_TRUTH.get(state, state)}"
    yield f"forwardagent {options.forward_agent_path or ('yes' if options.forward_agent else 'no')}"
    timeout = options.connect_timeout
    yield f"connecttimeout {'none' if timeout is None else timeout}"
    units = ("any" if unit is None else str(unit) for unit in options.tunnel_device)
    yield f"tunneldevice {':'.join(units)}"
    cnames = (f"{source}:{target}" for source, target in options.canonicalize_permitted_cnames)
    yield _one_line("canonicalizePermittedcnames", tuple(cnames))
    on, seconds = options.control_persist
    yield f"controlpersist {seconds if on and seconds else 'yes' if on else 'no'}"
    yield f"escapechar {_visible(options.escape_char)}"
    interactive, bulk = options.ipqos
    yield f"ipqos {_ipqos(interactive)} {_ipqos(bulk)}"
    yield f"rekeylimit {options.rekey_limit} {options.rekey_interval}"
    yield f"streamlocalbindmask 0{options.streamlocal_bind_mask:o}"
    yield f"syslogfacility {options.syslog_facility}"
    if options.settings.get("proxy_jump") not in (None, "none"):
        yield f"proxyjump {options.proxy_jump}"
    else:
        command = options.settings.get("proxy_command")
        if command is not None and command.lower() != "none":
            yield f"proxycommand {command}"


def _ipqos(value: int) -> str:
    return "none" if value == IPQOS["none"] else ipqos_name(value)


def _visible(char: str) -> str:
    """An escape character as vis(3) shows it."""
    if not char:
        return "none"
    code = ord(char)
    if char == "\\":
        return "\\\\"
    if char == " ":
        return "\\040"
    if code < 32 or code == 127:
        return f"\\^{chr(code ^ 64)}"
    return char
