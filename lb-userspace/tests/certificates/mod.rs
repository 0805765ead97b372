//! Certificates of tests: an authority, and those it signs.
#![allow(dead_code, reason = "every test binary uses its own part")]

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

/// Somebody whose signature is trusted, or not.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its key, in PEM.
pub(crate) struct Signed {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    /// One of its own name: clients look for an authority by that first.
    pub(crate) fn new(name: &str) -> Result<Authority> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Authority { issuer: Issuer::new(params, key), certificate })
    }

    /// A certificate for this name or address.
    pub(crate) fn sign(&self, name: &str) -> Result<Signed> {
        self.sign_with(&CertificateParams::new([name.to_owned()])?)
    }

    /// The same, but its time is over.
    pub(crate) fn sign_expired(&self, name: &str) -> Result<Signed> {
        let mut params = CertificateParams::new([name.to_owned()])?;
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.sign_with(&params)
    }

    fn sign_with(&self, params: &CertificateParams) -> Result<Signed> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Signed { certificate, key: key.serialize_pem() })
    }

    /// Writes its own certificate into a folder.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        write(folder, name, 0o644, &self.certificate)
    }

    /// What a client believes that trusts it alone.
    pub(crate) fn trusted(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes())?)?;
        Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
    }
}

impl Signed {
    /// What a server shows with it.
    pub(crate) fn shown(&self) -> Result<Arc<ServerConfig>> {
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())?;
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
        Ok(Arc::new(config))
    }
}

/// Encrypts a connection to this name or address.
pub(crate) fn encrypt(
    stream: TcpStream,
    config: &Arc<ClientConfig>,
    name: &str,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(name.to_owned())?;
    Ok(StreamOwned::new(ClientConnection::new(config.clone(), name)?, stream))
}

/// Writes a file of this mode.
pub(crate) fn write(folder: &Path, name: &str, mode: u32, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    Ok(path)
}
