//! Filter expressions of libpcap (pcap-filter(7)).

use super::link::LinkName;
use super::program::Program;
use super::reader::Captured;

/// Which frames are wanted, as captured: before any tunnel is taken off.
///
/// An expression means a different program for each link type. It is compiled when the first frame of a type comes.
#[derive(Debug)]
pub struct Filter {
    expression: String,
    /// By LINKTYPE_ number, the latest first. A type that the expression cannot be compiled for has none.
    programs: Vec<(u32, Option<Program>)>,
    problem: Option<FilterError>,
}

/// A filter expression that libpcap refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter '{expression}' cannot be compiled for link type {link}: {reason}")]
pub struct FilterError {
    /// The expression.
    pub expression: String,
    /// The link type it was compiled for.
    pub link: LinkName,
    /// libpcap's words.
    pub reason: String,
}

impl FilterError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "the syntax is that of tcpdump (man 7 pcap-filter), as one argument: --filter 'tcp port 80 or udp port 4789'"
    }

    /// The exit code of a program that stops for this.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        2
    }
}

/// One LINKTYPE_ number of each kind that can be read.
const LINKS: [u32; 8] = [1, 113, 276, 101, 228, 229, 0, 108];

impl Filter {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// When it means nothing on any link type that can be read; the reason is the one given for Ethernet.
    pub fn new(expression: &str) -> Result<Self, FilterError> {
        let mut filter = Self { expression: expression.to_owned(), programs: Vec::new(), problem: None };
        let Err(error) = filter.prepare(LINKS[0]) else {
            return Ok(filter);
        };
        // Some expressions mean something on some link types only (`inbound` on Linux cooked captures).
        if LINKS[1..].iter().any(|&number| filter.prepare(number).is_ok()) {
            filter.problem = None;
            return Ok(filter);
        }
        Err(error)
    }

    /// Whether a frame is wanted. A frame of a link type that the expression means nothing on is not; see
    /// [`Self::problem`].
    #[inline]
    pub fn matches(&mut self, captured: &Captured<'_>) -> bool {
        let number = captured.link_number;
        if self.programs.first().is_none_or(|&(first, _)| first != number) {
            self.select(number);
        }
        match self.programs.first() {
            Some((_, Some(program))) => program.accepts(captured.frame.data, captured.frame.wire_len),
            _ => false,
        }
    }

    /// Compiles the expression for a link type, by its LINKTYPE_ number.
    ///
    /// # Errors
    ///
    /// When it means nothing there.
    pub fn prepare(&mut self, number: u32) -> Result<(), FilterError> {
        let compiled = compile(&self.expression, LinkName(number));
        let (program, result) = match compiled {
            Ok(program) => (Some(program), Ok(())),
            Err(error) => {
                self.problem.get_or_insert_with(|| error.clone());
                (None, Err(error))
            }
        };
        self.programs.retain(|&(known, _)| known != number);
        self.programs.insert(0, (number, program));
        result
    }

    /// The first link type met that the expression cannot be compiled for, though it can for others.
    #[must_use]
    pub const fn problem(&self) -> Option<&FilterError> {
        self.problem.as_ref()
    }

    /// The expression.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Puts a link type's program first.
    #[cold]
    fn select(&mut self, number: u32) {
        match self.programs.iter().position(|&(known, _)| known == number) {
            Some(found) => {
                if self.programs[found].1.is_none() && self.problem.is_none() {
                    // Known since the start not to compile; now it matters.
                    let _ = self.prepare(number);
                } else {
                    self.programs[..=found].rotate_right(1);
                }
            }
            None => {
                let _ = self.prepare(number);
            }
        }
    }
}

fn compile(expression: &str, link: LinkName) -> Result<Program, FilterError> {
    let error = |reason: String| FilterError { expression: expression.to_owned(), link, reason };
    let compiled = pcap::Capture::dead(pcap::Linktype(link.dlt()))
        .and_then(|handle| handle.compile(expression, true))
        .map_err(|source| {
            error(match source {
                pcap::Error::PcapError(reason) => reason,
                other => other.to_string(),
            })
        })?;
    let instructions: Option<Vec<_>> = compiled.get_instructions().iter().map(|one| fields(&one.to_string())).collect();
    let instructions = instructions.ok_or_else(|| error("libpcap compiled it to something unreadable".to_owned()))?;
    if instructions.iter().any(|&(code, _, _, k)| code & 0xe7 == LOAD_AT && k >= ANCILLARY) {
        return Err(error("it asks for what only the kernel knows of a live packet".to_owned()));
    }
    Program::new(instructions).ok_or_else(|| error("libpcap compiled it to a program that cannot be run".to_owned()))
}

/// A load from a fixed offset, of any size.
const LOAD_AT: u16 = 0x20;

/// Offsets from here up are no offsets but ask Linux for a packet's direction, interface and so on (SKF_AD_OFF).
const ANCILLARY: u32 = 0xffff_f000;

/// An instruction's fields, from its text: the binding shows them in no other way.
fn fields(instruction: &str) -> Option<(u16, u8, u8, u32)> {
    let mut fields = instruction.split_ascii_whitespace();
    let (code, yes, no, k) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let all = (code.parse().ok()?, yes.parse().ok()?, no.parse().ok()?, k.parse().ok()?);
    fields.next().is_none().then_some(all)
}
