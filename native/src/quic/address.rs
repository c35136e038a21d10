//! Addresses as Python writes them, and what the kernel knows about the way there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use rustix::net::sockopt;

/// IP and UDP headers.
const OVERHEAD_V4: u32 = 28;
const OVERHEAD_V6: u32 = 48;
/// QUIC's smallest payload.
pub(crate) const PAYLOAD_MIN: u16 = 1200;
/// More than jumbo frames take. quinn keeps a buffer for one packet of each connection: with all that loopback takes, 10,000 idle
/// ones held 0.5 GB more. A bulk transfer was no faster, and took 3 % less of a processor.
const PAYLOAD_MAX: u32 = 16_384;
/// What is assumed where the kernel does not tell: Ethernet under IPv6.
const PAYLOAD_USUAL: u16 = 1452;

/// An IP literal, IPv6 with an optional `%N`.
pub(crate) fn parse(host: &str, port: u16) -> Option<SocketAddr> {
    let (literal, scope) = match host.split_once('%') {
        Some((literal, scope)) => (literal, scope.parse().ok()?),
        None => (host, 0),
    };
    match literal.parse().ok()? {
        IpAddr::V4(ip) => (scope == 0).then(|| (ip, port).into()),
        IpAddr::V6(ip) => Some(SocketAddrV6::new(ip, port, 0, scope).into()),
    }
}

/// The opposite: an IPv4 address that came through an IPv6 socket is shown as IPv4.
pub(crate) fn show(address: SocketAddr) -> (String, u16) {
    let ip = address.ip().to_canonical();
    let text = match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 && ip.is_ipv6() => {
            format!("{ip}%{}", v6.scope_id())
        }
        _ => ip.to_string(),
    };
    (text, address.port())
}

/// The largest UDP payload that the route's first link takes, as far as it is worth using.
///
/// Where the search for the path's MTU starts from: from 1200 to what the largest link takes would be dozens of lost probes on
/// Ethernet, and a bound for Ethernet would waste loopback and jumbo links.
pub(crate) fn largest_payload(remote: SocketAddr) -> u16 {
    link_mtu(remote).map_or(PAYLOAD_USUAL, |(mtu, overhead)| {
        let payload = mtu.saturating_sub(overhead);
        u16::try_from(payload.clamp(PAYLOAD_MIN.into(), PAYLOAD_MAX)).unwrap_or(PAYLOAD_USUAL)
    })
}

fn link_mtu(remote: SocketAddr) -> Option<(u32, u32)> {
    let mut remote = remote;
    remote.set_ip(remote.ip().to_canonical());
    if remote.is_ipv4() {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect(remote).ok()?;
        Some((sockopt::ip_mtu(&socket).ok()?, OVERHEAD_V4))
    } else {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect(remote).ok()?;
        Some((sockopt::ipv6_mtu(&socket).ok()?, OVERHEAD_V6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_go_both_ways() {
        for text in ["192.0.2.1", "2001:db8::1", "fe80::1%3"] {
            assert_eq!(show(parse(text, 7).unwrap()), (text.to_string(), 7));
        }
        for text in ["", "example.org", "1.2.3.4%1", "fe80::1%eth0x"] {
            assert!(parse(text, 7).is_none(), "{text}");
        }
    }

    #[test]
    fn mapped_addresses_are_shown_as_ipv4() {
        let mapped = SocketAddr::new("::ffff:192.0.2.1".parse().unwrap(), 9);
        assert_eq!(show(mapped), ("192.0.2.1".into(), 9));
    }

    #[test]
    fn loopback_takes_more_than_ethernet_and_not_all_that_it_could() {
        let largest = largest_payload("127.0.0.1:9".parse().unwrap());
        assert!(largest > 1472);
        assert!(u32::from(largest) <= PAYLOAD_MAX);
    }
}
