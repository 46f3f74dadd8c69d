//! The certificate of the webhook: made here, kept in a Secret that all operators share, made again before it expires.

use super::settings::OperatorSettings;
use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use delivery::access::OPERATOR_NAME;
use kubernetes::{Client, ObjectRequest, exchange};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a certificate is valid, and how long before its end another one is made.
const VALID: Duration = Duration::from_secs(365 * 86_400);
const RENEWED_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// The annotation of the Secret with the end of the certificate, in seconds since 1970.
const NOT_AFTER: &str = "nexin.io/not-after";

/// A certificate that signs itself, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pem: String,
    key: String,
    not_after: u64,
}

impl Certificate {
    /// A certificate for the Service of the namespace.
    pub(super) fn new(namespace: &str, now: Duration) -> Result<Self, rcgen::Error> {
        let service = format!("{OPERATOR_NAME}.{namespace}.svc");
        let mut parameters = rcgen::CertificateParams::new(vec![service])?;
        let end = now + VALID;
        parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
        let key = rcgen::KeyPair::generate()?;
        let pem = parameters.self_signed(&key)?.pem();
        Ok(Self { pem, key: key.serialize_pem(), not_after: end.as_secs() })
    }

    /// What the API server trusts.
    pub(super) fn bundle(&self) -> String {
        STANDARD.encode(&self.pem)
    }

    /// The server's side of TLS.
    pub(super) fn server(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let certificate = self.der().context("certificate")?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).context("key")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_no_client_auth().with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// The certificate alone.
    pub(super) fn der(&self) -> Result<CertificateDer<'static>, rustls::pki_types::pem::Error> {
        CertificateDer::from_pem_slice(self.pem.as_bytes())
    }

    fn secret(&self, namespace: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {
                "name": OPERATOR_NAME,
                "namespace": namespace,
                "annotations": {NOT_AFTER: self.not_after.to_string()},
            },
            "data": {"tls.crt": STANDARD.encode(&self.pem), "tls.key": STANDARD.encode(&self.key)},
        })
    }

    /// The certificate of a Secret; none for a Secret of another form.
    fn from_secret(secret: &Value) -> Option<Self> {
        let text =
            |field: &str| String::from_utf8(STANDARD.decode(secret["data"][field].as_str()?).ok()?).ok();
        let not_after = secret["metadata"]["annotations"][NOT_AFTER].as_str()?.parse().ok()?;
        Some(Self { pem: text("tls.crt")?, key: text("tls.key")?, not_after })
    }

    fn is_fresh(&self, now: Duration) -> bool {
        Duration::from_secs(self.not_after).saturating_sub(now) > RENEWED_BEFORE
    }
}

/// The certificate in the Secret, which is made if there is none or it expires soon.
pub(super) async fn current(client: &Client, settings: &OperatorSettings) -> anyhow::Result<Certificate> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let namespace = &settings.namespace;
    let collection = format!("/api/v1/namespaces/{namespace}/secrets");
    let path = format!("{collection}/{OPERATOR_NAME}");
    let kept = match exchange(client, &path, ObjectRequest::Read).await {
        Ok(secret) => Some(secret),
        Err(error) if error.is_absent() => None,
        Err(error) => return Err(error.into()),
    };
    let usable = kept.as_ref().and_then(Certificate::from_secret).filter(|kept| kept.is_fresh(now));
    if let Some(usable) = usable {
        return Ok(usable);
    }
    let new = Certificate::new(namespace, now)?;
    let mut secret = new.secret(namespace);
    // Of two operators that write at once the second one fails, and reads the Secret of the first one next time.
    match kept {
        Some(kept) => {
            secret["metadata"]["resourceVersion"] = kept["metadata"]["resourceVersion"].clone();
            exchange(client, &path, ObjectRequest::Replace(&secret)).await?;
        }
        None => drop(exchange(client, &collection, ObjectRequest::Create(&secret)).await?),
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_comes_back_from_its_secret_and_is_renewed_in_time() {
        let now = Duration::from_secs(1_800_000_000);
        let new = Certificate::new("nexin", now).unwrap();
        assert!(new.server().is_ok());
        let kept = Certificate::from_secret(&new.secret("nexin")).unwrap();
        assert_eq!(kept, new);
        assert!(kept.is_fresh(now + VALID - RENEWED_BEFORE - Duration::from_secs(1)));
        assert!(!kept.is_fresh(now + VALID - RENEWED_BEFORE));
        assert_eq!(Certificate::from_secret(&json!({"data": {}})), None);
    }
}
