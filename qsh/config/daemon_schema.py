"""Every keyword of sshd_config(5), OpenSSH 9.2 to 10.5 and Debian's, and qshd's own.

``dump`` prints them in this order, which is that of ``sshd -T`` in OpenSSH 9.2. What qshd does
with a keyword:

    DONE      it has its effect
    UNUSED    checked and kept, without effect; the note says why

Nothing is unused that would let in more than the file says. What sshd takes and qshd does not start with hangs on another line:
"yes" for what needs PAM where UsePAM is "no" (``needs_pam``).

Kinds are the functions of daemon_kinds.py by their names; ``a:b`` passes ``b``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "ALIASES",
    "DEPRECATED",
    "DONE",
    "FIELDS",
    "IGNORED",
    "KEYWORDS",
    "SCHEMA",
    "UNSUPPORTED",
    "UNUSED",
    "Keyword",
]

DONE, UNUSED = "done", "unused"

_TLS = "TLS 1.3 has its own algorithms"
_LATER = "there is no such forwarding yet"
_UDP = "QUIC has its own"
_ALIVE = "QshExecMax says when a silent client counts as lost"
_HOSTBASED = "there is no host-based authentication"
_GSSAPI = "there is no GSSAPI or Kerberos"


@dataclass(frozen=True, slots=True)
class Keyword:
    """One keyword: its spelling, the DaemonOptions field, the kind of value, what becomes of it."""

    name: str
    field: str
    kind: str
    status: str = DONE
    note: str = ""
    match: bool = False
    """Allowed after Match."""
    appends: bool = False
    """Further lines add to it; for the others the first line wins."""
    needs_pam: bool = False
    """PAM alone could do it, so "yes" stops qshd without UsePAM."""
    printed: bool = True

    def refusal(self, value: object, *, use_pam: bool) -> str | None:
        """Why qshd does not start with a value that sshd takes, or None."""
        if not self.needs_pam or use_pam or value is not True:
            return None
        return f"{self.name} yes needs UsePAM yes: qshd has passwords checked by PAM only"


def _row(
    name: str,
    field: str,
    kind: str,
    status: str = DONE,
    note: str = "",
    *,
    flags: str = "",
) -> Keyword:
    """``flags``: m allowed after Match, a appends, p needs PAM, h not printed by -T."""
    return Keyword(
        name,
        field,
        kind,
        status,
        note,
        match="m" in flags,
        appends="a" in flags,
        needs_pam="p" in flags,
        printed="h" not in flags,
    )


SCHEMA: Final = (
    _row("Port", "port", "port", flags="a"),
    _row("AddressFamily", "address_family", "choice:family"),
    _row("ListenAddress", "listen_address", "listen", flags="a"),
    _row("UsePAM", "use_pam", "flag"),
    _row("LoginGraceTime", "login_grace_time", "seconds"),
    _row("X11DisplayOffset", "x11_display_offset", "integer", flags="m"),
    _row("MaxAuthTries", "max_auth_tries", "integer", flags="m"),
    _row("MaxSessions", "max_sessions", "integer", flags="m"),
    _row("ClientAliveInterval", "client_alive_interval", "seconds", UNUSED, _ALIVE, flags="m"),
    _row("ClientAliveCountMax", "client_alive_count_max", "integer", UNUSED, _ALIVE, flags="m"),
    _row("RequiredRSASize", "required_rsa_size", "integer", flags="m"),
    _row("StreamLocalBindMask", "stream_local_bind_mask", "octal", flags="m"),
    _row(
        "UnusedConnectionTimeout",
        "unused_connection_timeout",
        "timeout",
        UNUSED,
        _UDP,
        flags="m",
    ),
    _row("PermitRootLogin", "permit_root_login", "choice:root", flags="m"),
    _row("IgnoreRhosts", "ignore_rhosts", "choice:rhosts", UNUSED, _HOSTBASED, flags="m"),
    _row("IgnoreUserKnownHosts", "ignore_user_known_hosts", "flag", UNUSED, _HOSTBASED),
    _row(
        "HostbasedAuthentication",
        "hostbased_authentication",
        "flag",
        UNUSED,
        _HOSTBASED,
        flags="m",
    ),
    _row(
        "HostbasedUsesNameFromPacketOnly",
        "hostbased_uses_name_from_packet_only",
        "flag",
        UNUSED,
        _HOSTBASED,
        flags="m",
    ),
    _row("PubkeyAuthentication", "pubkey_authentication", "flag", flags="m"),
    _row("KerberosAuthentication", "kerberos_authentication", "flag", UNUSED, _GSSAPI, flags="m"),
    _row("KerberosOrLocalPasswd", "kerberos_or_local_passwd", "flag", UNUSED, _GSSAPI),
    _row("KerberosTicketCleanup", "kerberos_ticket_cleanup", "flag", UNUSED, _GSSAPI),
    _row("GSSAPIAuthentication", "gssapi_authentication", "flag", UNUSED, _GSSAPI, flags="m"),
    _row("GSSAPICleanupCredentials", "gssapi_cleanup_credentials", "flag", UNUSED, _GSSAPI),
    _row("GSSAPIKeyExchange", "gssapi_key_exchange", "flag", UNUSED, _GSSAPI),
    _row("GSSAPIStrictAcceptorCheck", "gssapi_strict_acceptor_check", "flag", UNUSED, _GSSAPI),
    _row(
        "GSSAPIStoreCredentialsOnRekey",
        "gssapi_store_credentials_on_rekey",
        "flag",
        UNUSED,
        _GSSAPI,
    ),
    _row("GSSAPIKexAlgorithms", "gssapi_kex_algorithms", "algorithms:gss-kex", UNUSED, _GSSAPI),
    _row("PasswordAuthentication", "password_authentication", "flag", flags="mp"),
    _row("KbdInteractiveAuthentication", "kbd_interactive_authentication", "flag", flags="mp"),
    _row("PrintMotd", "print_motd", "flag"),
    _row("PrintLastLog", "print_last_log", "flag"),
    _row("X11Forwarding", "x11_forwarding", "flag", flags="m"),
    _row("X11UseLocalhost", "x11_use_localhost", "flag", flags="m"),
    _row("PermitTTY", "permit_tty", "flag", flags="m"),
    _row("PermitUserRC", "permit_user_rc", "flag", flags="m"),
    _row("StrictModes", "strict_modes", "flag"),
    _row("TCPKeepAlive", "tcp_keep_alive", "flag", UNUSED, _UDP),
    _row("PermitEmptyPasswords", "permit_empty_passwords", "flag", flags="m"),
    _row("Compression", "compression", "choice:compression", UNUSED, "nothing is compressed"),
    _row("GatewayPorts", "gateway_ports", "choice:gateway", flags="m"),
    _row("UseDNS", "use_dns", "flag"),
    _row("AllowTcpForwarding", "allow_tcp_forwarding", "choice:forwarding", flags="m"),
    _row("AllowAgentForwarding", "allow_agent_forwarding", "flag", flags="m"),
    _row("DisableForwarding", "disable_forwarding", "flag", flags="m"),
    _row(
        "AllowStreamLocalForwarding",
        "allow_stream_local_forwarding",
        "choice:forwarding",
        flags="m",
    ),
    _row("StreamLocalBindUnlink", "stream_local_bind_unlink", "flag", flags="m"),
    _row("FingerprintHash", "fingerprint_hash", "choice:digest", UNUSED, "SHA256 it is"),
    _row("ExposeAuthInfo", "expose_auth_info", "flag", flags="m"),
    _row("PidFile", "pid_file", "path"),
    _row("ModuliFile", "moduli_file", "file", UNUSED, _TLS),
    _row("XAuthLocation", "xauth_location", "path"),
    _row("Ciphers", "ciphers", "algorithms:ciphers", UNUSED, _TLS),
    _row("MACs", "macs", "algorithms:macs", UNUSED, _TLS),
    _row("Banner", "banner", "path", flags="m"),
    _row("ForceCommand", "force_command", "line", flags="m"),
    _row("ChrootDirectory", "chroot_directory", "file", flags="m"),
    _row("TrustedUserCAKeys", "trusted_user_ca_keys", "path", flags="m"),
    _row("RevokedKeys", "revoked_keys", "path", flags="m"),
    _row("SecurityKeyProvider", "security_key_provider", "internal", UNUSED, "host keys are files"),
    _row("AuthorizedPrincipalsFile", "authorized_principals_file", "file", flags="m"),
    _row("VersionAddendum", "version_addendum", "addendum", UNUSED, "QUIC has no version line"),
    _row("AuthorizedKeysCommand", "authorized_keys_command", "command", flags="m"),
    _row("AuthorizedKeysCommandUser", "authorized_keys_command_user", "word", flags="m"),
    _row("AuthorizedPrincipalsCommand", "authorized_principals_command", "command", flags="m"),
    _row(
        "AuthorizedPrincipalsCommandUser", "authorized_principals_command_user", "word", flags="m"
    ),
    _row("HostKeyAgent", "host_key_agent", "file", UNUSED, "host keys are files"),
    _row("KexAlgorithms", "kex_algorithms", "algorithms:kex", UNUSED, _TLS),
    _row("CASignatureAlgorithms", "ca_signature_algorithms", "algorithms:signatures", flags="m"),
    _row(
        "HostbasedAcceptedAlgorithms",
        "hostbased_accepted_algorithms",
        "algorithms:keys",
        UNUSED,
        _HOSTBASED,
        flags="m",
    ),
    _row(
        "HostKeyAlgorithms",
        "host_key_algorithms",
        "algorithms:keys",
        UNUSED,
        "the client's choice and the keys there are decide",
    ),
    _row("PubkeyAcceptedAlgorithms", "pubkey_accepted_algorithms", "algorithms:keys", flags="m"),
    _row("LogLevel", "log_level", "log_level", flags="m"),
    _row("SyslogFacility", "syslog_facility", "facility"),
    _row("AuthorizedKeysFile", "authorized_keys_file", "key_files", flags="m"),
    _row("HostKey", "host_key", "paths", flags="a"),
    _row("HostCertificate", "host_certificate", "paths", flags="a"),
    _row("AllowUsers", "allow_users", "users", flags="ma"),
    _row("DenyUsers", "deny_users", "users", flags="ma"),
    _row("AllowGroups", "allow_groups", "names", flags="ma"),
    _row("DenyGroups", "deny_groups", "names", flags="ma"),
    _row("AcceptEnv", "accept_env", "env_names", flags="ma"),
    _row("SetEnv", "set_env", "settings", flags="m"),
    _row("AuthenticationMethods", "authentication_methods", "methods", flags="m"),
    _row("LogVerbose", "log_verbose", "words", UNUSED, "LogLevel decides"),
    _row("ChannelTimeout", "channel_timeout", "timeouts", UNUSED, "DetachedIdleMax", flags="m"),
    _row("Subsystem", "subsystem", "subsystem", flags="a"),
    _row("MaxStartups", "max_startups", "startups"),
    _row("PerSourceMaxStartups", "per_source_max_startups", "count"),
    _row("PerSourceNetBlockSize", "per_source_net_block_size", "netblock"),
    _row("PermitTunnel", "permit_tunnel", "tunnel", UNUSED, _LATER, flags="m"),
    _row("IPQoS", "ip_qos", "ipqos", UNUSED, _UDP, flags="m"),
    _row("RekeyLimit", "rekey_limit", "rekey", UNUSED, _UDP, flags="m"),
    _row("PermitOpen", "permit_open", "permits", flags="m"),
    _row("PermitListen", "permit_listen", "permits:listen", flags="m"),
    _row("PermitUserEnvironment", "permit_user_environment", "user_environment"),
    _row("PubkeyAuthOptions", "pubkey_auth_options", "key_options", flags="m"),
    # of OpenSSH after 9.2, of Debian, or never printed
    _row("RefuseConnection", "refuse_connection", "flag", flags="mh"),
    _row("DebianBanner", "debian_banner", "flag", UNUSED, "QUIC has no version line", flags="h"),
    _row("PAMServiceName", "pam_service_name", "word", flags="h"),
    _row(
        "GSSAPIDelegateCredentials",
        "gssapi_delegate_credentials",
        "flag",
        UNUSED,
        _GSSAPI,
        flags="h",
    ),
    _row("PerSourcePenaltyExemptList", "per_source_penalty_exempt_list", "networks"),
    _row("PerSourcePenalties", "per_source_penalties", "penalties", flags="a"),
    _row("SshdSessionPath", "sshd_session_path", "file", UNUSED, "of sshd", flags="h"),
    _row("SshdAuthPath", "sshd_auth_path", "file", UNUSED, "of sshd", flags="h"),
    # qshd's own
    _row("DetachedIdleMax", "detached_idle_max", "timeout", flags="m"),
    _row("DetachedMax", "detached_max", "timeout", flags="m"),
    _row("DetachedPerUser", "detached_per_user", "integer", flags="m"),
    _row("Resume", "resume", "flag", flags="m"),
    _row("SessionDirectory", "session_directory", "file", flags="h"),
    _row("QshCongestion", "qsh_congestion", "choice:congestion"),
    _row("QshLogFormat", "qsh_log_format", "choice:log_format"),
    _row("QshMetricsSocket", "qsh_metrics_socket", "file"),
    _row("QshRecord", "qsh_record", "choice:record", flags="m"),
    _row("QshRecordPath", "qsh_record_path", "record_path", flags="m"),
    _row("QshRecordInput", "qsh_record_input", "flag", flags="m"),
    _row("QshExecMax", "qsh_exec_max", "timeout", flags="m"),
    _row("QshInstanceIdle", "qsh_instance_idle", "timeout"),
    _row("QshInstancePorts", "qsh_instance_ports", "word"),
    _row("QshRetryThreshold", "qsh_retry_threshold", "integer"),
    _row("QshMaxConnections", "qsh_max_connections", "integer"),
    _row("QshTcpPort", "qsh_tcp_port", "tcp_port"),
)
"""In the order of ``sshd -T``."""

KEYWORDS: Final = {keyword.name.lower(): keyword for keyword in SCHEMA}
"""By the name in lower case."""
FIELDS: Final = {keyword.field: keyword for keyword in SCHEMA}

ALIASES: Final = {
    "hostdsakey": "hostkey",
    "hostbasedacceptedkeytypes": "hostbasedacceptedalgorithms",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "dsaauthentication": "pubkeyauthentication",
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "keepalive": "tcpkeepalive",
}

DEPRECATED: Final = frozenset(
    {
        "serverkeybits",
        "keyregenerationinterval",
        "rhostsauthentication",
        "rhostsrsaauthentication",
        "rsaauthentication",
        "checkmail",
        "uselogin",
        "verifyreversemapping",
        "reversemappingcheck",
        "authorizedkeysfile2",
        "useprivilegeseparation",
        "kerberostgtpassing",
        "afstokenpassing",
    }
)
IGNORED: Final = frozenset({"protocol"})
UNSUPPORTED: Final = frozenset({"kerberosgetafstoken"})
"""What Debian's sshd was built without."""
