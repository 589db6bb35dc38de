//! pcapng files (draft-ietf-opsawg-pcapng).
//!
//! The blocks are read right here, over the reader's own window. The `pcap-parser` crate gives the numbers, and stands
//! beside this as the second opinion in the tests; its block reader is not used, because version 0.17 collects the
//! options of every packet in a vector, knows no clock of a negative power of two, and reads the numbers in a
//! big-endian section's options as little-endian.

use decap::{LinkType, Timestamp};
use pcap_parser::pcapng::{
    BOM_MAGIC, CB_MAGIC, DCB_MAGIC, DSB_MAGIC, EPB_MAGIC, IDB_MAGIC, ISB_MAGIC, NRB_MAGIC, PIB_MAGIC, SHB_MAGIC,
    SJE_MAGIC, SPB_MAGIC,
};

use super::clock::Clock;
use super::link::LinkName;
use super::reader::Counts;
use super::record::{Fault, LONGEST, Order, Record, Step, end, longest_packet};
use super::warning::{WarningKind, Warnings};
use super::window::{Fill, Window};

/// The packet block that the enhanced one replaced; old files have it.
const OLD_PACKET: u32 = 2;
/// An interface's drops are unknown.
const UNKNOWN_DROPS: u16 = 0xffff;
/// More interfaces than this in a section are not believed: the old packet block cannot even name more.
const MOST_INTERFACES: usize = 65_536;

/// Option codes.
const END: u16 = 0;
const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;
const ISB_IFDROP: u16 = 5;
const ISB_OSDROP: u16 = 7;
const EPB_DROPCOUNT: u16 = 4;

/// A pcapng file, in whichever of its sections reading is.
#[derive(Debug)]
pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
    /// How many interfaces the sections before this one had.
    earlier_interfaces: u32,
    /// The latest packet's time: what a simple packet block, which has none, is given.
    last: Timestamp,
    /// Block types that were warned about.
    unknown: Vec<u32>,
    /// The link type of the first packet that was left out.
    pub(super) left_out: Option<LinkName>,
}

#[derive(Debug)]
struct Interface {
    link: Option<LinkType>,
    number: u32,
    snaplen: u32,
    longest: u32,
    clock: Clock,
    warned: bool,
    interface_drops: Drops,
    system_drops: Drops,
}

/// How many packets an interface lost: by the statistics, which count from the start, and by what packets say was lost
/// right before them. Where a file has both, they tell of the same packets.
#[derive(Debug, Default)]
struct Drops {
    total: u64,
    between: u64,
}

impl Drops {
    fn count(&self) -> u64 {
        self.total.max(self.between)
    }

    /// Changes it with `change`; adds to `sum` what that adds.
    fn update(&mut self, sum: &mut u64, change: impl FnOnce(&mut Self)) {
        let before = self.count();
        change(self);
        *sum = sum.saturating_add(self.count().saturating_sub(before));
    }
}

/// Where a packet's bytes are in its block, and what they are.
struct Packet {
    interface: u32,
    at: Option<u64>,
    captured: u32,
    wire_len: u32,
    /// Where the packet's bytes start in the block.
    start: usize,
    drops: u64,
}

impl Pcapng {
    pub(super) fn new() -> Self {
        Self {
            order: Order { big_endian: false },
            interfaces: Vec::new(),
            earlier_interfaces: 0,
            last: Timestamp::ZERO,
            unknown: Vec::new(),
            left_out: None,
        }
    }

    /// Consumes blocks up to and including the next packet's.
    pub(super) fn next(
        &mut self,
        window: &mut Window,
        warnings: &mut Warnings,
        counts: &mut Counts,
    ) -> Result<Step, Fault> {
        loop {
            if window.available().len() < 12 && window.fill(12)? == Fill::Short {
                return Ok(end(window));
            }
            let kind = self.order.word(window.available(), 0);
            if kind == SHB_MAGIC {
                self.order = order_of(window.available())?;
            }
            let length = self.order.word(window.available(), 4);
            let total = length as usize;
            if window.available().len() < total || !is_possible(length) {
                if !is_possible(length) {
                    return Fault::corrupt(format!(
                        "a block of type {kind:#x} claims {length} bytes; possible are multiples of 4 from 12 to {LONGEST}"
                    ));
                }
                if window.fill(total)? == Fill::Short {
                    self.check_cut(kind, length, window)?;
                    return Ok(Step::Cut);
                }
            }
            let block = &window.available()[..total];
            let trailer = self.order.word(block, total - 4);
            if trailer != length {
                return Fault::corrupt(format!(
                    "a block of type {kind:#x} claims {length} bytes, but the number does not stand again at their end"
                ));
            }
            let packet = match kind {
                EPB_MAGIC => self.enhanced(block)?,
                SPB_MAGIC => self.simple(block)?,
                OLD_PACKET => self.old(block)?,
                _ => {
                    self.other(kind, block, window.offset(), warnings, counts)?;
                    window.consume(total);
                    continue;
                }
            };
            if let Some(record) = self.accept(&packet, total, warnings, counts)? {
                window.consume(total);
                return Ok(Step::Packet(record));
            }
            window.consume(total);
        }
    }

    /// Only a block that could be one is taken for the last, cut short: a packet block whose two lengths contradict each
    /// other tells of damage.
    #[cold]
    fn check_cut(&self, kind: u32, length: u32, window: &Window) -> Result<(), Fault> {
        const MOST_OPTIONS: u32 = 1024 * 1024;
        let start = window.available();
        if kind != EPB_MAGIC || start.len() < 28 || window.is_cut() {
            return Ok(());
        }
        let captured = self.order.word(start, 20);
        match length.checked_sub(32).and_then(|room| room.checked_sub(captured)) {
            Some(..=MOST_OPTIONS) => Ok(()),
            _ => Fault::corrupt(format!(
                "a packet of {captured} bytes in a block that claims {length}, and the file ends before"
            )),
        }
    }

    /// The packet of a block as a record of its interface; none when the interface's link type cannot be read.
    #[inline]
    fn accept(
        &mut self,
        packet: &Packet,
        total: usize,
        warnings: &mut Warnings,
        counts: &mut Counts,
    ) -> Result<Option<Record>, Fault> {
        let Packet { interface: index, captured, start, .. } = *packet;
        let (len, declared) = (captured as usize, self.interfaces.len());
        let Some(interface) = self.interfaces.get_mut(index as usize) else {
            return Fault::corrupt(format!("a packet of interface {index}, of which the file declares {declared}"));
        };
        if captured > interface.longest || start + len + 4 > total {
            return Fault::corrupt(format!("a packet of {captured} bytes in a block of {total}"));
        }
        if packet.drops > 0 {
            let sum = &mut counts.interface_drops;
            interface.interface_drops.update(sum, |drops| drops.between = drops.between.saturating_add(packet.drops));
        }
        let id = self.earlier_interfaces.saturating_add(index);
        let Some(link) = interface.link else {
            counts.unsupported += 1;
            let name = LinkName(interface.number);
            self.left_out.get_or_insert(name);
            if !std::mem::replace(&mut interface.warned, true) {
                warnings.push(WarningKind::LinkType { interface: id, link: name });
            }
            return Ok(None);
        };
        if let Some(units) = packet.at {
            self.last = interface.clock.instant(units);
        }
        Ok(Some(Record {
            at: self.last,
            link,
            number: interface.number,
            interface: id,
            wire_len: packet.wire_len.max(captured),
            back: total - start - len,
            len,
        }))
    }

    /// Section 4.3: enhanced packet block.
    #[inline]
    fn enhanced(&self, block: &[u8]) -> Result<Packet, Fault> {
        const START: usize = 28;
        if block.len() < START + 4 {
            return Fault::corrupt(format!("an enhanced packet block of {} bytes", block.len()));
        }
        let word = |at| self.order.word(block, at);
        let captured = word(20);
        // Options are rare, and only one of them is of interest.
        let options = START + (captured as usize).next_multiple_of(4);
        let drops = match block.get(options..block.len() - 4) {
            Some(options @ [_, ..]) => self.number_of(options, EPB_DROPCOUNT).unwrap_or(0),
            _ => 0,
        };
        Ok(Packet {
            interface: word(8),
            at: Some(u64::from(word(12)) << 32 | u64::from(word(16))),
            captured,
            wire_len: word(24),
            start: START,
            drops,
        })
    }

    /// Section 4.4: simple packet block. It has no time, belongs to the first interface, and says how much was captured
    /// only by that interface's snapshot length and the block's.
    fn simple(&self, block: &[u8]) -> Result<Packet, Fault> {
        const START: usize = 12;
        let Some(room) = block.len().checked_sub(START + 4) else {
            return Fault::corrupt(format!("a simple packet block of {} bytes", block.len()));
        };
        let wire_len = self.order.word(block, 8);
        let snaplen = match self.interfaces.first() {
            Some(&Interface { snaplen: limit @ 1.., .. }) => limit,
            _ => u32::MAX,
        };
        let captured = wire_len.min(snaplen).min(u32::try_from(room).unwrap_or(u32::MAX));
        Ok(Packet { interface: 0, at: None, captured, wire_len, start: START, drops: 0 })
    }

    /// Appendix A: the obsolete packet block.
    fn old(&self, block: &[u8]) -> Result<Packet, Fault> {
        const START: usize = 28;
        if block.len() < START + 4 {
            return Fault::corrupt(format!("a packet block of {} bytes", block.len()));
        }
        let word = |at| self.order.word(block, at);
        let drops = self.order.half(block, 10);
        Ok(Packet {
            interface: u32::from(self.order.half(block, 8)),
            at: Some(u64::from(word(12)) << 32 | u64::from(word(16))),
            captured: word(20),
            wire_len: word(24),
            start: START,
            drops: if drops == UNKNOWN_DROPS { 0 } else { u64::from(drops) },
        })
    }

    /// Blocks without a packet.
    #[cold]
    fn other(
        &mut self,
        kind: u32,
        block: &[u8],
        offset: u64,
        warnings: &mut Warnings,
        counts: &mut Counts,
    ) -> Result<(), Fault> {
        match kind {
            SHB_MAGIC => self.section(block),
            IDB_MAGIC => self.interface(block),
            ISB_MAGIC => self.statistics(block, counts),
            // Names, secrets, journal entries, processes and whatever a vendor adds: nothing a frame depends on.
            NRB_MAGIC | DSB_MAGIC | SJE_MAGIC | PIB_MAGIC | CB_MAGIC | DCB_MAGIC => Ok(()),
            _ => {
                counts.unknown_blocks += 1;
                // As many kinds as are remembered are told apart; a file with more is rubbish anyway.
                if self.unknown.len() < 16 && !self.unknown.contains(&kind) {
                    self.unknown.push(kind);
                    warnings.push(WarningKind::UnknownBlock { block: kind, offset });
                }
                Ok(())
            }
        }
    }

    /// Section 4.1: section header block. The interfaces before it are no more.
    fn section(&mut self, block: &[u8]) -> Result<(), Fault> {
        if block.len() < 28 {
            return Fault::corrupt(format!("a section header of {} bytes", block.len()));
        }
        let (major, minor) = (self.order.half(block, 12), self.order.half(block, 14));
        if major != 1 {
            return Fault::corrupt(format!("a section of pcapng version {major}.{minor}; version 1 is supported"));
        }
        let count = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.earlier_interfaces = self.earlier_interfaces.saturating_add(count);
        self.interfaces.clear();
        Ok(())
    }

    /// Section 4.2: interface description block.
    fn interface(&mut self, block: &[u8]) -> Result<(), Fault> {
        if block.len() < 20 {
            return Fault::corrupt(format!("an interface description of {} bytes", block.len()));
        }
        if self.interfaces.len() == MOST_INTERFACES {
            return Fault::corrupt(format!("a section with more than {MOST_INTERFACES} interfaces"));
        }
        let number = u32::from(self.order.half(block, 8));
        let snaplen = self.order.word(block, 12);
        let mut clock = Clock::MICROSECONDS;
        let options = &block[16..block.len() - 4];
        let resolution = self.option(options, IF_TSRESOL).and_then(|value| value.first().copied());
        let offset = self.number_of(options, IF_TSOFFSET).map(u64::cast_signed);
        if resolution.is_some() || offset.is_some() {
            clock = Clock::new(resolution.unwrap_or(6), offset.unwrap_or(0));
        }
        self.interfaces.push(Interface {
            link: LinkType::from_number(number),
            number,
            snaplen,
            longest: longest_packet(snaplen),
            clock,
            warned: false,
            interface_drops: Drops::default(),
            system_drops: Drops::default(),
        });
        Ok(())
    }

    /// Section 4.6: interface statistics block. Its numbers count from the start of the capture.
    fn statistics(&mut self, block: &[u8], counts: &mut Counts) -> Result<(), Fault> {
        if block.len() < 24 {
            return Fault::corrupt(format!("interface statistics of {} bytes", block.len()));
        }
        let options = &block[20..block.len() - 4];
        let dropped = self.number_of(options, ISB_IFDROP);
        let dropped_by_system = self.number_of(options, ISB_OSDROP);
        // Statistics of an interface that is not declared say nothing about any frame.
        if let Some(interface) = self.interfaces.get_mut(self.order.word(block, 8) as usize) {
            for (drops, sum, now) in [
                (&mut interface.interface_drops, &mut counts.interface_drops, dropped),
                (&mut interface.system_drops, &mut counts.system_drops, dropped_by_system),
            ] {
                drops.update(sum, |drops| drops.total = drops.total.max(now.unwrap_or(0)));
            }
        }
        Ok(())
    }

    /// The value of the first option with this code (section 3.5). Options that cannot be read end the search: the
    /// block's own length stands, so nothing behind it is in doubt.
    fn option<'a>(&self, mut options: &'a [u8], code: u16) -> Option<&'a [u8]> {
        while let Some((head, rest)) = options.split_first_chunk::<4>() {
            let (found, len) = (self.order.half(head, 0), usize::from(self.order.half(head, 2)));
            if found == END {
                return None;
            }
            if found == code {
                return rest.get(..len);
            }
            options = rest.get(len.next_multiple_of(4)..)?;
        }
        None
    }

    /// The value of the first option with this code, where it is a 64-bit number.
    fn number_of(&self, options: &[u8], code: u16) -> Option<u64> {
        let value = self.option(options, code)?;
        Some(self.order.u64(value.try_into().ok()?))
    }
}

/// The byte order of the section whose header `block` starts.
fn order_of(block: &[u8]) -> Result<Order, Fault> {
    for big_endian in [false, true] {
        let order = Order { big_endian };
        if order.word(block, 8) == BOM_MAGIC {
            return Ok(order);
        }
    }
    Fault::corrupt("a section header without a byte-order mark")
}

/// Whether a block can have this length.
#[inline]
fn is_possible(length: u32) -> bool {
    (12..=LONGEST).contains(&length) && length.is_multiple_of(4)
}
