//! A connection of which what the peer said last is heard.
//!
//! A platform may answer before it has read a large body (413 above all), and close at once: what is still written is then
//! answered with a reset. The HTTP client meets that when it writes, and would report it in place of the answer, though the answer
//! has come and can be read. So here a peer that hears no more is no error of writing: the bytes go nowhere, and reading tells what
//! it said, or that the connection has failed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that says by reading only that its peer has gone.
pub(super) struct LastWords<S> {
    stream: S,
    /// The peer hears no more.
    is_deaf: bool,
}

impl<S> LastWords<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, is_deaf: false }
    }

    /// Takes note of a failure that says so.
    fn heard<T>(&mut self, done: io::Result<T>, otherwise: T) -> io::Result<T> {
        match done {
            Err(error) if is_end(&error) => {
                self.is_deaf = true;
                Ok(otherwise)
            }
            done => done,
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}

impl<S: AsyncRead + Unpin> AsyncRead for LastWords<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LastWords<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let done = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(self.heard(done, bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf {
            return Poll::Ready(Ok(()));
        }
        let done = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(self.heard(done, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Has something to say, and takes nothing but for this reason.
    struct Gone(&'static [u8], io::ErrorKind);

    impl AsyncRead for Gone {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if self.0.is_empty() {
                return Poll::Ready(Err(self.1.into()));
            }
            buffer.put_slice(std::mem::take(&mut self.0));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Gone {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(self.1.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(self.1.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_was_said_is_heard_before_the_failure() {
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionAborted] {
            let mut stream = LastWords::new(Gone(b"413", kind));
            stream.write_all(&[0; 100_000]).await.unwrap();
            stream.flush().await.unwrap();
            let mut heard = Vec::new();
            assert_eq!(stream.read_to_end(&mut heard).await.unwrap_err().kind(), kind);
            assert_eq!(heard, b"413");
        }
        // Any other failure is one at once.
        let mut stream = LastWords::new(Gone(b"413", io::ErrorKind::TimedOut));
        assert_eq!(stream.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
