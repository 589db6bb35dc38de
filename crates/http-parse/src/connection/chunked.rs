//! The chunked coding (RFC 9112, section 7.1), read without keeping anything but a few numbers.

use memchr::memchr;

/// More bytes of chunk extensions on one line than any sender has reason for.
const MAX_EXTENSION: u32 = 64 << 10;
/// White space around a chunk size that is let pass.
const MAX_SPACE: u8 = 64;

/// Where in the coding a body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    /// In a chunk size: its value so far, whether there were digits, and bytes of white space before them.
    Size { value: u64, digits: bool, spaces: u8 },
    /// Behind the size, before the line's end.
    Extension { value: u64, len: u32 },
    /// Behind a size line's CR.
    SizeLf { value: u64 },
    /// In chunk data with this many bytes to come.
    Data(u64),
    /// Behind chunk data, before the CR.
    DataEnd,
    /// Behind chunk data, behind the CR.
    DataLf,
    /// In the trailer section: where it starts in the head buffer, and how many bytes but CR the current line has.
    Trailer { from: u32, line: u32 },
}

/// What one step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This many bytes of the coding itself.
    Framing(usize),
    /// This many bytes of chunk data.
    Data(usize),
    /// The trailer section starts here.
    Trailer,
    /// These bytes are not the coding.
    Invalid,
}

impl Chunked {
    pub(super) const START: Self = Self::Size { value: 0, digits: false, spaces: 0 };

    /// Advances over a piece of `bytes`, which are not empty. Not for the trailer section.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        if let Self::Data(left) = self {
            let len = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            *left -= len as u64;
            if *left == 0 {
                *self = Self::DataEnd;
            }
            return Step::Data(len);
        }
        let mut used = 0;
        while let Some(byte) = bytes.get(used) {
            if let Self::Extension { value, len } = self {
                let rest = bytes.get(used..).unwrap_or_default();
                let (skipped, ended) = memchr(b'\n', rest).map_or((rest.len(), false), |at| (at + 1, true));
                *len = len.saturating_add(u32::try_from(skipped).unwrap_or(u32::MAX));
                if *len > MAX_EXTENSION {
                    return Step::Invalid;
                }
                used += skipped;
                if ended {
                    *self = Self::behind_size(*value);
                }
            } else {
                let Some(next) = self.after(*byte) else { return Step::Invalid };
                *self = next;
                used += 1;
            }
            if matches!(self, Self::Data(_) | Self::Trailer { .. }) {
                break;
            }
        }
        if used == 0 { Step::Trailer } else { Step::Framing(used) }
    }

    fn behind_size(value: u64) -> Self {
        if value == 0 { Self::Trailer { from: 0, line: 0 } } else { Self::Data(value) }
    }

    /// The state behind one byte of framing; `None`: the byte breaks the coding.
    fn after(self, byte: u8) -> Option<Self> {
        match self {
            Self::Size { value, digits, spaces } => match (byte, digits) {
                (b' ' | b'\t', false) if spaces < MAX_SPACE => Some(Self::Size { value, digits, spaces: spaces + 1 }),
                (b'\r', true) => Some(Self::SizeLf { value }),
                (b'\n', true) => Some(Self::behind_size(value)),
                (b';' | b' ' | b'\t', true) => Some(Self::Extension { value, len: 0 }),
                _ => {
                    let digit = char::from(byte).to_digit(16)?;
                    let value = value.checked_mul(16)?.checked_add(u64::from(digit))?;
                    // A body longer than 2^63 bytes is a broken size, not a body.
                    (value >> 63 == 0).then_some(Self::Size { value, digits: true, spaces })
                }
            },
            Self::SizeLf { value } => (byte == b'\n').then(|| Self::behind_size(value)),
            Self::DataEnd => match byte {
                b'\r' => Some(Self::DataLf),
                b'\n' => Some(Self::START),
                _ => None,
            },
            Self::DataLf => (byte == b'\n').then_some(Self::START),
            Self::Extension { .. } | Self::Data(_) | Self::Trailer { .. } => Some(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of a chunked body fed in pieces of `piece` bytes, and whether it reached its trailer section.
    fn decode(body: &[u8], piece: usize) -> Result<(Vec<u8>, bool), usize> {
        let (mut state, mut data, mut at) = (Chunked::START, Vec::new(), 0);
        while at < body.len() {
            if matches!(state, Chunked::Trailer { .. }) {
                return Ok((data, true));
            }
            let bytes = &body[at..body.len().min(at + piece)];
            match state.step(bytes) {
                Step::Framing(len) => at += len,
                Step::Data(len) => {
                    data.extend_from_slice(&bytes[..len]);
                    at += len;
                }
                Step::Trailer => unreachable!(),
                Step::Invalid => return Err(at),
            }
        }
        Ok((data, matches!(state, Chunked::Trailer { .. })))
    }

    #[test]
    fn any_split_decodes_alike() {
        let body = b"5\r\nhello\r\n006;a=\"b\"\r\n world\r\n A \r\n0123456789\r\n1\nx\n000\r\n\r\n";
        for piece in 1..body.len() {
            assert_eq!(decode(body, piece), Ok((b"hello world0123456789x".to_vec(), true)), "{piece}");
        }
    }

    #[test]
    fn broken_sizes_and_ends_are_refused() {
        for body in [&b"\r\n"[..], b"g\r\n", b";x\r\n", b"5\rx", b"1\r\nxy\r\n", b"1\r\nx\ry", b"-1\r\n", b"0x5\r\n"] {
            assert!(decode(body, 1).is_err(), "{body:?}");
            assert!(decode(body, body.len()).is_err(), "{body:?}");
        }
        assert!(decode(b"8000000000000000\r\n", 3).is_err());
        assert!(decode(b"11111111111111111\r\n", 3).is_err());
        assert!(decode(b"00000000000000000000000000000001\r\n", 3).is_ok());
        assert!(decode(&[b"1;".to_vec(), vec![b'a'; 70_000]].concat(), 1460).is_err());
    }
}
