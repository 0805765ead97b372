//! TLS towards others: the host's certificates count, or those of one file.

use rustls_native_certs::load_native_certs;
use std::{path::Path, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// Encrypts a connection to `host`, whose certificate must be that of this name or address.
///
/// # Errors
/// Why it is not trusted, or what broke.
pub(crate) async fn encrypt(
    stream: TcpStream,
    host: &str,
    ca_file: Option<&Path>,
) -> Result<TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is no name for TLS"))?;
    let config = ClientConfig::builder().with_root_certificates(roots(ca_file)?).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(|e| format!("TLS: {e}"))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let broken = |e: &dyn std::fmt::Display| format!("cannot use {}: {e}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| broken(&e))? {
                roots.add(certificate.map_err(|e| broken(&e))?).map_err(|e| broken(&e))?;
            }
        }
        None => drop(roots.add_parsable_certificates(load_native_certs().certs)),
    }
    if roots.is_empty() {
        return Err("no certificate to trust was found; name a file that holds one".to_owned());
    }
    Ok(roots)
}
