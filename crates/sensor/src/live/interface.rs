//! A network interface, through libpcap.
//!
//! libpcap maps the kernel's ring (TPACKET v3) and hands out its frames in place: no copy and no system call per frame.
//!
//! To open a packet socket takes a right, which a running sensor has given up; to bind one to another interface takes
//! none. So a socket and its ring outlive the interface: when one of the name is there again, or one that a pattern means
//! has come, the ring is bound to that ([`Interface::take_up`]). For an interface that is not there at the start a ring is
//! made ready on another one, with a filter that lets nothing in ([`Interface::spare`]).

use std::fmt;
use std::time::{Duration, Instant};

use decap::{Frame, LinkType, Timestamp};
use pcap::{Active, Capture, Precision};
use rustix::event::PollFlags;
use socket2::{SockFilter, SockRef};

use super::hold::REJECT_ALL;
use super::interface_error::{InterfaceError, classify, unlisted, words};
use super::links::{self, Hardware, Intake, link_called, links};
use super::source::{LiveSource, Lost, SourceCounts, Wrapping, wait};
use crate::source::LinkName;

/// The largest frame there is: a super-frame of receive offload and its headers.
const SNAPLEN: i32 = 256 << 10;
/// Frames handed on by one call, at most: under overload the ring is never empty, and the caller has other things to see to.
const TURN: usize = 4_096;
/// How long the kernel may fill a block of the ring before it hands it over, in milliseconds.
const BLOCK_TIMEOUT_MS: i32 = 20;
/// What libpcap calls all of them.
pub(super) const EVERY: &str = "any";
/// How long what another interface left in a ring may take to be handed over.
const LEFT_OVER: Duration = Duration::from_millis(200);
/// After so long without a frame nothing is left in a ring that gets no further ones: its last block has been handed over.
const QUIET: Duration = Duration::from_millis(3 * BLOCK_TIMEOUT_MS as u64);
/// How long what a lost interface left in the ring is taken.
const LAST_FRAMES: Duration = Duration::from_secs(2);

/// How to capture from an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceOptions {
    /// Its name; `any` is all of them, cooked.
    pub name: String,
    /// Whether to take frames for other addresses, too.
    pub promiscuous: bool,
    /// The ring's size in bytes.
    pub ring_bytes: usize,
    /// A filter expression of libpcap (pcap-filter(7)), run by the kernel.
    pub filter: Option<String>,
}

impl InterfaceOptions {
    /// Promiscuous, whole frames, with a ring of 64 MiB: at 10 Gbit/s about 50 ms.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), promiscuous: true, ring_bytes: 64 << 20, filter: None }
    }
}

/// An open interface.
pub struct Interface {
    name: String,
    capture: Capture<Active>,
    link: LinkType,
    hardware: Option<Hardware>,
    promiscuous: bool,
    filter: Option<String>,
    place: Place,
    /// Bound to no other interface than the one it was opened on: libpcap goes on looking at that.
    is_fixed: bool,
    /// The last call ended before the ring was empty: what is left of a block does not make its socket readable.
    has_more: bool,
    received: Wrapping,
    /// Frames handed on.
    taken: u64,
    kernel_drops: Wrapping,
    /// What the ring of a spare got of the interface that it was made on: not counted.
    foreign: SourceCounts,
    interface_drops: u64,
    /// The interface's own count of them when it was last read.
    interface_drops_then: u64,
    /// What the kernel counts as received is not all that is to be handed on: what was taken and dropped counts instead.
    counts_taken: bool,
    /// It is lost as soon as the ring is empty.
    leaving: Option<Leaving>,
    /// The socket told of an error, and the kernel could not be asked what has become of the interface.
    is_unsure: bool,
}

/// A source that gives what is left, and is lost then.
#[derive(Debug)]
struct Leaving {
    reason: String,
    /// Nothing further is let in.
    is_turned_away: bool,
    since: Instant,
    last_frame: Instant,
}

/// What the ring is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Every interface.
    Everywhere,
    /// The interface of this number.
    At(u32),
    /// One that is gone or down; its number.
    Lost(u32),
    /// None that is of interest.
    Spare,
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interface").field("name", &self.name).field("link", &self.link).finish_non_exhaustive()
    }
}

impl Interface {
    /// Opens an interface.
    ///
    /// # Errors
    /// When it is missing, down, cannot be read or may not be.
    pub fn open(options: &InterfaceOptions) -> Result<Self, InterfaceError> {
        let name = options.name.clone();
        let failed = |error: pcap::Error| classify(&name, &error);
        let capture = Capture::from_device(name.as_str())
            .map_err(failed)?
            .promisc(options.promiscuous)
            .snaplen(SNAPLEN)
            .buffer_size(i32::try_from(options.ring_bytes).unwrap_or(i32::MAX))
            .timeout(BLOCK_TIMEOUT_MS)
            .precision(Precision::Nano)
            .open()
            .map_err(failed)?;
        // A quiet ring would block `dispatch` for ever: waiting is done here, where there is an end to it.
        let capture = capture.setnonblock().map_err(failed)?;
        let number = capture.get_datalink().0;
        let link_number = u32::try_from(number).unwrap_or(u32::MAX);
        let Some(link) = LinkType::from_number(link_number) else {
            return Err(InterfaceError::Link { name, link: LinkName(link_number) });
        };
        let found = link_called(&name).map_err(|error| unlisted(&name, &error))?;
        if found.is_none() && name != EVERY {
            // It has gone since.
            return Err(InterfaceError::Missing { name });
        }
        let mut interface = Self {
            place: found.as_ref().map_or(Place::Everywhere, |link| Place::At(link.index)),
            hardware: found.as_ref().map(|link| link.hardware),
            promiscuous: options.promiscuous,
            filter: options.filter.clone(),
            is_fixed: true,
            interface_drops: 0,
            interface_drops_then: links::drops_of(&name),
            name,
            capture,
            link,
            has_more: false,
            received: Wrapping::default(),
            taken: 0,
            kernel_drops: Wrapping::default(),
            foreign: SourceCounts::default(),
            counts_taken: false,
            leaving: None,
            is_unsure: false,
        };
        // What the kernel has counted so far did not pass the filter.
        interface.close_intake().map_err(|error| interface.other(&error))?;
        interface.empty();
        interface.open_intake(found.is_some_and(|link| link.is_loopback))?;
        Ok(interface)
    }

    /// Lets frames in: those that pass the filter, each once. A frame of the loopback passes twice, on its way out and in;
    /// libpcap leaves one out, but the ring would have room for both, and the kernel's counts would be of both.
    fn open_intake(&mut self, is_loopback: bool) -> Result<(), InterfaceError> {
        let is_told_to = links::leave_out_sent(&self.capture, is_loopback).is_ok();
        self.counts_taken = is_loopback && !is_told_to;
        if self.place == Place::Everywhere {
            // Until the filter is whole.
            links::bind(&self.capture, 0, Intake::Foreign).map_err(|error| self.other(&error))?;
        }
        match self.filter.clone() {
            Some(filter) => set_filter(&mut self.capture, &self.name, &filter)?,
            None => SockRef::from(&self.capture).detach_filter().map_err(|error| self.other(&error))?,
        }
        if self.filter.is_none() && self.place != Place::Everywhere {
            return Ok(());
        }
        let filter = links::filter_of(&self.capture).map_err(|error| self.other(&error))?;
        // libpcap does by itself what the kernel cannot.
        self.counts_taken |= self.filter.is_some() && filter.is_empty();
        if self.place == Place::Everywhere {
            let lo = link_called("lo").map_err(|error| self.other(&error))?;
            if let Some(lo) = lo {
                let filter = without_sent_on(lo.index, filter);
                SockRef::from(&self.capture).attach_filter(&filter).map_err(|error| self.other(&error))?;
            }
            links::bind(&self.capture, 0, Intake::All).map_err(|error| self.other(&error))?;
        }
        Ok(())
    }

    /// A ring for an Ethernet interface that is not there yet, or not up: see [`Interface::take_up`]. It is made on one
    /// that is, whose frames are let in for no longer than it takes to say so.
    ///
    /// # Errors
    /// When there is none to make it on, or as [`Interface::open`].
    pub fn spare(options: &InterfaceOptions) -> Result<Self, InterfaceError> {
        let is_fit = |link: &&links::Link| link.is_up && link.hardware == Hardware::ETHERNET;
        let all = links().map_err(|error| unlisted(&options.name, &error))?;
        let lo = all.iter().filter(is_fit).find(|link| link.name == "lo");
        let Some(host) = lo.or_else(|| all.iter().find(is_fit)) else {
            let reason = "no interface is up that a ring could be made on".to_owned();
            return Err(InterfaceError::Other { name: "lo".to_owned(), reason });
        };
        let host = InterfaceOptions { name: host.name.clone(), promiscuous: false, ..options.clone() };
        let spare = Self::open(&host)?;
        spare.close_intake().map_err(|error| spare.other(&error))?;
        let (name, promiscuous) = (options.name.clone(), options.promiscuous);
        Ok(Self { name, promiscuous, place: Place::Spare, is_fixed: false, ..spare })
    }

    /// Whether it gives the frames of an interface.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self.place, Place::Everywhere | Place::At(_))
    }

    /// Whether it is kept ready, and was bound to nothing that counts yet.
    pub(super) const fn is_spare(&self) -> bool {
        matches!(self.place, Place::Spare)
    }

    /// Whether it gave the frames of an interface, which is gone or down.
    pub(super) const fn is_lost(&self) -> bool {
        matches!(self.place, Place::Lost(_))
    }

    /// Takes what a lost interface that was up again in between left in the ring: the kernel lets it in before anybody has
    /// looked. Gives how many frames that were, after up to `patience` when there were none.
    pub(super) fn take_strays(&mut self, patience: Duration, take: &mut impl FnMut(Frame<'_>)) -> usize {
        let Place::Lost(index) = self.place else { return 0 };
        // What it says of the interface is known, and would have libpcap give up what is there.
        let _ = SockRef::from(&self.capture).take_error();
        if !self.has_more && !wait(&self.capture, patience).is_ok_and(|events| events.contains(PollFlags::IN)) {
            return 0;
        }
        if links::name_of(index).is_ok_and(|name| name.is_some_and(|name| name != self.name)) {
            // It is called otherwise now, so it is not meant. Where it fails it is the next look's matter.
            let _ = self.close_intake();
            return 0;
        }
        self.hand_on(take).unwrap_or(0)
    }

    /// Gives the frames of the interface `name` from now on, which takes no right. What is left of another one in the ring
    /// comes first.
    ///
    /// # Errors
    /// When it is not there, down, or of another kind than the ring is for. Then nothing is given.
    pub fn take_up(&mut self, name: &str) -> Result<(), InterfaceError> {
        let name = name.to_owned();
        let Some(found) = link_called(&name).map_err(|error| unlisted(&name, &error))? else {
            return Err(InterfaceError::Missing { name });
        };
        if !found.is_up {
            return Err(InterfaceError::Down { name });
        }
        if Some(found.hardware) != self.hardware || (self.is_fixed && self.name != name) {
            return Err(InterfaceError::OtherKind { name });
        }
        // Until all is as it is to be nothing gets in, whatever fails.
        self.close_intake().map_err(|error| self.other(&error))?;
        let before = match self.place {
            Place::At(index) | Place::Lost(index) => Some(index),
            Place::Everywhere => None,
            Place::Spare => {
                self.empty();
                None
            }
        };
        // What the socket still has to say of the interface before is not to be taken for this one's.
        let _ = SockRef::from(&self.capture).take_error();
        links::bind(&self.capture, found.index, Intake::All).map_err(|error| self.other(&error))?;
        if self.promiscuous {
            if let Some(before) = before {
                // Where that is gone, so is this; be there another one of its number by now.
                let _ = links::set_promiscuous(&self.capture, before, false);
            }
            links::set_promiscuous(&self.capture, found.index, true).map_err(|error| self.other(&error))?;
        }
        self.count_interface_drops();
        self.interface_drops_then = links::drops_of(&name);
        self.name = name;
        self.open_intake(found.is_loopback)?;
        (self.place, self.leaving, self.is_unsure) = (Place::At(found.index), None, false);
        Ok(())
    }

    /// Throws away what the ring got before its intake was closed: of the interface that a spare was made on, or before
    /// the filter was there.
    fn empty(&mut self) {
        let end = Instant::now() + LEFT_OVER;
        let mut thrown = 0;
        loop {
            thrown += self.capture.dispatch(None, |_| {}).unwrap_or(0) as u64;
            self.follow();
            if thrown >= self.received.total() - self.kernel_drops.total() || Instant::now() >= end {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.foreign = SourceCounts {
            received: self.received.total(),
            kernel_drops: self.kernel_drops.total(),
            ..SourceCounts::default()
        };
    }

    fn other(&self, error: &std::io::Error) -> InterfaceError {
        InterfaceError::Other { name: self.name.clone(), reason: error.to_string() }
    }

    /// Reads the kernel's counts of the ring.
    fn follow(&mut self) {
        if let Ok(stats) = self.capture.stats() {
            self.received.follow(stats.received);
            self.kernel_drops.follow(stats.dropped);
        }
    }

    fn count_interface_drops(&mut self) {
        let now = links::drops_of(&self.name);
        self.interface_drops += now.saturating_sub(self.interface_drops_then);
        self.interface_drops_then = now;
    }

    /// Whether the interface that the ring is bound to is there and up; asked after an error of the socket. Else it is lost
    /// when what it left in the ring is taken.
    fn look(&mut self) {
        let Place::At(index) = self.place else { return };
        match links() {
            // Nobody knows: it is as it was, until it is asked again.
            Err(_) => self.is_unsure = true,
            Ok(all) => {
                self.is_unsure = false;
                match all.into_iter().find(|link| link.index == index) {
                    Some(link) if link.is_up => {}
                    Some(_) => self.leave("it is down"),
                    None => self.leave("it was removed"),
                }
            }
        }
    }

    /// What the interface is called now, if that is another name than before. To be asked about every second, since nothing
    /// tells it.
    pub(super) fn renamed(&mut self) -> Option<String> {
        let Place::At(index) = self.place else { return None };
        if self.is_unsure {
            self.look();
        }
        match links::name_of(index) {
            Ok(None) => {
                self.leave("it was removed");
                None
            }
            Ok(Some(name)) if name != self.name => Some(name),
            Ok(Some(_)) | Err(_) => None,
        }
    }

    /// It is called so from now on, and is the same.
    pub(super) fn rename(&mut self, name: &str) {
        self.count_interface_drops();
        name.clone_into(&mut self.name);
        self.interface_drops_then = links::drops_of(name);
    }

    /// Takes nothing further of the interface, for `reason`: it is lost when what the ring has of it is taken.
    pub(super) fn turn_away(&mut self, reason: &str) {
        // Where it fails frames come for a little longer.
        let _ = self.close_intake();
        self.leave(reason);
        if let Some(leaving) = &mut self.leaving {
            leaving.is_turned_away = true;
        }
    }

    fn leave(&mut self, reason: &str) {
        let now = Instant::now();
        self.leaving.get_or_insert(Leaving {
            reason: reason.to_owned(),
            is_turned_away: false,
            since: now,
            last_frame: now,
        });
    }

    /// Takes what is left in the ring.
    fn take_last(&mut self, patience: Duration, take: &mut impl FnMut(Frame<'_>)) -> Result<usize, Lost> {
        let now = Instant::now();
        // Before anything is handed on: what is lost has given nothing in that call.
        if self.leaving.as_ref().is_some_and(|leaving| now.duration_since(leaving.since) >= LAST_FRAMES) {
            // Frames that go on for so long are no remains: it was down for a moment.
            if !self.is_back() {
                return Err(self.left());
            }
            self.leaving = None;
        }
        // The socket's error would have libpcap give up what is there.
        let _ = SockRef::from(&self.capture).take_error();
        let taken = self.hand_on(take).unwrap_or(0);
        let Some(leaving) = &mut self.leaving else { return Ok(taken) };
        if taken > 0 {
            leaving.last_frame = now;
            return Ok(taken);
        }
        if now.duration_since(leaving.last_frame) >= QUIET {
            return Err(self.left());
        }
        // Not by the socket, which may tell of errors without end.
        std::thread::sleep(patience.min(Duration::from_millis(5)));
        Ok(0)
    }

    /// Whether an interface that went down is up again, and its frames are let in.
    fn is_back(&self) -> bool {
        let is_turned_away = self.leaving.as_ref().is_some_and(|leaving| leaving.is_turned_away);
        let Place::At(index) = self.place else { return false };
        !is_turned_away && links().is_ok_and(|all| all.iter().any(|link| link.index == index && link.is_up))
    }

    /// It is lost for the reason for which it was left.
    fn left(&mut self) -> Lost {
        let reason = self.leaving.take().map(|leaving| leaving.reason).unwrap_or_default();
        self.lost(reason)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its frames begin with.
    #[must_use]
    pub const fn link(&self) -> LinkType {
        self.link
    }

    /// Whether `received` is what was handed on and dropped, rather than a count of the kernel's.
    pub(super) const fn counts_what_it_took(&self) -> bool {
        self.counts_taken
    }

    /// Lets nothing further into the ring. What is in it stays: libpcap's own change of filter would apply to that, too.
    pub(super) fn close_intake(&self) -> std::io::Result<()> {
        SockRef::from(&self.capture).attach_filter(&[REJECT_ALL])
    }

    fn lost(&mut self, reason: impl fmt::Display) -> Lost {
        if let Place::At(index) = self.place {
            self.place = Place::Lost(index);
        }
        Lost { name: self.name.clone(), reason: reason.to_string() }
    }
}

impl Interface {
    /// Hands on what is in the ring, so many at most as a turn may have.
    fn hand_on(&mut self, take: &mut impl FnMut(Frame<'_>)) -> Result<usize, pcap::Error> {
        let link = self.link;
        let taken = self.capture.dispatch(Some(TURN), |packet| {
            let at = packet.header.ts;
            // The microseconds' field holds nanoseconds: that is what `Precision::Nano` asks for.
            let nanos = (at.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(at.tv_usec as u64);
            take(Frame { at: Timestamp::from_nanos(nanos), link, data: packet.data, wire_len: packet.header.len });
        })?;
        self.has_more = taken >= TURN;
        self.taken += taken as u64;
        Ok(taken)
    }
}

impl LiveSource for Interface {
    fn poll(&mut self, patience: Duration, take: &mut impl FnMut(Frame<'_>)) -> Result<usize, Lost> {
        if self.leaving.is_none() && !self.has_more {
            let events = wait(&self.capture, patience).map_err(|error| self.lost(error))?;
            // libpcap takes the error off the socket, and passes over it where the interface is only down.
            if events.contains(PollFlags::ERR) {
                self.look();
            }
            if events.is_empty() {
                return Ok(0);
            }
        }
        if self.leaving.is_some() {
            return self.take_last(patience, take);
        }
        self.hand_on(take).or_else(|error| {
            // It may be one that came just now, with frames in the ring yet.
            self.leave(&words(&error));
            Ok(0)
        })
    }

    fn counts(&mut self) -> SourceCounts {
        if self.place == Place::Spare {
            return SourceCounts::default();
        }
        self.follow();
        if self.is_up() {
            self.count_interface_drops();
        }
        let kernel_drops = self.kernel_drops.total() - self.foreign.kernel_drops;
        let received = self.received.total() - self.foreign.received;
        SourceCounts {
            received: if self.counts_taken { self.taken + kernel_drops } else { received },
            kernel_drops,
            interface_drops: self.interface_drops,
        }
    }
}

fn set_filter(capture: &mut Capture<Active>, name: &str, filter: &str) -> Result<(), InterfaceError> {
    capture.filter(filter, true).map_err(|error| InterfaceError::Filter {
        name: name.to_owned(),
        filter: filter.to_owned(),
        reason: words(&error),
    })
}

/// The filter, without what is on its way out on the interface `index`. Without a filter all else is taken.
fn without_sent_on(index: u32, filter: Vec<SockFilter>) -> Vec<SockFilter> {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// What is asked of the frame rather than read from it (linux/filter.h).
    const ASKED: u32 = -0x1000_i32 as u32;
    const KIND: u32 = ASKED + 4;
    const INDEX: u32 = ASKED + 8;
    const SENT: u32 = libc::PACKET_OUTGOING as u32;
    let mut program = vec![
        SockFilter::new(LOAD, 0, 0, KIND),
        SockFilter::new(JUMP_IF_EQUAL, 0, 3, SENT),
        SockFilter::new(LOAD, 0, 0, INDEX),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, index),
        REJECT_ALL,
    ];
    if filter.is_empty() {
        program.push(SockFilter::new(RETURN, 0, 0, SNAPLEN as u32));
    }
    program.extend(filter);
    program
}
