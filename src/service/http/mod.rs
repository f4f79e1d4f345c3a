//! The service over HTTP: health, metrics, the API and its page, live events.
//!
//! It runs on a thread of its own, below the priority of the lanes, and every wait and size in it has a limit: whatever
//! clients do, pipelines don't feel it. It reads the [`Board`](super::Board) and the ledgers, and orders through the
//! [`Fleet`](super::Fleet); it owns nothing.

mod answer;
mod api;
mod events;
mod guard;
mod pace;
mod reading;
mod view;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::{Server as Running, ServerHandle};
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::Semaphore;
use utoipa::OpenApi as _;
use utoipa_swagger_ui::SwaggerUi;

use super::board::Board;
use super::fleet::Fleet;
use super::metrics::Metrics;
use crate::base::codes::{Code, Coded};
use crate::settings::{Http, Service, secret};

pub use api::openapi;

/// How long the head of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may rest between two requests.
const REST: Duration = Duration::from_secs(15);
/// How long a client may take to take a connection's end.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long an answer may wait in the system until a client takes some of it.
const TAKEN_WITHIN: Duration = Duration::from_secs(20);
/// Connections at the same time; more wait in the system's queue, which is as long.
const CONNECTIONS: usize = 256;
/// Threads that read ledgers and files for answers.
const READERS: usize = 2;
/// Live streams at the same time.
const STREAMS: usize = 16;
/// By how much this is nicer than the lanes to others: the most there is, a hundredth of a core that both want.
const NICER: i32 = 19;

/// What every handler may use.
pub(super) struct Context {
    pub(super) board: Board,
    pub(super) fleet: Addr<Fleet>,
    pub(super) metrics: Metrics,
    pub(super) settings: Service,
    pub(super) streams: Arc<Semaphore>,
    /// Whose turn it is to read a dataset.
    pub(super) reading: Semaphore,
}

/// The server, bound to its address.
pub struct Server {
    running: Running,
    address: SocketAddr,
    tls: bool,
}

/// Why it can't answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is taken, or isn't this machine's.
    #[error("cannot listen on {address}: {cause}; set http.listen to a free one, or to \"\" for none")]
    Bind {
        /// `http.listen`
        address: SocketAddr,
        /// The system's error.
        #[source]
        cause: std::io::Error,
    },
    /// The key's file is no secret, or can't be read.
    #[error("http.tls_key: {reason}; {help}")]
    Key {
        /// What is wrong with it.
        reason: String,
        /// What to do.
        help: String,
    },
    /// The certificate or key can't be used.
    #[error("{setting} {} can't be used: {reason}; it must be a PEM file", path.display())]
    Tls {
        /// The setting.
        setting: &'static str,
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Coded for HttpError {
    fn code(&self) -> Code {
        match self {
            HttpError::Bind { .. } => Code::HttpNotBound,
            HttpError::Key { .. } => Code::HttpKey,
            HttpError::Tls { .. } => Code::HttpTls,
        }
    }
}

impl Server {
    /// Binds the address and begins to answer, on the current actix system.
    ///
    /// # Errors
    /// When the address or the certificate can't be used.
    pub fn bind(http: &Http, settings: &Service, board: Board, fleet: Addr<Fleet>) -> Result<Self, HttpError> {
        let context = web::Data::new(Context {
            metrics: Metrics::new(board.clone(), settings),
            board,
            fleet,
            settings: settings.clone(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            reading: Semaphore::new(1),
        });
        let guard = web::Data::new(guard::Guard::new(http));
        let server = HttpServer::new(move || {
            // Only this thread, and those that it makes, are nicer.
            if let Err(error) = rustix::process::nice(NICER) {
                tracing::debug!(%error, "the service's thread keeps its priority");
            }
            App::new()
                .app_data(context.clone())
                .app_data(guard.clone())
                .wrap(actix_web::middleware::from_fn(guard::check))
                .configure(api::routes)
                .service(SwaggerUi::new("/docs/{_:.*}").url("/openapi.json", api::Api::openapi()))
                .default_service(web::to(api::nothing_here))
        });
        let server = server
            .workers(1)
            .worker_max_blocking_threads(READERS)
            .max_connections(CONNECTIONS)
            .backlog(u32::try_from(CONNECTIONS).expect("it is a small number"))
            .client_request_timeout(HEAD_WITHIN)
            .client_disconnect_timeout(GOODBYE)
            .keep_alive(REST)
            .shutdown_timeout(GOODBYE.as_secs())
            .on_connect(|connection, _| {
                if let Some(stream) = connection.downcast_ref::<TcpStream>() {
                    limit(stream);
                } else if let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() {
                    limit(stream.get_ref().0);
                }
            })
            .disable_signals();
        let bind = |cause| HttpError::Bind { address: http.listen, cause };
        let server = match &http.tls {
            Some((certificate, key)) => server.bind_rustls_0_23(http.listen, tls(certificate, key)?).map_err(bind)?,
            None => server.bind(http.listen).map_err(bind)?,
        };
        let address = server.addrs().first().copied().unwrap_or(http.listen);
        Ok(Server { running: server.run(), address, tls: http.tls.is_some() })
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }

    /// Answers, on tasks of the current system, until the handle stops it.
    pub fn start(self) -> ServerHandle {
        let handle = self.running.handle();
        actix::spawn(self.running);
        handle
    }
}

/// Ends a connection whose client doesn't take what it asked for.
fn limit(stream: &TcpStream) {
    let within = u32::try_from(TAKEN_WITHIN.as_millis()).expect("it is a short time");
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, within) {
        tracing::debug!(%error, "a client may take as long as it likes");
    }
}

fn tls(certificate: &Path, key: &Path) -> Result<ServerConfig, HttpError> {
    let wrong = |setting, path: &Path| {
        let path = path.to_owned();
        move |reason: String| HttpError::Tls { setting, path, reason }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong("http.tls_certificate", certificate)(error.to_string()))?;
    let secret = secret::read(key).map_err(|error| HttpError::Key { reason: error.to_string(), help: error.help() })?;
    let secret = PrivateKeyDer::from_pem_slice(secret.as_bytes())
        .map_err(|error| wrong("http.tls_key", key)(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| wrong("http.tls_key", key)(error.to_string()))
}
