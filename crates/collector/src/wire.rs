//! A TCP connection that can be cut at any moment, and that ends when its peer is idle or takes nothing for too long.
//!
//! It lies below TLS, so a cut leaves no trace of a proper end: the peer sees a reset.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// Cuts one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(Arc<CutState>);

#[derive(Debug, Default)]
struct CutState {
    done: AtomicBool,
    wake: Notify,
}

impl Cut {
    /// From now on nothing is read or written; the peer gets a reset.
    pub(crate) fn now(&self) {
        self.0.done.store(true, Ordering::Release);
        self.0.wake.notify_waiters();
    }

    fn is_done(&self) -> bool {
        self.0.done.load(Ordering::Acquire)
    }

    /// Once the connection has been cut: ends the task that serves it, whatever that waits for.
    pub(crate) async fn happened(&self) {
        let woken = self.0.wake.notified();
        tokio::pin!(woken);
        // Registered before the flag is looked at, so that no cut is missed in between.
        woken.as_mut().enable();
        if !self.is_done() {
            woken.await;
        }
    }
}

#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    cut: Cut,
    read: Patience,
    write: Patience,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, cut: Cut, idle: Duration) -> Self {
        Self { stream, cut, read: Patience::new(idle), write: Patience::new(idle) }
    }

    fn check(&self) -> Result<()> {
        if self.cut.is_done() {
            return Err(Error::new(ErrorKind::ConnectionReset, "cut on demand"));
        }
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.cut.is_done() {
            // What is not sent yet is thrown away, and a reset goes out instead of an end.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.check()?;
        let this = &mut *self;
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        this.read.watch(polled, context)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.check()?;
        let this = &mut *self;
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.write.watch(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.check()?;
        let this = &mut *self;
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.write.watch(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// How long one direction may stand still.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    end: Pin<Box<Sleep>>,
    waiting: bool,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, end: Box::pin(tokio::time::sleep(limit)), waiting: false }
    }

    fn watch<T>(&mut self, polled: Poll<Result<T>>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if polled.is_ready() {
            self.waiting = false;
            return polled;
        }
        if !self.waiting {
            self.waiting = true;
            self.end.as_mut().reset(Instant::now() + self.limit);
        }
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the peer was idle for too long"))),
            Poll::Pending => Poll::Pending,
        }
    }
}
