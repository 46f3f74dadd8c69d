//! How the API server is reached: by a kubeconfig, or by the service account of the pod that this process runs in.

use http::HeaderValue;
use kube::config::{AuthInfo, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// How long a connection may take. A node has many reasons for a lost SYN, and the next attempt follows soon.
const CONNECT: Duration = Duration::from_secs(5);

/// How the API server is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The path of a kubeconfig, whose current context counts; none for the service account of this process's pod.
    pub kubeconfig: Option<PathBuf>,
}

/// Why there is no client of the API server.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {}: {why}", path.display())]
    Kubeconfig {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        why: KubeconfigError,
    },
    /// The kubeconfig names a file that cannot be read.
    #[error("kubeconfig {}: {field} `{named}`: {why}", path.display())]
    NamedFile {
        /// The path of the kubeconfig.
        path: PathBuf,
        /// The field that names the file.
        field: &'static str,
        /// The file that it names.
        named: String,
        /// Why the file cannot be read.
        why: std::io::Error,
    },
    /// None of the places where kubectl looks has a kubeconfig that can be used.
    #[error("no kubeconfig can be used ($KUBECONFIG, ~/.kube/config): {0}")]
    UserKubeconfig(KubeconfigError),
    /// There is no service account.
    #[error(
        "no kubeconfig is configured, and this process does not run in a pod with a service account: {0}"
    )]
    InCluster(InClusterError),
    /// Certificates or keys are not what TLS needs.
    #[error("the certificates for the API server at {server}: {why}")]
    Tls {
        /// Address of the API server.
        server: String,
        /// What is wrong with them.
        why: kube::Error,
    },
}

/// How a person's command reaches the API server: as kubectl does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserConnection {
    /// The path of a kubeconfig; none for the files of `$KUBECONFIG`, else `~/.kube/config`, else the service account of this
    /// process's pod.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; none for its current context.
    pub context: Option<String>,
}

impl UserConnection {
    /// A client of the API server; sends nothing. Must be called on a tokio runtime, which the client uses.
    pub async fn client(&self) -> Result<Client, ConnectionError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = match &self.kubeconfig {
            Some(path) => read_kubeconfig(path, &options).await?,
            None => Config::from_kubeconfig(&options).await.or_else(|why| match Config::incluster() {
                Ok(config) if options.context.is_none() => Ok(config),
                _ => Err(ConnectionError::UserKubeconfig(why)),
            })?,
        };
        client(config)
    }
}

impl Connection {
    /// A client of the API server; sends nothing. Must be called on a tokio runtime, which the client uses.
    ///
    /// A token that is a file is read again while the client lives, as service accounts need it.
    pub async fn client(&self) -> Result<Client, ConnectionError> {
        client(match &self.kubeconfig {
            Some(path) => read_kubeconfig(path, &KubeConfigOptions::default()).await?,
            None => Config::incluster().map_err(ConnectionError::InCluster)?,
        })
    }
}

fn client(mut config: Config) -> Result<Client, ConnectionError> {
    config.connect_timeout = Some(CONNECT);
    // A watch waits for bookmarks, which come once a minute; every other request has its own deadline.
    config.read_timeout = None;
    // The caller decides what is tried again, and when.
    config.default_retry = false;
    let agent = HeaderValue::from_static(concat!("nexin/", env!("CARGO_PKG_VERSION")));
    config.headers.push((http::header::USER_AGENT, agent));
    let server = config.cluster_url.to_string();
    Client::try_from(config).map_err(|why| ConnectionError::Tls { server, why })
}

async fn read_kubeconfig(path: &Path, options: &KubeConfigOptions) -> Result<Config, ConnectionError> {
    let refused = |why| ConnectionError::Kubeconfig { path: path.to_owned(), why };
    let kubeconfig = Kubeconfig::read_from(path).map_err(refused)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, options).await;
    let config = config.map_err(refused)?;
    check_files(path, &config.auth_info)?;
    Ok(config)
}

/// The client reads a token's file with the first request only, where the error would not name the kubeconfig.
fn check_files(path: &Path, user: &AuthInfo) -> Result<(), ConnectionError> {
    let files = [
        ("tokenFile", &user.token_file),
        ("client-certificate", &user.client_certificate),
        ("client-key", &user.client_key),
    ];
    for (field, named) in files {
        let Some(named) = named else { continue };
        std::fs::File::open(named).map_err(|why| ConnectionError::NamedFile {
            path: path.to_owned(),
            field,
            named: named.clone(),
            why,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "\
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:6443', insecure-skip-tls-verify: true}}]
";

    fn check(name: &str, text: &str, expected: Result<(), &str>) {
        let path = std::env::temp_dir().join(format!("nexin-kubeconfig-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connection = Connection { kubeconfig: Some(path.clone()) };
        let client = runtime.block_on(connection.client()).map(drop).map_err(|error| error.to_string());
        std::fs::remove_file(&path).unwrap();
        let expected = expected.map_err(|why| format!("kubeconfig {}: {why}", path.display()));
        assert_eq!(client, expected);
    }

    #[test]
    fn a_token_or_nothing_is_enough() {
        check("token", &format!("{CLUSTER}users: [{{name: u, user: {{token: abc}}}}]"), Ok(()));
        check("none", &format!("{CLUSTER}users: [{{name: u, user: {{}}}}]"), Ok(()));
    }

    #[test]
    fn a_kubeconfig_that_cannot_be_used_is_named_with_the_reason() {
        let missing = format!("{CLUSTER}users: [{{name: u, user: {{tokenFile: /nonexistent/token}}}}]");
        check(
            "file",
            &missing,
            Err("tokenFile `/nonexistent/token`: No such file or directory (os error 2)"),
        );
        let unknown = CLUSTER.replace("user: u", "user: other") + "users: []";
        check("user", &unknown, Ok(()));
        let context = CLUSTER.replace("current-context: here", "current-context: there");
        check("context", &context, Err("failed to load current context: there"));
    }

    #[test]
    fn without_kubeconfig_and_pod_the_error_says_both() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(Connection::default().client()).map(drop).unwrap_err().to_string();
        assert!(error.starts_with("no kubeconfig is configured, and this process does not run in a pod"));
    }
}
