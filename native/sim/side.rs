//! One end of a simulated connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::congestion::ControllerFactory;
use quinn_proto::{
    AckFrequencyConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    Event, StreamEvent, StreamId, TransportConfig, VarInt, WriteError,
};

use super::tls;

/// As the crate's endpoints have it (quic/config.rs).
const ACK_EVERY: u32 = 10;
const ACK_DELAY: Duration = Duration::from_millis(25);
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Segments that are handed to the kernel at once.
const GSO_SEGMENTS: usize = 10;
/// How much may wait in a sender, as in quic/backlog.rs.
const BACKLOG: (u64, u64) = (1 << 20, 32 << 20);
static DATA: [u8; 65536] = [0; 65536];

pub(super) struct Side {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    peer: SocketAddr,
    sends: bool,
    stream: Option<StreamId>,
    /// Bytes that may still be written.
    left: u64,
    pub(super) received: u64,
    pub(super) established: bool,
    /// Why the connection ended before its time.
    pub(super) broken: Option<String>,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn transport(controller: Arc<dyn ControllerFactory + Send + Sync>) -> Arc<TransportConfig> {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY))
        .max_ack_delay(Some(ACK_DELAY));
    let mut config = TransportConfig::default();
    config
        .initial_rtt(INITIAL_RTT)
        .stream_receive_window(VarInt::from_u32(8 << 20))
        .receive_window(VarInt::from_u32(32 << 20))
        .send_window(BACKLOG.0)
        .max_idle_timeout(None)
        .ack_frequency_config(Some(acks))
        .congestion_controller_factory(controller);
    Arc::new(config)
}

fn endpoint(port: u16, server: Option<quinn_proto::ServerConfig>, seed: u64) -> Endpoint {
    let reset = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &port.to_be_bytes());
    let mut config = EndpointConfig::new(Arc::new(reset));
    let mut seeded = [7; 32];
    seeded[..8].copy_from_slice(&seed.to_le_bytes());
    config.rng_seed(Some(seeded));
    Endpoint::new(Arc::new(config), server.map(Arc::new), true, None)
}

impl Side {
    pub(super) fn receiver(
        now: Instant,
        port: u16,
        peer: u16,
        controller: Arc<dyn ControllerFactory + Send + Sync>,
    ) -> Self {
        let mut endpoint = endpoint(port, None, port.into());
        let mut config = tls::client();
        config.transport_config(transport(controller));
        let connection = endpoint
            .connect(now, config, address(peer), "peer")
            .unwrap();
        Self::new(endpoint, Some(connection), peer, false)
    }

    pub(super) fn sender(
        port: u16,
        peer: u16,
        controller: Arc<dyn ControllerFactory + Send + Sync>,
    ) -> Self {
        let mut config = tls::server();
        config.transport_config(transport(controller));
        let endpoint = endpoint(port, Some(config), port.into());
        Self::new(endpoint, None, peer, true)
    }

    fn new(
        endpoint: Endpoint,
        connection: Option<(ConnectionHandle, Connection)>,
        peer: u16,
        sends: bool,
    ) -> Self {
        Self {
            endpoint,
            connection,
            peer: address(peer),
            sends,
            stream: None,
            left: 0,
            received: 0,
            established: false,
            broken: None,
        }
    }

    /// Lets a sender write so many more bytes.
    pub(super) fn allow(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(bytes);
    }

    pub(super) fn wakes_at(&mut self) -> Option<Instant> {
        self.connection.as_mut()?.1.poll_timeout()
    }

    pub(super) fn wake(&mut self, now: Instant) {
        if let Some((_, connection)) = &mut self.connection {
            connection.handle_timeout(now);
        }
    }

    /// Packets sent and declared lost, the congestion window in bytes.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        self.connection.as_ref().map_or((0, 0, 0), |(_, c)| {
            let path = c.stats().path;
            (path.sent_packets, path.lost_packets, path.cwnd)
        })
    }

    pub(super) fn arrive(&mut self, now: Instant, data: &[u8]) {
        let mut answer = Vec::new();
        let data = BytesMut::from(data);
        match self
            .endpoint
            .handle(now, self.peer, None, None, data, &mut answer)
        {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.endpoint.accept(incoming, now, &mut answer, None);
                self.connection = Some(accepted.map_err(|e| e.cause).unwrap());
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    /// Does what there is to do; gives the datagrams to send.
    pub(super) fn drive(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        let Some((handle, connection)) = &mut self.connection else {
            return;
        };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        let mut readable = false;
        while let Some(event) = connection.poll() {
            match event {
                Event::Connected => self.established = true,
                Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                    self.stream = connection.streams().accept(Dir::Uni);
                    readable = true;
                }
                Event::Stream(StreamEvent::Readable { .. }) => readable = true,
                Event::ConnectionLost { reason } => self.broken = Some(reason.to_string()),
                _ => {}
            }
        }
        if self.sends && self.established && self.broken.is_none() {
            let stream = *self
                .stream
                .get_or_insert_with(|| connection.streams().open(Dir::Uni).unwrap());
            let window = connection.stats().path.cwnd;
            connection.set_send_window((4 * window).clamp(BACKLOG.0, BACKLOG.1));
            while self.left > 0 {
                let some = DATA.len().min(self.left.try_into().unwrap_or(usize::MAX));
                match connection.send_stream(stream).write(&DATA[..some]) {
                    Ok(written) => self.left -= written as u64,
                    Err(WriteError::Blocked) => break,
                    Err(e) => panic!("{e}"),
                }
            }
        }
        if let (true, Some(stream), None) = (readable, self.stream, &self.broken) {
            let mut received = connection.recv_stream(stream);
            let mut chunks = received.read(true).unwrap();
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                self.received += chunk.bytes.len() as u64;
            }
            let _ = chunks.finalize();
        }
        loop {
            let mut buffer = Vec::new();
            let Some(transmit) = connection.poll_transmit(now, GSO_SEGMENTS, &mut buffer) else {
                break;
            };
            let size = transmit.segment_size.unwrap_or(transmit.size);
            out.extend(buffer[..transmit.size].chunks(size).map(<[u8]>::to_vec));
        }
    }
}
