//! The node's own TLS: which certificate it shows, and that a new one is taken without a restart.
//! Never a connection: see `doors` and `transport`.

use crate::config::Gateway;
use actors::clock::Clock;
use anyhow::{Context as _, anyhow};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The keys that name the two files.
const CERTIFICATE: &str = "gateway.tls_certificate";
const KEY: &str = "gateway.tls_key";
/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The certificate that is shown, and where it comes from.
#[derive(Debug)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads what the settings name; `None` where they name nothing.
    ///
    /// # Errors
    /// Which setting's file cannot be used, and why.
    pub fn open(gateway: &Gateway) -> anyhow::Result<Option<Arc<Certificate>>> {
        if gateway.tls_certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let (certificate, key) = (gateway.tls_certificate.clone(), gateway.tls_key.clone());
        let current = RwLock::new(Arc::new(read(&certificate, &key)?));
        Ok(Some(Arc::new(Certificate { certificate, key, current })))
    }

    /// Reads the files again, and shows from now on what is in them. What cannot be used changes nothing: a
    /// certificate may be there before its key.
    pub fn read_again(&self) {
        match read(&self.certificate, &self.key) {
            Ok(found) if found.cert == self.current.read().cert => {}
            Ok(found) => {
                *self.current.write() = Arc::new(found);
                tracing::info!(file = %self.certificate.display(), "a new certificate is shown from now on");
            }
            Err(error) => tracing::warn!("the certificate stays as it was: {error:#}"),
        }
    }

    /// Looks at the files from time to time, forever.
    pub async fn keep_fresh(self: Arc<Self>, clock: Arc<dyn Clock>) {
        loop {
            clock.sleep(LOOK_EVERY).await;
            let certificate = self.clone();
            // Files may be on something slow, and this thread has more to do.
            let _ = tokio::task::spawn_blocking(move || certificate.read_again()).await;
        }
    }

    /// How connections are met: TLS 1.2 and 1.3, HTTP/1.1, and tickets, so that whoever comes back need not
    /// negotiate anew.
    ///
    /// # Errors
    /// Only what the library makes impossible.
    pub fn server_config(self: &Arc<Self>) -> anyhow::Result<Arc<ServerConfig>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = versions.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().clone())
    }
}

fn read(certificate: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let named = |setting: &str, file: &Path| format!("{setting}: {}", file.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| if chain.is_empty() { Err(PemError::NoItemsFound) } else { Ok(chain) })
        .map_err(|error| anyhow!(sentence(&error, "certificate")))
        .with_context(|| named(CERTIFICATE, certificate))?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| anyhow!(sentence(&error, "private key")))
        .with_context(|| named(KEY, key))?;
    let signing = aws_lc_rs::sign::any_supported_type(&secret)
        .map_err(|_| anyhow!("its private key is none that can be used: RSA, ECDSA (P-256, P-384, P-521) or Ed25519"))
        .with_context(|| named(KEY, key))?;
    let both = CertifiedKey::new(chain, signing);
    match both.keys_match() {
        Ok(()) => Ok(both),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(anyhow!("it is not the key of the certificate in {}", certificate.display()))
                .with_context(|| named(KEY, key))
        }
        Err(error) => Err(anyhow!("its first certificate cannot be read: {error}"))
            .with_context(|| named(CERTIFICATE, certificate)),
    }
}

/// What is wrong with a file, for whoever has to mend it.
fn sentence(error: &PemError, wanted: &str) -> String {
    match error {
        PemError::Io(error) => format!("it cannot be read: {error}"),
        PemError::NoItemsFound => format!("there is no {wanted} in it; it must be a PEM file"),
        error => format!("it is no whole PEM file: {error}"),
    }
}
