//! The right to capture: who has it, and for how long.
//!
//! Capabilities belong to threads, and a thread inherits them from the one that starts it. Once the sources are open nobody
//! needs any: an interface that goes away and comes back is bound to the ring that is there. Only where the operator says so
//! does the [`Opener`] keep one, switched off, so that any interface can be opened at any time: it reads nothing that was
//! captured.

use std::thread;
use std::time::Duration;

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::plan::{Source, SourceError, SourceKind};

/// Whether the calling thread may capture, now or after [`Opener`] has switched the right on.
#[must_use]
pub fn has_right() -> bool {
    caps::has_cap(None, CapSet::Permitted, Capability::CAP_NET_RAW).unwrap_or(false)
}

/// Gives up every capability of the calling thread, and so of the threads that it starts; with `keep_capture`, all but the
/// right to capture, which is switched off.
///
/// # Errors
/// When the system refuses.
pub fn give_up(keep_capture: bool) -> Result<(), CapsError> {
    let kept: CapsHashSet = [Capability::CAP_NET_RAW].into_iter().filter(|_| keep_capture && has_right()).collect();
    let _ = caps::clear(None, CapSet::Ambient);
    caps::clear(None, CapSet::Effective)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Permitted, &kept)
}

/// Rules out that a program that is executed gets a capability. Where the right to do so is missing there is no way to get
/// one either, with no-new-privileges.
///
/// # Errors
/// When the system refuses.
pub fn give_up_inheritance() -> Result<(), CapsError> {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        caps::clear(None, CapSet::Bounding)?;
    }
    Ok(())
}

/// A source to open, and where to say what came of it.
type Request = (SourceKind, Sender<Result<Source, SourceError>>);

/// A thread that opens sources for the capture threads, which may not.
#[derive(Clone, Debug)]
pub struct Opener {
    requests: Sender<Request>,
    has_right: bool,
}

impl Opener {
    /// Starts the thread; it ends when the last of its kind is gone. It has what the calling thread has.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start() -> std::io::Result<Self> {
        let (requests, asked) = bounded::<Request>(16);
        thread::Builder::new().name("opener".to_owned()).spawn(move || open_all(&asked))?;
        Ok(Self { requests, has_right: has_right() })
    }

    /// Whether it may open interfaces.
    pub(super) const fn has_right(&self) -> bool {
        self.has_right
    }

    /// Has a source opened; `meanwhile` is called several times a second until it is.
    pub(super) fn open(&self, kind: &SourceKind, mut meanwhile: impl FnMut()) -> Option<Result<Source, SourceError>> {
        let (answer, opened) = bounded(1);
        self.requests.send((kind.clone(), answer)).ok()?;
        loop {
            match opened.recv_timeout(Duration::from_millis(50)) {
                Ok(result) => return Some(result),
                Err(RecvTimeoutError::Timeout) => meanwhile(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

fn open_all(asked: &Receiver<Request>) {
    for (kind, answer) in asked {
        let is_raised = has_right() && caps::raise(None, CapSet::Effective, Capability::CAP_NET_RAW).is_ok();
        let result = kind.open();
        if is_raised {
            let _ = caps::drop(None, CapSet::Effective, Capability::CAP_NET_RAW);
        }
        // Whoever asked may have stopped.
        let _ = answer.send(result);
    }
}
