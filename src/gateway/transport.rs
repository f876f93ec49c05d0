//! What a socket's two halves read from and write to at once: TCP as it is, or TLS over it.
//! Never a frame, and never which certificate: see `tls`.

use actix_rt::net::TcpStream;
use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// A connection as the HTTP server holds it.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The same, for two halves that are polled from a task each.
    type Shared: Duplex;

    /// Gives it to the halves.
    fn share(self) -> Self::Shared;
}

/// A connection that one task reads and another one writes.
pub trait Duplex: 'static {
    /// Reads what has come, at least a byte; nothing is the end.
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Takes of these bytes what there is room for.
    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Awaits that what was taken is with the system.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Tells the client that nothing more will come.
    fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Transport for TcpStream {
    type Shared = TcpStream;

    fn share(self) -> TcpStream {
        self
    }
}

/// Nothing between the frames and the system.
impl Duplex for TcpStream {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.try_read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.poll_read_ready(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let written = match slices {
                [only] => self.try_write(only),
                slices => self.try_write_vectored(slices),
            };
            match written {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.poll_write_ready(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(self).shutdown(std::net::Shutdown::Write))
    }
}

impl Transport for TlsStream<TcpStream> {
    type Shared = RefCell<TlsStream<TcpStream>>;

    fn share(self) -> RefCell<TlsStream<TcpStream>> {
        RefCell::new(self)
    }
}

/// Both halves are on one thread, and none holds the stream while it waits. Below, reading waits for TCP to be
/// readable and writing for it to be writable, so neither takes the other's place.
impl Duplex for RefCell<TlsStream<TcpStream>> {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut *self.borrow_mut()).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.borrow_mut()).poll_write_vectored(cx, slices)
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.borrow_mut()).poll_flush(cx)
    }

    fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.borrow_mut()).poll_shutdown(cx)
    }
}
