"""Every keyword of ssh_config(5), OpenSSH 9.2 to 10.5 and Debian's, and qsh's own.

One row: the name, the attribute of ClientOptions, the kind of its value (kinds.py has a
function for each), the default, and what qsh does with it:

    used      it does what ssh_config(5) says
    ignored   taken and checked; without effect, since QUIC or TLS has its own or since it is old
    refused   qsh cannot do it and says so instead of connecting with less than was asked for
"""

from __future__ import annotations

__all__ = ["KEYWORDS", "Keyword"]


class Keyword:
    """One row."""

    __slots__ = ("attribute", "default", "kind", "name", "status")

    def __init__(self, name: str, attribute: str, kind: str, default: object, status: str) -> None:
        self.name, self.attribute, self.kind = name, attribute, kind
        self.default, self.status = default, status


USED, IGNORED, REFUSED = "used", "ignored", "refused"

_ROWS: tuple[tuple[str, str, str, object, str], ...] = (
    # structure
    ("Host", "host", "host", None, USED),
    ("Match", "match", "match", None, USED),
    ("Include", "include", "include", None, USED),
    ("Tag", "tag", "string", None, USED),
    ("IgnoreUnknown", "ignore_unknown", "string", None, USED),
    # where to
    ("Hostname", "hostname", "string", None, USED),
    ("User", "user", "string", None, USED),
    ("Port", "port", "port", None, USED),
    ("AddressFamily", "address_family", "family", "any", USED),
    ("BindAddress", "bind_address", "string", None, USED),
    ("BindInterface", "bind_interface", "string", None, USED),
    ("ConnectionAttempts", "connection_attempts", "int", 1, USED),
    ("ConnectTimeout", "connect_timeout", "time", None, USED),
    ("CanonicalDomains", "canonical_domains", "domains", (), USED),
    ("CanonicalizeFallbackLocal", "canonicalize_fallback_local", "flag", True, USED),
    ("CanonicalizeHostname", "canonicalize_hostname", "canonical", "no", USED),
    ("CanonicalizeMaxDots", "canonicalize_max_dots", "int", 1, USED),
    ("CanonicalizePermittedCNAMEs", "canonicalize_permitted_cnames", "cnames", (), USED),
    ("ProxyCommand", "proxy_command", "command", None, USED),
    ("ProxyJump", "proxy_jump", "jump", None, USED),
    ("ProxyUseFdpass", "proxy_use_fdpass", "flag", False, USED),
    ("TCPKeepAlive", "tcp_keep_alive", "flag", True, IGNORED),
    ("IPQoS", "ipqos", "ipqos", (0x10, 0x08), USED),
    ("ServerAliveInterval", "server_alive_interval", "time", 0, USED),
    ("ServerAliveCountMax", "server_alive_count_max", "int", 3, USED),
    ("RefuseConnection", "refuse_connection", "refuse", None, USED),
    # who the server is
    ("StrictHostKeyChecking", "strict_host_key_checking", "strict", "ask", USED),
    (
        "UserKnownHostsFile",
        "user_known_hosts_file",
        "files",
        ("~/.ssh/known_hosts", "~/.ssh/known_hosts2"),
        USED,
    ),
    (
        "GlobalKnownHostsFile",
        "global_known_hosts_file",
        "files",
        ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"),
        USED,
    ),
    ("KnownHostsCommand", "known_hosts_command", "command", None, USED),
    ("HostKeyAlias", "host_key_alias", "string", None, USED),
    ("HostKeyAlgorithms", "host_key_algorithms", "keys", None, USED),
    ("CASignatureAlgorithms", "ca_signature_algorithms", "signatures", None, USED),
    ("CheckHostIP", "check_host_ip", "flag", False, USED),
    ("HashKnownHosts", "hash_known_hosts", "flag", False, USED),
    ("UpdateHostKeys", "update_host_keys", "ask", None, USED),
    ("VerifyHostKeyDNS", "verify_host_key_dns", "ask", "no", IGNORED),
    ("VisualHostKey", "visual_host_key", "flag", False, USED),
    ("FingerprintHash", "fingerprint_hash", "hash", "SHA256", USED),
    ("RevokedHostKeys", "revoked_host_keys", "revoked", (), USED),
    (
        "NoHostAuthenticationForLocalhost",
        "no_host_authentication_for_localhost",
        "flag",
        False,
        USED,
    ),
    # who we are
    ("IdentityFile", "identity_file", "identity", (), USED),
    ("CertificateFile", "certificate_file", "certificate", (), USED),
    ("IdentitiesOnly", "identities_only", "flag", False, USED),
    ("IdentityAgent", "identity_agent", "agent", None, USED),
    ("AddKeysToAgent", "add_keys_to_agent", "addkeys", "no", IGNORED),
    ("PreferredAuthentications", "preferred_authentications", "string", None, USED),
    ("PubkeyAuthentication", "pubkey_authentication", "pubkey", "yes", USED),
    ("PubkeyAcceptedAlgorithms", "pubkey_accepted_algorithms", "keys", None, USED),
    ("PasswordAuthentication", "password_authentication", "flag", True, USED),
    ("KbdInteractiveAuthentication", "kbd_interactive_authentication", "flag", True, USED),
    ("KbdInteractiveDevices", "kbd_interactive_devices", "string", None, IGNORED),
    ("NumberOfPasswordPrompts", "number_of_password_prompts", "int", 3, USED),
    ("BatchMode", "batch_mode", "flag", False, USED),
    ("HostbasedAuthentication", "hostbased_authentication", "flag", False, IGNORED),
    ("HostbasedAcceptedAlgorithms", "hostbased_accepted_algorithms", "keys", None, IGNORED),
    ("EnableSSHKeysign", "enable_ssh_keysign", "flag", False, IGNORED),
    ("RequiredRSASize", "required_rsa_size", "int", 1024, USED),
    ("PKCS11Provider", "pkcs11_provider", "string", None, USED),
    ("SecurityKeyProvider", "security_key_provider", "string", "internal", IGNORED),
    ("GSSAPIAuthentication", "gssapi_authentication", "flag", False, IGNORED),
    ("GSSAPIDelegateCredentials", "gssapi_delegate_credentials", "flag", False, IGNORED),
    ("GSSAPIKeyExchange", "gssapi_key_exchange", "flag", False, IGNORED),
    ("GSSAPITrustDns", "gssapi_trust_dns", "flag", False, IGNORED),
    ("GSSAPIClientIdentity", "gssapi_client_identity", "string", None, IGNORED),
    ("GSSAPIServerIdentity", "gssapi_server_identity", "string", None, IGNORED),
    ("GSSAPIRenewalForcesRekey", "gssapi_renewal_forces_rekey", "flag", False, IGNORED),
    ("GSSAPIKexAlgorithms", "gssapi_kex_algorithms", "gss-kex", None, IGNORED),
    # the session
    ("RemoteCommand", "remote_command", "command", None, USED),
    ("RequestTTY", "request_tty", "tty", "auto", USED),
    ("SessionType", "session_type", "session", "default", USED),
    ("StdinNull", "stdin_null", "flag", False, USED),
    ("ForkAfterAuthentication", "fork_after_authentication", "flag", False, USED),
    ("EscapeChar", "escape_char", "escape", "~", USED),
    ("EnableEscapeCommandline", "enable_escape_commandline", "flag", False, USED),
    ("SendEnv", "send_env", "sendenv", (), USED),
    ("SetEnv", "set_env", "setenv", (), USED),
    ("LocalCommand", "local_command", "command", None, USED),
    ("PermitLocalCommand", "permit_local_command", "flag", False, USED),
    ("ObscureKeystrokeTiming", "obscure_keystroke_timing", "keystroke", 20, USED),
    ("ChannelTimeout", "channel_timeout", "timeouts", (), USED),
    ("LogLevel", "log_level", "loglevel", "INFO", USED),
    ("LogVerbose", "log_verbose", "verbose", (), USED),
    ("SyslogFacility", "syslog_facility", "facility", "USER", USED),
    # forwards
    ("LocalForward", "local_forward", "local", (), USED),
    ("RemoteForward", "remote_forward", "remote", (), USED),
    ("DynamicForward", "dynamic_forward", "dynamic", (), USED),
    ("GatewayPorts", "gateway_ports", "flag", False, USED),
    ("ExitOnForwardFailure", "exit_on_forward_failure", "flag", False, USED),
    ("ClearAllForwardings", "clear_all_forwardings", "flag", False, USED),
    ("PermitRemoteOpen", "permit_remote_open", "permitopen", (), USED),
    ("StreamLocalBindMask", "streamlocal_bind_mask", "mask", 0o177, USED),
    ("StreamLocalBindUnlink", "streamlocal_bind_unlink", "flag", False, USED),
    ("ForwardAgent", "forward_agent", "forwardagent", False, USED),
    ("ForwardX11", "forward_x11", "flag", False, USED),
    ("ForwardX11Trusted", "forward_x11_trusted", "flag", True, USED),
    ("ForwardX11Timeout", "forward_x11_timeout", "time", 1200, USED),
    ("XAuthLocation", "xauth_location", "string", "/usr/bin/xauth", USED),
    ("Tunnel", "tunnel", "tunnel", "no", REFUSED),
    ("TunnelDevice", "tunnel_device", "tundevice", (None, None), IGNORED),
    # sharing
    ("ControlMaster", "control_master", "master", "no", USED),
    ("ControlPath", "control_path", "string", None, USED),
    ("ControlPersist", "control_persist", "persist", (False, 0), USED),
    # SSH's own cryptography: TLS 1.3 does this work
    ("Ciphers", "ciphers", "ciphers", None, IGNORED),
    ("MACs", "macs", "macs", None, IGNORED),
    ("KexAlgorithms", "kex_algorithms", "kex", None, IGNORED),
    ("RekeyLimit", "rekey_limit", "rekey", 0, IGNORED),
    ("Compression", "compression", "zlib", "no", IGNORED),
    ("VersionAddendum", "version_addendum", "addendum", None, IGNORED),
    ("WarnWeakCrypto", "warn_weak_crypto", "weak", "yes", IGNORED),
    # qsh's own
    ("QshPort", "qsh_port", "port", None, USED),
    ("QshTcpPort", "qsh_tcp_port", "port", None, USED),
    ("QshFallback", "qsh_fallback", "qsh-fallback", "exec", USED),
    ("QshTransport", "qsh_transport", "qsh-transport", "auto", USED),
    ("QshBootstrap", "qsh_bootstrap", "qsh-bootstrap", "auto", USED),
    ("QshBootstrapCommand", "qsh_bootstrap_command", "command", "qshd", USED),
    ("QshSessions", "qsh_sessions", "qsh-sessions", "notice", USED),
    ("QshOnHangup", "qsh_on_hangup", "qsh-hangup", "end", USED),
    ("QshPrediction", "qsh_prediction", "qsh-prediction", "adaptive", USED),
    ("QshSkip", "qsh_skip", "qsh-skip", "auto", USED),
    ("QshCongestion", "qsh_congestion", "qsh-congestion", "own", USED),
    ("QshUdpTimeout", "qsh_udp_timeout", "time", 120, USED),
    ("QshDns", "qsh_dns", "flag", True, USED),
    ("QshKeyLog", "qsh_key_log", "string", None, USED),
    ("QshQlog", "qsh_qlog", "string", None, USED),
    # gone
    ("Protocol", "protocol", "silent", None, IGNORED),
    *(
        (name, "", "deprecated", None, IGNORED)
        for name in (
            "Cipher",
            "FallBackToRsh",
            "GlobalKnownHostsFile2",
            "RhostsAuthentication",
            "UseBlacklistedKeys",
            "UserKnownHostsFile2",
            "UseRoaming",
            "UseRsh",
            "UsePrivilegedPort",
        )
    ),
    *(
        (name, "", "unsupported", None, IGNORED)
        for name in (
            "AFSTokenPassing",
            "KerberosAuthentication",
            "KerberosTgtPassing",
            "RSAAuthentication",
            "RhostsRSAAuthentication",
            "CompressionLevel",
        )
    ),
)

KEYWORDS: dict[str, Keyword] = {row[0].lower(): Keyword(*row) for row in _ROWS}
"""By name in lower case, aliases included."""

for _alias, _name in (
    ("challengeresponseauthentication", "kbdinteractiveauthentication"),
    ("skeyauthentication", "kbdinteractiveauthentication"),
    ("tisauthentication", "kbdinteractiveauthentication"),
    ("dsaauthentication", "pubkeyauthentication"),
    ("identityfile2", "identityfile"),
    ("keepalive", "tcpkeepalive"),
    ("hostbasedkeytypes", "hostbasedacceptedalgorithms"),
    ("pubkeyacceptedkeytypes", "pubkeyacceptedalgorithms"),
    ("smartcarddevice", "pkcs11provider"),
    ("protocolkeepalives", "serveraliveinterval"),
    ("setuptimeout", "serveraliveinterval"),
):
    KEYWORDS[_alias] = KEYWORDS[_name]
