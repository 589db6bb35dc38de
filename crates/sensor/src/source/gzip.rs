//! gzip (RFC 1952).

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::decompress::{STEP, corrupt};

/// The members of a gzip file, decompressed.
///
/// Input that ends early is [`ErrorKind::UnexpectedEof`], input that is not gzip is [`ErrorKind::InvalidData`]; both come
/// after everything that could be decompressed. That is why the members are read here: flate2's own reader, when it
/// fails, keeps what the failing call had decompressed, which is as much as the caller's buffer holds.
pub(super) struct Gzip<R: Read> {
    body: DeflateDecoder<BufReader<R>>,
    checksum: Crc,
    state: State,
}

enum State {
    /// Before the first member.
    Begin,
    /// Behind a member: before the next, or at the end.
    Between,
    Inside,
    Failed(Option<io::Error>),
}

impl<R: Read> Gzip<R> {
    pub(super) fn new(input: R) -> Self {
        let body = DeflateDecoder::new(BufReader::with_capacity(STEP, input));
        Self { body, checksum: Crc::new(), state: State::Begin }
    }

    /// Holds a member's end against its content (section 2.3.1: CRC32, ISIZE).
    fn check(&mut self) -> io::Result<()> {
        let mut trailer = [0; 8];
        self.body.get_mut().read_exact(&mut trailer)?;
        let mut expected = [0; 8];
        expected[..4].copy_from_slice(&self.checksum.sum().to_le_bytes());
        expected[4..].copy_from_slice(&self.checksum.amount().to_le_bytes());
        if trailer == expected { Ok(()) } else { Err(corrupt("gzip", "its checksum does not match")) }
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.state {
                State::Begin | State::Between => {
                    let next = self.body.get_mut().fill_buf()?;
                    if next.is_empty() {
                        return Ok(0);
                    }
                    if let (State::Between, Some(0)) = (&self.state, next.first()) {
                        // Files come padded to whole blocks from tapes and disks; every gzip takes zeros for the end.
                        skip_zeros(self.body.get_mut())?;
                        return Ok(0);
                    }
                    skip_header(self.body.get_mut())?;
                    self.body.reset_data();
                    self.checksum.reset();
                    self.state = State::Inside;
                }
                State::Inside => {
                    let before = self.body.total_out();
                    let count = match self.body.read(into) {
                        Ok(count) => count,
                        Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                        Err(error) => {
                            let error = match error.kind() {
                                ErrorKind::InvalidInput | ErrorKind::InvalidData => corrupt("gzip", &error),
                                _ => error,
                            };
                            self.state = State::Failed(Some(error));
                            usize::try_from(self.body.total_out() - before).unwrap_or(0).min(into.len())
                        }
                    };
                    if count > 0 {
                        self.checksum.update(&into[..count]);
                        return Ok(count);
                    }
                    if let State::Inside = self.state {
                        self.check()?;
                        self.state = State::Between;
                    }
                }
                State::Failed(error) => return error.take().map_or(Ok(0), Err),
            }
        }
    }
}

/// Steps over zeros up to the end.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = input.fill_buf()?;
        let count = bytes.len();
        if count == 0 {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(corrupt("gzip", "something other than zeros stands behind zeros"));
        }
        input.consume(count);
    }
}

/// Section 2.3: a member's header.
fn skip_header(input: &mut impl BufRead) -> io::Result<()> {
    const CHECKSUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;

    let mut header = [0; 10];
    input.read_exact(&mut header)?;
    let [0x1f, 0x8b, 8, flags @ 0..=0x1f, ..] = header else {
        return Err(corrupt("gzip", "what should be the next member's header is none"));
    };
    if flags & EXTRA != 0 {
        let mut length = [0; 2];
        input.read_exact(&mut length)?;
        skip(input, u64::from(u16::from_le_bytes(length)))?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            input.skip_until(0)?;
        }
    }
    if flags & CHECKSUM != 0 {
        skip(input, 2)?;
    }
    Ok(())
}

/// Steps over `count` bytes.
pub(super) fn skip(input: &mut impl Read, count: u64) -> io::Result<()> {
    match io::copy(&mut input.take(count), &mut io::sink())? {
        skipped if skipped == count => Ok(()),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, GzBuilder};

    use super::*;

    #[test]
    fn headers_with_everything_in_them() {
        let mut file = Vec::new();
        for content in [&b"one "[..], b"two"] {
            let builder = GzBuilder::new().filename("a.pcap").comment("a remark").extra(&b"extra"[..]).mtime(7);
            let mut encoder = builder.write(&mut file, Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap();
        }
        let mut read = String::new();
        Gzip::new(&file[..]).read_to_string(&mut read).unwrap();
        assert_eq!(read, "one two");
        for cut in 1..40 {
            let error = Gzip::new(&file[..cut]).read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{cut}");
        }
        file[3] |= 0x20;
        assert_eq!(Gzip::new(&file[..]).read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn zeros_behind_the_last_member_are_its_padding() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"content").unwrap();
        let member = encoder.finish().unwrap();
        for zeros in [1, 9, 512, STEP, 3 * STEP + 1] {
            let mut read = Vec::new();
            let padded = [&member[..], &member, &vec![0; zeros]].concat();
            Gzip::new(&padded[..]).read_to_end(&mut read).unwrap();
            assert_eq!(read, b"contentcontent", "{zeros}");
            read.clear();
            let error = Gzip::new(&[&padded[..], b"x"].concat()[..]).read_to_end(&mut read).unwrap_err();
            assert_eq!((error.kind(), &read[..]), (ErrorKind::InvalidData, &b"contentcontent"[..]));
        }
        assert!(Gzip::new(&[0; 100][..]).read_to_end(&mut Vec::new()).is_err(), "zeros alone are no gzip");
    }
}
