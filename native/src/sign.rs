//! Signing with a key that the caller holds: one Ed25519 signature, without another crypto library in the process.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The Ed25519 signature (64 bytes) by the key with this seed (32 bytes).
#[pyfunction]
pub(crate) fn ed25519_sign<'py>(
    py: Python<'py>,
    seed: &[u8],
    message: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let key = Ed25519KeyPair::from_seed_unchecked(seed)
        .map_err(|_| PyValueError::new_err("an Ed25519 seed has 32 bytes"))?;
    let signature = py.detach(|| key.sign(message));
    Ok(PyBytes::new(py, signature.as_ref()))
}

/// The public half (32 bytes) of that key.
#[pyfunction]
pub(crate) fn ed25519_public<'py>(py: Python<'py>, seed: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let key = Ed25519KeyPair::from_seed_unchecked(seed)
        .map_err(|_| PyValueError::new_err("an Ed25519 seed has 32 bytes"))?;
    Ok(PyBytes::new(py, key.public_key().as_ref()))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

    #[test]
    fn a_seed_alone_signs() {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = UnparsedPublicKey::new(&ED25519, key.public_key().as_ref().to_vec());
        assert!(
            public
                .verify(b"message", key.sign(b"message").as_ref())
                .is_ok()
        );
    }
}
