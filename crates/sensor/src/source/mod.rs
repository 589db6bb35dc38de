//! STAND-IN, to be replaced: classic little-endian pcap files only.
#![allow(missing_docs)]

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use decap::{Frame, LinkType, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Stdin,
    File(PathBuf),
}

#[derive(Debug)]
pub struct OpenError {
    code: u8,
    message: String,
}

impl OpenError {
    pub fn exit_code(&self) -> u8 {
        self.code
    }

    pub fn hint(&self) -> Option<&'static str> {
        None
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for OpenError {}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

#[derive(Debug)]
pub struct ReadError {
    pub file: String,
    pub offset: u64,
    pub reason: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: at byte {}: {}", self.file, self.offset, self.reason)
    }
}

impl std::error::Error for ReadError {}

#[derive(Debug)]
pub struct FilterError(String);

impl FilterError {
    pub fn hint(&self) -> &'static str {
        "see pcap-filter(7)"
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FilterError {}

#[derive(Debug)]
pub struct Filter;

impl Filter {
    pub fn new(expr: &str) -> Result<Self, FilterError> {
        if expr.contains("nonsense") { Err(FilterError(format!("filter `{expr}`: syntax error"))) } else { Ok(Self) }
    }

    pub fn matches(&mut self, captured: &Captured<'_>) -> bool {
        captured.link_number == 1
    }

    pub fn problem(&self) -> Option<&FilterError> {
        None
    }
}

#[derive(Clone, Debug, Default)]
pub struct ReadOptions {}

#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    pub frame: Frame<'a>,
    pub interface: u32,
    pub link_number: u32,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub read_bytes: u64,
    pub total_bytes: Option<u64>,
}

#[derive(Debug)]
pub struct Warning(String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub fn expand(args: &[PathBuf]) -> Result<Vec<Input>, OpenError> {
    let mut inputs = Vec::new();
    for arg in args {
        if arg.as_os_str() == "-" {
            inputs.push(Input::Stdin);
        } else if arg.is_dir() {
            let mut files: Vec<_> = std::fs::read_dir(arg).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            inputs.extend(files.into_iter().map(Input::File));
        } else if arg.exists() {
            inputs.push(Input::File(arg.clone()));
        } else {
            return Err(OpenError { code: 2, message: format!("{}: no such file", arg.display()) });
        }
    }
    Ok(inputs)
}

pub fn expand_with(args: &[PathBuf], _: &mut Vec<Warning>) -> Result<Vec<Input>, OpenError> {
    expand(args)
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub frames: u64,
    pub unsupported: u64,
    pub interface_drops: u64,
    pub system_drops: u64,
}

#[derive(Debug)]
pub struct CaptureReader {
    name: String,
    data: Vec<u8>,
    at: usize,
    link: u32,
    warnings: Vec<Warning>,
}

impl CaptureReader {
    pub fn open(input: &Input, _: &ReadOptions) -> Result<Self, OpenError> {
        let mut data = Vec::new();
        let name = match input {
            Input::Stdin => {
                std::io::stdin().read_to_end(&mut data).unwrap();
                "standard input".to_owned()
            }
            Input::File(path) => {
                data = std::fs::read(path)
                    .map_err(|error| OpenError { code: 2, message: format!("{}: {error}", path.display()) })?;
                path.display().to_string()
            }
        };
        Self::new(data, name)
    }

    pub fn from_read(mut read: Box<dyn Read + Send>, name: String, _: &ReadOptions) -> Result<Self, OpenError> {
        let mut data = Vec::new();
        read.read_to_end(&mut data).unwrap();
        Self::new(data, name)
    }

    pub fn counts(&self) -> &Counts {
        const { &Counts { frames: 0, unsupported: 0, interface_drops: 0, system_drops: 0 } }
    }

    fn new(data: Vec<u8>, name: String) -> Result<Self, OpenError> {
        if data.len() < 24 || data[..4] != [0xd4, 0xc3, 0xb2, 0xa1] {
            return Err(OpenError { code: 1, message: format!("{name}: not a capture file") });
        }
        let link = u32::from_le_bytes(data[20..24].try_into().unwrap());
        Ok(Self { name, data, at: 24, link, warnings: Vec::new() })
    }

    pub fn next(&mut self) -> Result<Option<Captured<'_>>, ReadError> {
        let rest = &self.data[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let word = |at: usize| rest.get(at..at + 4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
        let (Some(s), Some(us), Some(len), Some(wire_len)) = (word(0), word(4), word(8), word(12)) else {
            self.warnings.push(Warning(format!("{}: cut in its last packet", self.name)));
            self.at = self.data.len();
            return Ok(None);
        };
        if len > 262_144 {
            return Err(ReadError {
                file: self.name.clone(),
                offset: self.at as u64,
                reason: "a packet of impossible length".to_owned(),
            });
        }
        let Some(data) = rest.get(16..16 + len as usize) else {
            self.warnings.push(Warning(format!("{}: cut in its last packet", self.name)));
            self.at = self.data.len();
            return Ok(None);
        };
        self.at += 16 + len as usize;
        let frame = Frame {
            at: Timestamp::from_nanos(u64::from(s) * 1_000_000_000 + u64::from(us) * 1_000),
            link: LinkType::from_number(self.link).unwrap(),
            data,
            wire_len,
        };
        Ok(Some(Captured { frame, interface: 0, link_number: self.link }))
    }

    pub fn progress(&self) -> Progress {
        Progress { read_bytes: self.at as u64, total_bytes: Some(self.data.len() as u64) }
    }

    pub fn warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}
