//! The webhook that reviews policies: TLS with its own certificate, which the API server gets to trust.

use super::certificate::{self, Certificate};
use super::definitions::WRITER;
use super::health::OperatorHealth;
use super::http::{self, Answer};
use super::settings::OperatorSettings;
use ::operator::admission;
use anyhow::Context;
use delivery::access::OPERATOR_NAME;
use kubernetes::{Client, ObjectRequest, exchange};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use std::io;
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

/// How often the certificate is looked at, and after a failure.
const CHECK: Duration = Duration::from_secs(600);
const RETRY: Duration = Duration::from_secs(10);
/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most connections at a time; the API servers keep a few open.
const MAX_CONNECTIONS: usize = 64;

/// Keeps the webhook in service, until the process ends.
pub(super) async fn keep(client: Client, settings: Arc<OperatorSettings>, health: Arc<OperatorHealth>) {
    let mut served: Option<(Certificate, Arc<WebhookServer>)> = None;
    loop {
        let wait = match serve(&client, &settings, &health, &mut served).await {
            Ok(()) => CHECK,
            Err(error) => {
                tracing::warn!("policies are not reviewed when they are submitted: {error:#}");
                RETRY
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn serve(
    client: &Client,
    settings: &OperatorSettings,
    health: &Arc<OperatorHealth>,
    served: &mut Option<(Certificate, Arc<WebhookServer>)>,
) -> anyhow::Result<()> {
    let certificate = certificate::current(client, settings).await?;
    let config = certificate.server()?;
    let server = match served.take() {
        Some((_, server)) => {
            *server.config.write().unwrap_or_else(PoisonError::into_inner) = config;
            server
        }
        None => {
            let port = settings.webhook_port;
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                .with_context(|| format!("port {port} of the webhook"))?;
            WebhookServer::start(listener, config, health.clone())?
        }
    };
    let bundle = certificate.bundle();
    *served = Some((certificate, server));
    let trust = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": OPERATOR_NAME},
        "webhooks": [{"name": delivery::WEBHOOK_NAME, "clientConfig": {"caBundle": bundle}}],
    });
    let path =
        format!("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{OPERATOR_NAME}");
    exchange(client, &path, ObjectRequest::Apply(&trust, WRITER)).await?;
    Ok(())
}

/// The server, on threads of its own: one that accepts, and one for each connection.
#[derive(Debug)]
struct WebhookServer {
    config: RwLock<Arc<ServerConfig>>,
    connections: AtomicUsize,
    health: Arc<OperatorHealth>,
}

impl WebhookServer {
    fn start(
        listener: TcpListener,
        config: Arc<ServerConfig>,
        health: Arc<OperatorHealth>,
    ) -> io::Result<Arc<Self>> {
        let server = Arc::new(Self { config: RwLock::new(config), connections: AtomicUsize::new(0), health });
        let accepting = server.clone();
        thread::Builder::new().name("webhook".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                accepting.accept(stream);
            }
        })?;
        Ok(server)
    }

    fn accept(self: &Arc<Self>, stream: TcpStream) {
        if self.connections.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
            self.connections.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let server = self.clone();
        let spawned = thread::Builder::new().name("review".into()).spawn(move || {
            let _ = server.exchanges(stream);
            server.connections.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            self.connections.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Serves a connection until it ends.
    fn exchanges(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        while http::serve_one(&mut stream, &|path, body| self.review(path, body))? {}
        stream.conn.send_close_notify();
        stream.conn.complete_io(&mut stream.sock).map(drop)
    }

    fn review(&self, path: &str, body: &[u8]) -> Answer {
        if path != "/review" {
            return Answer::absent();
        }
        match admission::review(&String::from_utf8_lossy(body)) {
            Ok(review) => {
                self.health.reviews.fetch_add(1, Ordering::Relaxed);
                if !review.is_allowed {
                    self.health.refused_reviews.fetch_add(1, Ordering::Relaxed);
                }
                Answer::json(review.answer)
            }
            Err(error) => Answer::bad(format!("{error}\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use std::io::{Read, Write};

    /// One exchange on the stream: the body of the answer.
    fn exchange(stream: &mut (impl Read + Write), body: &str) -> String {
        let head =
            format!("POST /review?timeout=2s HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = Vec::new();
        loop {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).unwrap();
            answer.extend_from_slice(&piece[..length]);
            let text = String::from_utf8_lossy(&answer).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                return body.to_owned();
            }
        }
    }

    #[test]
    fn a_client_that_trusts_the_bundle_gets_reviews_on_one_connection() {
        let now = Duration::from_secs(1_800_000_000);
        let certificate = Certificate::new("nexin", now).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let health = Arc::new(OperatorHealth::default());
        let _server = WebhookServer::start(listener, certificate.server().unwrap(), health.clone()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("nexin-operator.nexin.svc").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
        let review = |object: &str| format!(r#"{{"request": {{"uid": "1", "object": {object}}}}}"#);
        let wrong = r#"{"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "p"}, "spec": {}}"#;
        let refused = exchange(&mut stream, &review(wrong));
        assert!(
            refused.contains(r#""allowed":false"#) && refused.contains("`endpointSelector` is missing"),
            "{refused}"
        );
        let admitted = exchange(&mut stream, &review("null"));
        assert!(admitted.contains(r#""allowed":true"#), "{admitted}");
        assert_eq!(health.refused_reviews.load(Ordering::Relaxed), 1);
    }
}
