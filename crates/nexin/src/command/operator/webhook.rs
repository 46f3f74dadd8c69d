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
        None => WebhookServer::start(settings.webhook_port, config, health.clone())?,
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
    fn start(port: u16, config: Arc<ServerConfig>, health: Arc<OperatorHealth>) -> anyhow::Result<Arc<Self>> {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .with_context(|| format!("port {port} of the webhook"))?;
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
