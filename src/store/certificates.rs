//! Trusted server certificates: those that an authority signed, or that the user's own bundle contains.
//!
//! `openssl req -x509` makes a certificate that is an authority and a server's at once, and people name it by
//! `AWS_CA_BUNDLE`. `webpki` refuses an authority as a server, but OpenSSL, curl and Go accept it. So a
//! certificate that is in the bundle, byte for byte, is accepted whoever signed it. The host name and the dates
//! must still be valid, and the server must prove that it has the key.
//!
//! A container `FROM scratch`, or a bare Debian, has no authorities. There Mozilla's, which are compiled in,
//! are used.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_platform_verifier::Verifier;

use super::net;

/// Authorities to use if the system has none.
pub const MOZILLA: &[CertificateDer<'static>] = webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// Parses the certificates in `pem`.
///
/// # Errors
/// One is malformed.
pub fn parse(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

/// A TLS configuration that trusts the system's authorities, those in `own`, and servers that present one of
/// `own`.
///
/// # Errors
/// One of `own` is not a certificate.
pub fn config(own: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let usual = Verifier::new_with_extra_roots(own.iter().cloned(), Arc::clone(&provider))?;
    Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Bundled { usual, own, provider }))
        .with_no_client_auth())
}

/// Whether the system has no authorities, and the environment names no others. Checked once: a system has some
/// hundred certificates in files.
pub fn are_missing() -> bool {
    static MISSING: OnceLock<bool> = OnceLock::new();
    *MISSING.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        !has_said_whom() && Verifier::new(provider).is_err()
    })
}

/// A TLS configuration that trusts Mozilla's authorities.
///
/// # Errors
/// None of them can be parsed.
pub fn of_mozilla() -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(MOZILLA.iter().cloned());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Whether the environment names a replacement for the system's authorities: a wrong name must not make us
/// trust others.
fn has_said_whom() -> bool {
    let environment = net::environment();
    ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| net::find(&environment, name).is_some())
}

/// See the module.
#[derive(Debug)]
struct Bundled {
    usual: Verifier,
    own: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Bundled {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let usual = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match usual {
            Err(error) if is_about_signer(&error) && self.own.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            told => told,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a certificate is refused because of its signer, or for being an authority. `webpki` checks the dates
/// before either.
fn is_about_signer(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.to_string().contains("CaUsedAsEndEntity")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Made by `openssl req -x509 -subj /CN=localhost -addext subjectAltName=DNS:localhost`: an authority,
    /// valid from 2024 to 2034.
    const OWN: &[u8] = b"-----BEGIN CERTIFICATE-----
MIIBPzCB5qADAgECAgEHMAoGCCqGSM49BAMCMBQxEjAQBgNVBAMMCWxvY2FsaG9z
dDAeFw0yNDAxMDEwMDAwMDBaFw0zNDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMMCWxv
Y2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBMysdxQIfd6UdrL4zKr
SDXCF7reIMHXliwS7y4bpMaiLHss+/dWbjSH+M5FM0Dkf8ZjMAqKONlDpvyUNmWc
+6WjKTAnMBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCIQD4mGE4DXeeAaO7Ajx9FPzUgybVRTT6fBZR4qR0DfTI
WgIgcHAmwOGg2RCq+FpZH+J/MnvIcwhbWq+HiJvrl7se4EE=
-----END CERTIFICATE-----
";

    /// 2026-01-01, in seconds since 1970, and 2040-01-01.
    const NOW: u64 = 1_767_225_600;
    const LATE: u64 = 2_208_988_800;

    fn shown(bundle: &[u8], host: &'static str, now: u64) -> Result<(), Error> {
        let own = parse(bundle).expect("certificates");
        let end_entity = parse(OWN).expect("one").remove(0);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let usual = Verifier::new_with_extra_roots(own.iter().cloned(), Arc::clone(&provider))?;
        let name = ServerName::try_from(host).expect("a name");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let bundled = Bundled { usual, own, provider };
        bundled.verify_server_cert(&end_entity, &[], &name, &[], now).map(|_| ())
    }

    #[test]
    fn those_of_mozilla_are_read() {
        let mut roots = RootCertStore::empty();
        let (read, left) = roots.add_parsable_certificates(MOZILLA.iter().cloned());
        assert!(read > 50 && left == 0, "{read} were read, {left} not");
        assert!(of_mozilla().is_ok());
    }

    #[test]
    fn a_certificate_of_the_bundle_is_taken_for_its_host_and_its_time() {
        assert_eq!(shown(OWN, "localhost", NOW), Ok(()));
        let wrong_host = shown(OWN, "other.example", NOW).unwrap_err().to_string();
        assert!(wrong_host.contains("not valid for name"), "{wrong_host}");
        let late = shown(OWN, "localhost", LATE).unwrap_err().to_string();
        assert!(late.contains("expired"), "{late}");
    }

    #[test]
    fn no_other_is_taken() {
        let error = shown(b"", "localhost", NOW).unwrap_err();
        assert!(is_about_signer(&error), "{error}");
    }
}
