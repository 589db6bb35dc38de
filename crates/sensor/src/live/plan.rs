//! What to capture from: a source as it is planned, opened, and open.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::interface::{Interface, InterfaceOptions};
use super::interface_error::InterfaceError;
use super::listener::{Listener, ListenerError, ListenerOptions};
use super::pattern::Pattern;
use super::source::{LiveSource, Lost, SourceCounts};

/// One thing to capture from.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// What it is called in logs and metrics; no two have the same name.
    pub name: String,
    /// What it is; of a pattern's, with the name of the interface to begin with, or without one.
    pub kind: SourceKind,
    /// Where it takes any interface of a pattern, what it shares with others of that.
    pub pattern: Option<Arc<Pattern>>,
    /// How to take its tunnels off.
    pub decap: decap::Config,
    /// Whether its absence at the start is fatal; of a pattern's, whether it is that none of the pattern's is there.
    pub is_required: bool,
    /// UDP ports to hold, so that the host does not answer the mirror; where there are any, the IP protocols of tunnels, too.
    pub held_ports: Vec<u16>,
}

/// The two kinds of live sources.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// A network interface.
    Interface(InterfaceOptions),
    /// A UDP socket.
    Listener(ListenerOptions),
}

/// Why a source cannot be captured from now.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// An interface.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// A socket.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// None of a required pattern's interfaces.
    #[error(
        "none of the interfaces that match {pattern} can be captured from now, and that is required: the lines before say why each cannot"
    )]
    Pattern {
        /// The pattern.
        pattern: String,
    },
}

impl SourceError {
    /// Whether waiting may mend it.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Interface(error) => error.may_pass(),
            Self::Listener(_) | Self::Pattern { .. } => false,
        }
    }

    /// Whether it has to do with the moment, rather than with what the interface is.
    pub(super) const fn is_of_the_moment(&self) -> bool {
        use InterfaceError::{Down, Missing, Other};
        matches!(self, Self::Interface(Missing { .. } | Down { .. } | Other { .. }))
    }
}

/// An open source of either kind.
#[derive(Debug)]
pub(super) enum Source {
    Interface(Box<Interface>),
    Listener(Box<Listener>),
}

impl SourceKind {
    pub(super) fn open(&self) -> Result<Source, SourceError> {
        Ok(match self {
            Self::Interface(options) => Source::Interface(Box::new(Interface::open(options)?)),
            Self::Listener(options) => Source::Listener(Box::new(Listener::open(options)?)),
        })
    }
}

impl SourcePlan {
    /// Opens it for the start. Where it is not there, and that may pass, what can be made ready without it: with that, it
    /// can be had later without a right. `keeps_right` says that there will be one, so that nothing need be made ready. With it
    /// comes what was said of its absence, which is not to be said again.
    pub(super) fn open(&self, keeps_right: bool) -> Result<(Option<Source>, String), SourceError> {
        let nothing_said = |source| (source, String::new());
        let SourceKind::Interface(options) = &self.kind else {
            return self.kind.open().map(Some).map(nothing_said);
        };
        let spare = || {
            if keeps_right {
                return Ok(None);
            }
            match Interface::spare(options) {
                Ok(spare) => Ok(Some(Source::Interface(Box::new(spare)))),
                Err(error) if error.may_pass() => {
                    tracing::warn!(
                        source = self.name,
                        "no ring can be made ready for it: {error}; it will take a restart"
                    );
                    Ok(None)
                }
                Err(error) => Err(SourceError::from(error)),
            }
        };
        if options.name.is_empty() {
            return spare().map(nothing_said);
        }
        match self.open_named(options) {
            Ok(interface) => Ok(nothing_said(Some(Source::Interface(Box::new(interface))))),
            // Of a pattern's it takes all of them to be fatal.
            Err(error) if error.may_pass() && (!self.is_required || self.pattern.is_some()) => {
                if let Some(pattern) = &self.pattern {
                    pattern.release(&options.name);
                    tracing::warn!(source = self.name, "{error}; it is captured once it is up");
                } else {
                    tracing::warn!(source = self.name, "{error}; trying again every second");
                }
                Ok((spare()?, error.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn open_named(&self, options: &InterfaceOptions) -> Result<Interface, InterfaceError> {
        if self.pattern.is_none() {
            return Interface::open(options);
        }
        // It may take up others later.
        let opened = Interface::spare(options).and_then(|mut spare| spare.take_up(&options.name).map(|()| spare));
        match opened {
            Err(InterfaceError::OtherKind { .. } | InterfaceError::Other { .. }) => Interface::open(options),
            opened => opened,
        }
    }

    /// What it is called while it captures from `interface`, or from none.
    pub(super) fn name_with(&self, interface: Option<&str>) -> String {
        match (&self.pattern, interface) {
            (Some(pattern), Some(interface)) => pattern.source_name(interface),
            _ => self.name.clone(),
        }
    }
}

impl Source {
    /// Whether it gives frames; else it can be made to by [`Interface::take_up`].
    pub(super) const fn is_up(&self) -> bool {
        match self {
            Self::Interface(interface) => interface.is_up(),
            Self::Listener(_) => true,
        }
    }

    /// Whether it is a ring that is kept ready, in which there is nothing.
    pub(super) const fn is_spare(&self) -> bool {
        match self {
            Self::Interface(interface) => interface.is_spare(),
            Self::Listener(_) => false,
        }
    }

    pub(super) fn interface(&self) -> Option<&str> {
        match self {
            Self::Interface(interface) if interface.is_up() => Some(interface.name()),
            _ => None,
        }
    }

    /// Whether `received` is what was taken and dropped, rather than a count of the kernel's.
    pub(super) const fn counts_what_it_took(&self) -> bool {
        match self {
            Self::Interface(interface) => interface.counts_what_it_took(),
            Self::Listener(_) => true,
        }
    }

    /// Lets the kernel accept nothing further, so that its counts stand still while the rest is taken.
    pub(super) fn close_intake(&mut self) -> io::Result<()> {
        match self {
            Self::Interface(interface) => interface.close_intake(),
            Self::Listener(listener) => listener.close_intake(),
        }
    }
}

impl LiveSource for Source {
    fn poll(&mut self, patience: Duration, take: &mut impl FnMut(decap::Frame<'_>)) -> Result<usize, Lost> {
        match self {
            Self::Interface(interface) => interface.poll(patience, take),
            Self::Listener(listener) => listener.poll(patience, take),
        }
    }

    fn counts(&mut self) -> SourceCounts {
        match self {
            Self::Interface(interface) => interface.counts(),
            Self::Listener(listener) => listener.counts(),
        }
    }
}
