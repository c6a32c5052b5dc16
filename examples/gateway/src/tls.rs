//! TLS towards clients: [`config`].

use std::{fs, io, path::Path, sync::Arc};

use futures_rustls::rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// A certificate with its chain, and its key, each from a PEM file. HTTP/2 for clients that ask for
/// it.
///
/// # Errors
///
/// If a file cannot be read or is invalid; the error has its path.
pub fn config(certificates: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificates)?).collect();
    let chain = chain.map_err(|error| invalid(certificates, error))?;
    let private =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| invalid(key, error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| invalid(certificates, error))?;
    let config = builder
        .with_no_client_auth()
        .with_single_cert(chain, private);
    let mut config = config.map_err(|error| invalid(certificates, error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|error| {
        let problem = format!("{}: {error}", path.display());
        io::Error::new(error.kind(), problem)
    })
}

fn invalid(path: &Path, error: impl std::fmt::Display) -> io::Error {
    let problem = format!("{}: {error}", path.display());
    io::Error::new(io::ErrorKind::InvalidData, problem)
}
