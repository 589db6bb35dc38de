//! One input, frame by frame.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use decap::Frame;

use super::content::{Content, ENOUGH, readable};
use super::decompress::{Counted, Zstd};
use super::error::{OpenError, ReadError};
use super::gzip::Gzip;
use super::input::Input;
use super::pcap::{FILE_HEADER, Pcap, Refusal};
use super::pcapng::Pcapng;
use super::read_ahead::ReadAhead;
use super::record::{Fault, Record, Step};
use super::warning::{Warning, WarningKind, Warnings};
use super::window::{Fill, Window};

/// The length from which a file is worth a thread that reads it.
const LARGE: u64 = 8 << 20;

/// How to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Bytes of the buffer that the input is read into. It grows for a record that does not fit, up to 32 MiB.
    pub buffer_bytes: usize,
    /// Whether compressed input is decompressed on a thread of its own, and a large file is read on one.
    pub read_ahead: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        // Measured on a file of 1.2 GB: from 128 KiB to 512 KiB the same, below and above slower, because then system
        // calls count, or the second-level cache no longer holds what the kernel has just copied.
        Self { buffer_bytes: 256 * 1024, read_ahead: true }
    }
}

/// A frame, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// The frame.
    pub frame: Frame<'a>,
    /// The interface that captured it, counted over the whole file from 0 (a pcapng section's interfaces follow those of
    /// the sections before it). A pcap file has one.
    pub interface: u32,
    /// The LINKTYPE_ number of `frame.link`, as the file has it.
    pub link_number: u32,
}

/// How far an input has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the input, compressed ones where it is compressed. Up to a buffer ahead of the frames.
    pub read_bytes: u64,
    /// Its length when it was opened, where it has one (a pipe has none).
    pub total_bytes: Option<u64>,
}

/// What an input held so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Frames given.
    pub frames: u64,
    /// Packets left out, because their interface's link type cannot be read.
    pub unsupported: u64,
    /// Packets that the capturing interfaces dropped, as the file says (pcapng: isb_ifdrop, epb_dropcount, and the drop
    /// count of old packet blocks).
    pub interface_drops: u64,
    /// Packets that the capturing operating system dropped, as the file says (pcapng: isb_osdrop).
    pub system_drops: u64,
    /// Blocks of unknown types stepped over (pcapng).
    pub unknown_blocks: u64,
}

/// Reads the frames of one capture file, in file order.
///
/// ```no_run
/// use sensor::source::{CaptureReader, Input, ReadOptions};
///
/// let mut reader = CaptureReader::open(&Input::File("a.pcap.gz".into()), &ReadOptions::default())?;
/// while let Some(captured) = reader.next()? {
///     println!("{}: {} bytes", captured.frame.at, captured.frame.data.len());
/// }
/// for warning in reader.warnings() {
///     eprintln!("{warning}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CaptureReader {
    window: Window,
    format: Format,
    taken: Arc<AtomicU64>,
    total_bytes: Option<u64>,
    warnings: Warnings,
    counts: Counts,
    ended: bool,
}

#[derive(Debug)]
enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

impl CaptureReader {
    /// Opens an input and reads its header.
    ///
    /// # Errors
    ///
    /// When there is no such input, when it is no capture, or a pcap file of a link type that cannot be read.
    pub fn open(input: &Input, options: &ReadOptions) -> Result<Self, OpenError> {
        let file = input.open()?;
        let total_bytes = length(&file);
        Self::new(Box::new(file), input.to_string(), total_bytes, options)
    }

    /// Reads from anything that can be read.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn from_read(read: Box<dyn Read + Send>, name: String, options: &ReadOptions) -> Result<Self, OpenError> {
        Self::new(read, name, None, options)
    }

    fn new(
        read: Box<dyn Read + Send>,
        name: String,
        total_bytes: Option<u64>,
        options: &ReadOptions,
    ) -> Result<Self, OpenError> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut window = Window::new(Box::new(Counted::new(read, Arc::clone(&taken))), options.buffer_bytes);
        let mut content = look(&mut window, &name)?;
        if matches!(content, Content::Gzip | Content::Zstd) {
            window = decompressed(window, content, options).map_err(|source| io_error(&name, 0, source))?;
            content = match look(&mut window, &name)? {
                Content::Gzip | Content::Zstd => {
                    return Err(OpenError::Unsupported {
                        name,
                        format: "compressed more than once",
                        hint: "decompress it once first",
                    });
                }
                other => other,
            };
        }
        let format = match content {
            Content::Pcap(kind) => {
                fill(&mut window, FILE_HEADER, &name)?;
                let Some(header) = window.available().first_chunk::<FILE_HEADER>() else {
                    return Err(cut_header(name, &window));
                };
                let pcap = Pcap::new(kind, header).map_err(|refusal| match refusal {
                    Refusal::Link(link) => OpenError::LinkType { name: name.clone(), link },
                    Refusal::Version => OpenError::Unsupported {
                        name: name.clone(),
                        format: "a pcap file of a version other than 2",
                        hint: "if it was written by a capture tool, convert it to pcapng, for example with editcap",
                    },
                })?;
                window.consume(FILE_HEADER);
                Format::Pcap(pcap)
            }
            Content::Pcapng => {
                if fill(&mut window, 28, &name)? == Fill::Short {
                    return Err(cut_header(name, &window));
                }
                Format::Pcapng(Pcapng::new())
            }
            Content::Unsupported { format, hint } => return Err(OpenError::Unsupported { name, format, hint }),
            Content::Unknown | Content::Gzip | Content::Zstd => {
                return Err(if window.available().is_empty() {
                    OpenError::Empty { name }
                } else {
                    OpenError::NotACapture { name, start: readable(window.available()) }
                });
            }
        };
        if options.read_ahead
            && !window.is_ahead()
            && total_bytes.is_some_and(|len| len >= LARGE)
            && has_two_processors()
        {
            window.read_ahead(None).map_err(|source| io_error(&name, window.offset(), source))?;
        }
        let warnings = Warnings::new(name);
        Ok(Self { window, format, taken, total_bytes, warnings, counts: Counts::default(), ended: false })
    }

    /// The next frame; none at the end of the input, and after an error.
    ///
    /// # Errors
    ///
    /// When what follows cannot be a record, or cannot be read. All frames before it have been given. [`ReadError::Waiting`]
    /// is not the end: it comes after [`Self::waiting_at_most`] only.
    #[expect(
        clippy::should_implement_trait,
        reason = "frames borrow from the reader, which an iterator's items cannot"
    )]
    // Always inlined, as what it calls for pcap files: a frame's fields stay in registers.
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<Captured<'_>>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        let step = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.window),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.window, &mut self.warnings, &mut self.counts),
        };
        match step {
            Ok(Step::Packet(Record { at, link, number, interface, wire_len, back, len })) => {
                self.counts.frames += 1;
                let frame = Frame { at, link, data: self.window.behind(back, len), wire_len };
                Ok(Some(Captured { frame, interface, link_number: number }))
            }
            Err(Fault::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(ReadError::Waiting { name: self.warnings.name().to_owned() })
            }
            other => self.end(other).map(|()| None),
        }
    }

    /// The same, reading on a thread of its own and waiting for nothing any longer than this: for inputs that may be quiet.
    /// [`ReadError::Waiting`] then comes as often where they are not, so that the time is told without a clock.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn waiting_at_most(mut self, patience: Duration) -> Result<Self, OpenError> {
        let (name, offset) = (self.warnings.name(), self.window.offset());
        self.window.read_ahead(Some(patience)).map_err(|source| io_error(name, offset, source))?;
        Ok(self)
    }

    /// The input is over, one way or another.
    #[cold]
    fn end(&mut self, step: Result<Step, Fault>) -> Result<(), ReadError> {
        self.ended = true;
        let (name, offset) = (self.warnings.name().to_owned(), self.window.offset());
        match step {
            Err(fault) => return Err(fault.at(name, offset)),
            Ok(Step::Cut) => {
                let present = self.window.available().len() as u64;
                self.warnings.push(WarningKind::Cut { offset, present });
            }
            Ok(Step::End | Step::Packet(_)) => {}
        }
        match &self.format {
            Format::Pcapng(Pcapng { left_out: Some(link), .. }) if self.counts.frames == 0 => {
                Err(ReadError::LinkType { name, link: *link, packets: self.counts.unsupported })
            }
            _ => Ok(()),
        }
    }

    /// How far the input has been read.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { read_bytes: self.taken.load(Ordering::Relaxed), total_bytes: self.total_bytes }
    }

    /// What there is to warn about since the last call. After the last frame: all there is.
    pub fn warnings(&mut self) -> Vec<Warning> {
        self.warnings.take()
    }

    /// What the input held so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Where the next record starts, in decompressed bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.window.offset()
    }

    /// The input's name, as messages have it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.warnings.name()
    }
}

impl std::fmt::Debug for CaptureReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureReader")
            .field("name", &self.name())
            .field("offset", &self.offset())
            .field("format", &self.format)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl Fault {
    fn at(self, name: String, offset: u64) -> ReadError {
        match self {
            Self::Corrupt(reason) => ReadError::Corrupt { name, offset, reason },
            Self::Io(source) => ReadError::Io { name, offset, source },
        }
    }
}

/// Why a file is not worth opening as a capture, told from its first bytes, decompressed; none when it is.
///
/// # Errors
///
/// When it cannot be opened.
pub(super) fn not_a_capture(input: &Input) -> Result<Option<OpenError>, OpenError> {
    let file = input.open()?;
    let options = ReadOptions { buffer_bytes: 4096, read_ahead: false };
    match CaptureReader::new(Box::new(file), input.to_string(), None, &options) {
        Err(error @ (OpenError::Empty { .. } | OpenError::NotACapture { .. } | OpenError::Unsupported { .. })) => {
            Ok(Some(error))
        }
        // A capture, if perhaps a broken one: who opens it will hear.
        _ => Ok(None),
    }
}

/// What the input is.
fn look(window: &mut Window, name: &str) -> Result<Content, OpenError> {
    fill(window, ENOUGH, name)?;
    Ok(Content::of(window.available()))
}

/// A window on what is in the compressed input behind `window`, none of which has been consumed.
fn decompressed(window: Window, content: Content, options: &ReadOptions) -> io::Result<Window> {
    fn on(read: impl Read + Send + 'static, options: &ReadOptions) -> io::Result<Window> {
        Ok(if options.read_ahead {
            Window::ahead(ReadAhead::start(read)?)
        } else {
            Window::new(Box::new(read), options.buffer_bytes)
        })
    }
    let input = window.into_read();
    match content {
        Content::Zstd => on(Zstd::new(input), options),
        _ => on(Gzip::new(input), options),
    }
}

/// Whether a second thread has where to run.
fn has_two_processors() -> bool {
    std::thread::available_parallelism().is_ok_and(|count| count.get() > 1)
}

fn fill(window: &mut Window, need: usize, name: &str) -> Result<Fill, OpenError> {
    window.fill(need).map_err(|source| io_error(name, window.offset(), source))
}

fn io_error(name: &str, offset: u64, source: io::Error) -> OpenError {
    Fault::from(source).at(name.to_owned(), offset).into()
}

fn cut_header(name: String, window: &Window) -> OpenError {
    OpenError::CutHeader { name, bytes: window.available().len() as u64 }
}

/// The length of a regular file.
fn length(file: &File) -> Option<u64> {
    file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}
