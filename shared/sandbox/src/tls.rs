//! The sandbox's own certificate: made anew at each start, trusted by nobody who does not ask for it.

use std::sync::Arc;

use bytes::Bytes;
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::SandboxError;

/// A certificate and what answers with it.
pub(crate) struct Identity {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) certificate: Bytes,
}

/// Makes a self-signed certificate for these host names.
pub(crate) fn identity(names: Vec<String>) -> Result<Identity, SandboxError> {
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let certificate = Bytes::copy_from_slice(made.cert.der());
    // Named, since which provider is the process's default is not ours to decide.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(Identity { acceptor: TlsAcceptor::from(Arc::new(config)), certificate })
}
