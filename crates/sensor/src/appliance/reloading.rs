//! Reloads, on a thread of their own: files may be slow to read and rules to compile, and whoever watches over the other threads,
//! feeds the watchdog and ends the sensor is not to wait for that.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;

use rustix::process::setpriority_process;

/// How much the thread yields to others, as `nice` has it: where cores are few, the capture comes first.
const NICENESS: i32 = 10;

/// What happens on SIGHUP.
pub trait Reload: Send + 'static {
    /// Takes what can be taken of what has changed. It may take its time.
    fn reload(&mut self);
}

impl<F: FnMut() + Send + 'static> Reload for F {
    fn reload(&mut self) {
        self();
    }
}

/// The thread that reloads. It ends when this goes; one that is under way then is not waited for.
#[derive(Debug)]
pub(super) struct Reloading {
    begin: Sender<()>,
    done: Receiver<()>,
    is_under_way: bool,
}

impl Reloading {
    pub(super) fn start(mut reload: impl Reload) -> io::Result<Self> {
        let (begin, begun) = mpsc::channel::<()>();
        let (ended, done) = mpsc::channel();
        let work = move || {
            // Of this thread, not of the process.
            let _ = setpriority_process(None, NICENESS);
            for () in begun {
                if catch_unwind(AssertUnwindSafe(|| reload.reload())).is_err() {
                    tracing::error!("the reload failed; this is a defect of the program, please report it");
                }
                if ended.send(()).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("reload".to_owned()).spawn(work)?;
        Ok(Self { begin, done, is_under_way: false })
    }

    /// Begins a reload, unless one is under way; whether it did.
    pub(super) fn begin(&mut self) -> bool {
        if self.is_under_way {
            return false;
        }
        self.is_under_way = self.begin.send(()).is_ok();
        self.is_under_way
    }

    /// Whether one has ended since the last call.
    pub(super) fn has_ended(&mut self) -> bool {
        if !self.is_under_way || self.done.try_recv() == Err(TryRecvError::Empty) {
            return false;
        }
        self.is_under_way = false;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn wait_for_end(reloading: &mut Reloading) {
        let end = Instant::now() + Duration::from_secs(20);
        while !reloading.has_ended() {
            assert!(Instant::now() < end, "it never ends");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn nobody_waits_for_a_reload_and_another_comes_behind_it() {
        let (go, goes) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let mut reloading = Reloading::start(move || {
            tell.send(thread::current().name().map(str::to_owned)).unwrap();
            let _ = goes.recv();
        })
        .unwrap();
        assert!(!reloading.has_ended(), "there was none");
        assert!(reloading.begin());
        assert_eq!(told.recv().unwrap().as_deref(), Some("reload"));
        for _ in 0..3 {
            assert!(!reloading.begin() && !reloading.has_ended(), "the first is under way");
        }
        go.send(()).unwrap();
        wait_for_end(&mut reloading);
        assert!(told.try_recv().is_err(), "nobody asked for another");
        assert!(reloading.begin());
        told.recv().unwrap();
        // One that is under way is left behind.
        drop(reloading);
        go.send(()).unwrap();
    }

    #[test]
    fn one_that_fails_is_not_the_last() {
        crate::guard::quiet_panics();
        let mut count = 0;
        let mut reloading = Reloading::start(move || {
            count += 1;
            assert!(count > 1, "the first fails");
        })
        .unwrap();
        for _ in 0..2 {
            assert!(reloading.begin());
            wait_for_end(&mut reloading);
        }
    }
}
