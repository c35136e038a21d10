//! The client's judgement of the server's raw public key (RFC 7250).

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::quic::session::{Slot, session_id};

/// Runs under the connection's lock, so it decides from lists that were given before.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) slot: Arc<Slot>,
    pub(crate) schemes: Vec<SignatureScheme>,
    pub(crate) trusted: HashSet<Vec<u8>>,
    pub(crate) revoked: HashSet<Vec<u8>>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = end_entity.as_ref().to_vec();
        let (trusted, revoked) = (self.trusted.contains(&key), self.revoked.contains(&key));
        self.slot.update(|seen| {
            seen.peer_key = key;
            seen.trusted = trusted && !revoked;
            seen.revoked = revoked;
        });
        if revoked {
            return Err(Error::InvalidCertificate(CertificateError::Revoked));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(cert.as_ref());
        let valid = verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)?;
        self.slot
            .update(|seen| seen.session_id = session_id(message));
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
