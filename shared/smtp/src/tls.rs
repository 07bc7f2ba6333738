//! TLS as a mail client needs it: opportunistic takes any certificate and still says whether it verified; verify
//! takes only one that WebPKI and the MX name vouch for.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use crate::{Peer, TlsMode};

/// Built once, shared by all connections.
pub struct TlsContext {
    verifying: Arc<ClientConfig>,
    /// Its verifier is replaced for each connection by a [`Witness`].
    accepting: ClientConfig,
    webpki: Arc<WebPkiServerVerifier>,
}

impl fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsContext").finish_non_exhaustive()
    }
}

/// Why no context could be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsContextError {
    /// The extra roots are no PEM certificates.
    #[error("extra roots: {0}")]
    Roots(String),
    /// The cryptography provider offers none of the protocol versions.
    #[error("TLS provider: {0}")]
    Provider(String),
}

/// What a handshake gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// What is known of the certificate.
    pub trust: Trust,
}

/// Whether WebPKI and the MX name vouch for the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// They do.
    Verified,
    /// They do not; encrypted all the same.
    Unverified {
        /// For people; not to be parsed.
        why: String,
    },
}

impl Trust {
    /// Whether they do.
    pub fn is_verified(&self) -> bool {
        matches!(self, Self::Verified)
    }
}

impl TlsContext {
    /// With Mozilla's roots and those in `extra_roots_pem`, which may be empty.
    pub fn new(extra_roots_pem: &[u8]) -> Result<Self, TlsContextError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in CertificateDer::pem_slice_iter(extra_roots_pem) {
            let certificate = certificate.map_err(|e| TlsContextError::Roots(e.to_string()))?;
            roots.add(certificate).map_err(|e| TlsContextError::Roots(e.to_string()))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|e| TlsContextError::Provider(e.to_string()))?;
        let verifying = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsContextError::Provider(e.to_string()))?
            .with_webpki_verifier(Arc::clone(&webpki))
            .with_no_client_auth();
        let mut accepting = verifying.clone();
        // A resumed session shows no certificate, and what it proved would be unknown.
        accepting.resumption = Resumption::disabled();
        Ok(Self { verifying: Arc::new(verifying), accepting, webpki })
    }

    pub(crate) fn connector(&self, mode: TlsMode) -> (TlsConnector, Judge) {
        if mode == TlsMode::Verify {
            return (TlsConnector::from(Arc::clone(&self.verifying)), Judge::Handshake);
        }
        let witness = Arc::new(Witness { webpki: Arc::clone(&self.webpki), doubt: Mutex::new(None) });
        let mut config = self.accepting.clone();
        config.dangerous().set_certificate_verifier(Arc::<Witness>::clone(&witness));
        (TlsConnector::from(Arc::new(config)), Judge::Witness(witness))
    }
}

/// The name for SNI and the certificate. An MX that is no DNS name gets its address: nothing will vouch for that.
pub(crate) fn server_name(peer: &Peer) -> ServerName<'static> {
    ServerName::try_from(peer.host.trim_end_matches('.').to_owned())
        .unwrap_or_else(|_| address_name(peer.addr))
}

fn address_name(addr: SocketAddr) -> ServerName<'static> {
    ServerName::IpAddress(addr.ip().into())
}

/// Who knows, once a handshake is done, whether the certificate verified.
pub(crate) enum Judge {
    /// It would have failed otherwise.
    Handshake,
    /// Whoever watched it.
    Witness(Arc<Witness>),
}

impl Judge {
    pub(crate) fn facts(&self, session: &rustls::ClientConnection) -> TlsFacts {
        TlsFacts {
            version: match session.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLS",
            },
            cipher: session
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown")
                .to_owned(),
            trust: match self {
                Self::Handshake => Trust::Verified,
                Self::Witness(witness) => witness.verdict(),
            },
        }
    }
}

/// Accepts any certificate and remembers what WebPKI would have said. Signatures count too: somebody else's
/// certificate, shown without its key, is no proof of anything.
#[derive(Debug)]
pub(crate) struct Witness {
    webpki: Arc<WebPkiServerVerifier>,
    doubt: Mutex<Option<String>>,
}

impl Witness {
    fn verdict(&self) -> Trust {
        match self.doubt.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            None => Trust::Verified,
            Some(why) => Trust::Unverified { why },
        }
    }

    fn heed<T>(&self, result: Result<T, rustls::Error>, assumed: T) -> Result<T, rustls::Error> {
        if let Err(error) = result {
            self.doubt.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
        }
        Ok(assumed)
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let result =
            self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        self.heed(result, ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.heed(
            self.webpki.verify_tls12_signature(message, cert, dss),
            HandshakeSignatureValid::assertion(),
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.heed(
            self.webpki.verify_tls13_signature(message, cert, dss),
            HandshakeSignatureValid::assertion(),
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
