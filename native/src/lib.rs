//! `qsh._native`: QUIC and descriptor splicing for qsh. The contract is `qsh/_native.pyi`.
#![deny(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod confine;
mod congestion;
mod error;
mod gulp;
mod image;
mod look;
mod peel;
mod pour;
mod quic;
mod raw;
mod runtime;
mod sign;
mod splice;
mod vt;

use pyo3::prelude::*;

const VERSION: &str = "quinn 0.11.12 rustls 0.23.46";

/// The versions of the engine's parts.
#[pyfunction]
fn version() -> &'static str {
    VERSION
}

/// Draw the first random bytes on a native thread (slow only where aws-lc has jitter entropy).
#[pyfunction]
fn warm_up() -> PyResult<()> {
    std::thread::Builder::new()
        .name("qsh-warm-up".into())
        .spawn(|| {
            let mut bytes = [0u8; 32];
            let _ = aws_lc_rs::rand::fill(&mut bytes);
        })
        .map(drop)
        .map_err(PyErr::from)
}

#[pymodule]
fn _native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<runtime::Runtime>()?;
    m.add_class::<image::Image>()?;
    m.add_class::<image::Pages>()?;
    m.add_class::<quic::signer::Signer>()?;
    m.add_class::<quic::endpoint::Endpoint>()?;
    m.add_class::<quic::incoming::Incoming>()?;
    m.add_class::<quic::connection::Connection>()?;
    m.add_class::<quic::send::SendStream>()?;
    m.add_class::<quic::recv::RecvStream>()?;
    m.add_class::<quic::udp::UdpListener>()?;
    vt::py::register(m)?;
    m.add_function(wrap_pyfunction!(version, m)?)?;
    m.add_function(wrap_pyfunction!(warm_up, m)?)?;
    m.add_function(wrap_pyfunction!(confine::drop_bounding_set, m)?)?;
    m.add_function(wrap_pyfunction!(confine::confine, m)?)?;
    m.add_function(wrap_pyfunction!(confine::refuse_rare_calls, m)?)?;
    m.add_function(wrap_pyfunction!(sign::ed25519_public, m)?)?;
    m.add_function(wrap_pyfunction!(sign::ed25519_sign, m)?)?;
    m.add_function(wrap_pyfunction!(gulp::gulp, m)?)?;
    m.add_function(wrap_pyfunction!(pour::pour, m)?)?;
    m.add_function(wrap_pyfunction!(look::look, m)?)?;
    m.add_function(wrap_pyfunction!(look::wait, m)?)?;
    m.add_function(wrap_pyfunction!(peel::peel, m)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn version_is_what_cargo_locked() {
        let lock = include_str!("../Cargo.lock");
        for pair in super::VERSION.split(' ').collect::<Vec<_>>().chunks(2) {
            let entry = format!("name = \"{}\"\nversion = \"{}\"", pair[0], pair[1]);
            assert!(lock.contains(&entry), "{entry}");
        }
    }
}
