//! The listeners: connections are taken at them and given to HTTP, over TLS where the node has a certificate.
//! Never a route, and never when the doors are opened and closed: see `node`.

use super::dispatch::ByName;
use super::tls::Certificate;
use super::transport::Transport;
use super::{router, socket};
use crate::app::App;
use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_rt::net::TcpStream;
use actix_server::{Server, ServerHandle};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_service, map_config,
};
use actix_web::dev::AppConfig;
use actix_web::{App as WebApp, HttpServer, web};
use actors::greeter::Greeter;
use actors::hub::Hub;
use actors::limits::Limits;
use actors::session::SessionDeps;
use actors::sockets::Sockets;
use anyhow::Context as _;
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

/// Connections of one worker; the system's limit of open files comes first.
const CONNECTIONS: usize = 1_000_000;
/// A connection whose bytes nobody takes for so long is ended.
const UNTAKEN: Duration = Duration::from_secs(30);
/// TLS must have been agreed on within this.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What a worker's connections need beside the node's parts.
#[derive(Clone)]
pub struct Ground {
    /// The node's parts.
    pub app: App,
    /// Who answers hellos.
    pub greeter: Greeter,
    /// What sockets keep to.
    pub limits: Arc<Limits>,
    /// All sockets of the node.
    pub sockets: Sockets,
}

/// The clients' door.
pub struct Door {
    /// Where it is.
    pub address: SocketAddr,
    server: ServerHandle,
    listener: TcpListener,
    connections: Connections,
}

impl Door {
    /// Takes no connection any more; those that are there are served on.
    ///
    /// # Why not the server's own way
    /// It ends each thread as soon as that has no connection of its own, and with it the rooms that live there, which
    /// requests of other threads still need. And a paused listener leaves clients waiting for an answer that nobody
    /// will give; once it is shut down, the system refuses them, and they go elsewhere.
    pub async fn close(&self) {
        self.server.pause().await;
        // The thread that accepts has been told; it needs a moment.
        tick().await;
        let _ = socket2::SockRef::from(&self.listener).shutdown(std::net::Shutdown::Both);
    }

    /// Whether there are connections, of requests or of sockets.
    pub fn is_used(&self) -> bool {
        self.connections.0.load(Ordering::Relaxed) > 0
    }

    /// Ends the threads, and with them whatever is still there.
    pub async fn stop(&self) {
        self.server.stop(false).await;
    }
}

/// How many there are.
#[derive(Clone, Default)]
struct Connections(Arc<AtomicUsize>);

impl Connections {
    /// What serves one of them.
    fn counted<F>(&self, served: F) -> Counted<F> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted { served, present: Present(self.0.clone()) }
    }
}

pin_project! {
    /// Counted until it is over. (An `async` block would hold its future twice.)
    struct Counted<F> {
        #[pin]
        served: F,
        present: Present,
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().served.poll(cx)
    }
}

/// One that is there.
struct Present(Arc<AtomicUsize>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A moment of the machine's own time, for shutting down: no test drives it.
pub async fn tick() {
    #[expect(clippy::disallowed_methods, reason = "a node that stops does not wait for anybody's clock")]
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// Opens the clients' door.
///
/// # Errors
/// A taken port.
pub fn open(ground: Ground, certificate: Option<&Arc<Certificate>>) -> anyhow::Result<Door> {
    let gateway = &ground.app.config.gateway;
    let listener = bind(gateway.listen, gateway.backlog)?;
    let (address, own) = (listener.local_addr()?, listener.try_clone()?);
    let connections = Connections::default();
    let counted = connections.clone();
    let server =
        Server::build().workers(gateway.worker_count()).max_concurrent_connections(CONNECTIONS).disable_signals();
    let server = match certificate {
        None => server.listen("quckchat", listener, move || {
            counting(&counted, fn_service(accept).and_then(http(&ground, address, &counted)))
        })?,
        Some(certificate) => {
            let acceptor = TlsAcceptor::from(certificate.server_config()?);
            server.listen("quckchat", listener, move || {
                let acceptor = acceptor.clone();
                let accept = fn_service(move |io| accept_tls(acceptor.clone(), io));
                counting(&counted, accept.and_then(http(&ground, address, &counted)))
            })?
        }
    };
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok(Door { address, server: handle, listener: own, connections })
}

/// Opens the operators' door.
///
/// # Errors
/// A taken port.
pub fn open_operations(app: &App, listen: SocketAddr) -> anyhow::Result<(ServerHandle, SocketAddr)> {
    let listener = bind(listen, 128)?;
    let address = listener.local_addr()?;
    let parts = app.clone();
    let server = HttpServer::new(move || {
        let data = web::Data::new(parts.clone());
        WebApp::new().configure(|cfg| router::configure_operations(cfg, &data))
    });
    let server = server.workers(1).shutdown_timeout(1).disable_signals().listen(listener)?.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok((handle, address))
}

/// The same service, whose connections are counted while it has them.
fn counting<S>(
    connections: &Connections,
    service: S,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<S>
where
    S: ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> + 'static,
{
    let connections = connections.clone();
    apply_fn_factory(service, move |io, service: &S::Service| connections.counted(service.call(io)))
}

/// A connection that speaks HTTP, and who is at its other end.
type Accepted<T> = (T, Protocol, Option<SocketAddr>);

fn accept(io: TcpStream) -> impl Future<Output = Result<Accepted<TcpStream>, DispatchError>> {
    prepare(&io);
    let peer = io.peer_addr().ok();
    ready(Ok((io, Protocol::Http1, peer)))
}

async fn accept_tls(
    acceptor: TlsAcceptor,
    io: TcpStream,
) -> Result<Accepted<tokio_rustls::server::TlsStream<TcpStream>>, DispatchError> {
    prepare(&io);
    let peer = io.peer_addr().ok();
    let agreed = tokio::time::timeout(HANDSHAKE, acceptor.accept(io)).await;
    let stream = agreed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|error| {
        tracing::debug!(%error, "no TLS was agreed on");
        DispatchError::Io(error)
    })?;
    Ok((stream, Protocol::Http1, peer))
}

/// Small frames go out at once; and whoever takes nothing for so long is gone: the system tells, also while we only
/// write.
fn prepare(io: &TcpStream) {
    let _ = io.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(io).set_tcp_user_timeout(Some(UNTAKEN));
}

/// What serves the connections of one worker.
fn http<T: Transport>(
    ground: &Ground,
    address: SocketAddr,
    connections: &Connections,
) -> impl ServiceFactory<Accepted<T>, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<T> {
    let Ground { app, greeter, limits, sockets } = ground;
    let (app, connections) = (Rc::new(app.clone()), connections.clone());
    let deps = Rc::new(SessionDeps {
        hub: Hub::start(&app.entries),
        dispatch: Rc::new(ByName(app.clone())),
        greeter: greeter.clone(),
        entries: app.entries.clone(),
        presences: app.presences.clone(),
        conversations: app.conversations.clone(),
        sockets: sockets.clone(),
        clock: app.clock.clone(),
        limits: limits.clone(),
    });
    let data = web::Data::new(App::clone(&app));
    let rest = WebApp::new().configure(|cfg| router::configure(cfg, &data));
    let rest = rest.into_factory().map_err(|error: actix_web::Error| error.error_response());
    HttpService::build()
        .local_addr(address)
        .upgrade(fn_service(move |(req, framed)| {
            // A task of its own: the server's, which is larger, ends here.
            actix_rt::spawn(connections.counted(socket::serve::<T>(req, framed, &app, &deps)));
            ready(Ok::<_, Infallible>(()))
        }))
        .finish(map_config(rest, |()| AppConfig::default()))
}

fn bind(address: SocketAddr, backlog: u32) -> anyhow::Result<TcpListener> {
    let bound = || {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        io::Result::Ok(socket.into())
    };
    bound().with_context(|| format!("cannot listen on {address}"))
}
