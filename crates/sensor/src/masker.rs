//! Secrets out of records: the configuration's `[mask]` made into a policy, and the hook of the record writer that follows
//! it.
//!
//! Everything of an exchange that is recorded goes through [`RecordMasker`]; what it cannot look into (a body whose content
//! coding could not be undone) is left out rather than let through. The transaction id is made of the head as it was sent:
//! it has to be the same in every run and on every sensor, and 128 bits of SHA-256 cannot be turned back.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_parse::MessageKind;
use masking::{
    Action, FieldRule, HeaderKind, HeaderPlace, InvalidSettings, Location, MAX_FINDINGS, Masker, PathRule, Policy,
    Settings, Side,
};

use zeroize::{Zeroize as _, Zeroizing};

use crate::config::{Detector, Mask, MaskAction};
use crate::record::{Finding, FindingForm, Findings, Masked, MaskedBody, Masking};
use crate::secrecy::keep_memory_private_or_warn;

mod repeated;

use repeated::Repeated;

/// Bytes of a key made for one run, and the fewest of a key file.
const KEY: usize = 32;
/// The most bytes of a key file: more is no key, but a file named by mistake.
const MOST_KEY: u64 = 4_096;
/// Where the key of a run comes from.
const RANDOM: &str = "/dev/urandom";

/// What is to be masked, shared by all workers.
#[derive(Clone, Debug)]
pub struct MaskPolicy {
    policy: Arc<Policy>,
    /// Media types whose bodies are left out, in lower case.
    dropped: Arc<[String]>,
    has_own_key: bool,
}

/// What is configured cannot be masked. Nothing was read or written.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// The key file cannot be read.
    #[error("cannot read the masking key {}: {source}\nhint: mask.key_file names a file of at least 32 random bytes that the sensor may read", .path.display())]
    Key {
        /// Its name.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file holds no key.
    #[error("the masking key {} has {found}, allowed are 32 to 4096 bytes\nhint: make one with 'openssl rand -out FILE 32'", .path.display())]
    KeyLength {
        /// Its name.
        path: PathBuf,
        /// How long it is.
        found: String,
    },
    /// The key file holds what anybody knows.
    #[error("the masking key {} is nothing but zeros: whoever knows that can test secrets against tokens\nhint: make one with 'openssl rand -out FILE 32'", .path.display())]
    Zeros {
        /// Its name.
        path: PathBuf,
    },
    /// The system gave no random key.
    #[error("cannot make a masking key from {RANDOM}: {0}\nhint: give one as mask.key_file")]
    Random(io::Error),
    /// A rule.
    #[error("[mask] cannot be used: {0}")]
    Rules(#[from] InvalidSettings),
}

impl MaskPolicy {
    /// What the configuration asks for; `None` if that is nothing.
    ///
    /// # Errors
    /// When the key cannot be read, or a rule not be followed.
    pub fn from_config(mask: &Mask) -> Result<Option<Self>, MaskError> {
        let finds = mask.credentials
            || !mask.detectors.is_empty()
            || !mask.fields.is_empty()
            || !mask.json_paths.is_empty()
            || !mask.pattern.is_empty()
            || !mask.drop_body.is_empty();
        if !mask.enabled || !finds {
            return Ok(None);
        }
        let mut key = match &mask.key_file {
            Some(path) => {
                keep_memory_private_or_warn();
                read_key(path)?
            }
            None => random_key().map_err(MaskError::Random)?,
        };
        let own_rules = mask.fields.iter().map(|(name, action)| FieldRule {
            name: name.clone(),
            fields: vec![name.clone()],
            action: self::action(*action),
        });
        let paths = mask.json_paths.iter().map(|(path, action)| PathRule {
            name: path.clone(),
            path: path.clone(),
            action: self::action(*action),
        });
        let patterns = mask.pattern.iter().map(|pattern| masking::Pattern {
            name: pattern.name.clone(),
            regex: pattern.regex.clone(),
            action: action(pattern.action),
        });
        let mut settings = Settings {
            key: std::mem::take(&mut *key),
            credentials: mask.credentials,
            credentials_action: action(mask.credentials_action),
            not_credentials: mask.not_credentials.clone(),
            detectors: mask.detectors.iter().map(|(found, act)| (detector(*found), action(*act))).collect(),
            patterns: patterns.collect(),
            fields: own_rules.collect(),
            paths: paths.collect(),
        };
        let policy = Policy::new(&settings);
        settings.key.zeroize();
        Ok(Some(Self {
            policy: Arc::new(policy?),
            dropped: mask.drop_body.iter().map(|media| media.to_ascii_lowercase()).collect(),
            has_own_key: mask.key_file.is_some(),
        }))
    }

    /// What is to be said at the start: tokens that are made with a key of this run cannot be compared with those of
    /// another.
    #[must_use]
    pub fn notice(&self) -> Option<&'static str> {
        const RANDOM_KEY: &str =
            "secrets are masked with a random key of this run: give one as mask.key_file to compare runs";
        (!self.has_own_key).then_some(RANDOM_KEY)
    }

    /// Whether a body of these types is left out. It is as soon as one of them says so, since nobody knows which one counts for
    /// its receiver.
    fn drops<'a>(&self, mut content_types: impl Iterator<Item = &'a [u8]>) -> bool {
        if self.dropped.is_empty() {
            return false;
        }
        self.dropped.iter().any(|rule| rule == "all" || rule == "*/*")
            || content_types.any(|types| types.split(|byte| *byte == b',').any(|text| self.drops_type(text)))
    }

    fn drops_type(&self, content_type: &[u8]) -> bool {
        let is_around = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'');
        let text = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
        let start = text.iter().position(|byte| !is_around(*byte)).unwrap_or(text.len());
        let end = text.iter().rposition(|byte| !is_around(*byte)).map_or(start, |last| last + 1);
        let media = String::from_utf8_lossy(text.get(start..end).unwrap_or_default()).to_ascii_lowercase();
        self.dropped.iter().any(|rule| match (rule.strip_suffix('*'), rule.starts_with('+')) {
            (Some(start), _) => media.starts_with(start),
            (None, true) => media.ends_with(rule.as_str()),
            (None, false) => media == *rule,
        })
    }
}

/// What is refused is overwritten, too: it may be another key.
fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, MaskError> {
    // Room for all of it at once: a buffer that grows would leave copies behind.
    let mut key = Zeroizing::new(Vec::with_capacity(MOST_KEY as usize + 1));
    let read = uploader::open_regular(path).and_then(|file| file.take(MOST_KEY + 1).read_to_end(&mut key));
    read.map_err(|source| MaskError::Key { path: path.to_owned(), source })?;
    if key.len() < KEY || key.len() as u64 > MOST_KEY {
        let found = if key.len() < KEY { format!("{} bytes", key.len()) } else { "more".to_owned() };
        return Err(MaskError::KeyLength { path: path.to_owned(), found });
    }
    if key.iter().all(|byte| *byte == 0) {
        return Err(MaskError::Zeros { path: path.to_owned() });
    }
    Ok(key)
}

fn random_key() -> io::Result<Zeroizing<Vec<u8>>> {
    let mut key = Zeroizing::new(vec![0; KEY]);
    File::open(RANDOM)?.read_exact(&mut key)?;
    Ok(key)
}

const fn action(action: MaskAction) -> Action {
    match action {
        MaskAction::Redact => Action::Redact,
        MaskAction::KeepLast(count) => Action::KeepLast(count),
        MaskAction::Hash => Action::Hash,
        MaskAction::Fpe => Action::Fpe,
        MaskAction::DropBody => Action::DropBody,
    }
}

const fn detector(detector: Detector) -> masking::Detector {
    match detector {
        Detector::CreditCard => masking::Detector::CreditCard,
        Detector::Iban => masking::Detector::Iban,
        Detector::UsSsn => masking::Detector::UsSsn,
        Detector::Email => masking::Detector::Email,
        Detector::Phone => masking::Detector::Phone,
        Detector::Ipv4 => masking::Detector::Ipv4,
        Detector::Ipv6 => masking::Detector::Ipv6,
        Detector::Jwt => masking::Detector::Jwt,
        Detector::AwsKey => masking::Detector::AwsKey,
        Detector::ApiKey => masking::Detector::ApiKey,
        Detector::PrivateKey => masking::Detector::PrivateKey,
    }
}

/// Masks the records of one worker.
pub struct RecordMasker {
    policy: MaskPolicy,
    masker: Masker,
    repeated: Repeated,
    form: FindingForm,
    /// Whether header fields of this record are on several lines.
    folds: bool,
    /// The findings of this record, as they are written, each with a comma behind it.
    told: Vec<u8>,
    /// How many those are.
    listed: u64,
    /// How many there are, listed or not, in headers that came before.
    repeated_found: u64,
    /// How many of the masker's own are told.
    own_told: usize,
    /// A start line while it is put together.
    line: Vec<u8>,
    /// Which bodies were left out whole, and by which rule.
    left_out: [Option<LeftOut>; 2],
}

/// Why a body was left out whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeftOut {
    /// The configuration says so of its media type.
    MediaType,
    /// What it says cannot be read.
    Undecoded,
}

impl LeftOut {
    const fn name(self) -> &'static str {
        match self {
            Self::MediaType => "MEDIA_TYPE",
            Self::Undecoded => "UNDECODED_BODY",
        }
    }
}

impl RecordMasker {
    /// A masker with buffers of its own.
    #[must_use]
    pub fn new(policy: &MaskPolicy) -> Self {
        let masker = Masker::new(Arc::clone(&policy.policy));
        Self {
            policy: policy.clone(),
            masker,
            repeated: Repeated::default(),
            form: FindingForm::default(),
            folds: false,
            told: Vec::new(),
            listed: 0,
            repeated_found: 0,
            own_told: 0,
            line: Vec::new(),
            left_out: [None; 2],
        }
    }

    /// Tells what the masker found since this was called last.
    #[inline]
    fn tell(&mut self) {
        if self.masker.listed() > self.own_told {
            let mut told = std::mem::take(&mut self.told);
            self.listed += self.append_own(&mut told);
            self.told = told;
            self.own_told = self.masker.listed();
        }
    }

    /// Appends what the masker found and is not told yet, as far as the list has room; says how many those are.
    fn append_own(&self, out: &mut Vec<u8>) -> u64 {
        let room = (MAX_FINDINGS as u64).saturating_sub(self.listed);
        let mut count = 0;
        for found in self.masker.findings().skip(self.own_told).take(room as usize) {
            let finding = Finding {
                name: found.kind,
                location: found.location.name(),
                field: found.field,
                action: found.action.name(),
                start: found.start.into(),
                end: found.end.into(),
            };
            self.form.append(&finding, out);
            count += 1;
        }
        count
    }

    /// A header that is looked through.
    #[inline(never)]
    fn text_header(&mut self, place: HeaderPlace, kind: MessageKind, name: &[u8], value: &[u8]) -> Masked<'_> {
        masked(self.masker.header_at(place, side(kind), name, value))
    }

    /// A header that holds no secret, but perhaps on a line of its own.
    #[cold]
    fn folded_header(&mut self, kind: MessageKind, name: &[u8], value: &[u8]) -> Masked<'_> {
        masked(self.masker.plain_header(side(kind), name, value))
    }

    /// A header that is a secret: as it was masked the last time.
    #[inline(never)]
    fn secret_header(&mut self, place: HeaderPlace, kind: MessageKind, name: &[u8], value: &[u8]) -> Masked<'_> {
        self.tell();
        let set = self.repeated.set_of(value);
        if let Some(place) = self.repeated.find(set, kind, name, value)
            // Of a list that is nearly full, only the masker knows what still goes into it.
            && self.repeated.entry(place).found + self.listed <= MAX_FINDINGS as u64
        {
            let entry = self.repeated.entry(place);
            self.told.extend_from_slice(&entry.told);
            self.listed += entry.found;
            self.repeated_found += entry.found;
            return Masked::Replaced(&entry.masked);
        }
        let (told, listed, found) = (self.told.len(), self.listed, self.masker.found());
        match self.masker.header_at(place, side(kind), name, value) {
            masking::Masked::Kept => return Masked::Kept,
            masking::Masked::Replaced(masked) => {
                self.line.clear();
                self.line.extend_from_slice(masked);
            }
        }
        self.tell();
        let found = self.masker.found() - found;
        if found == self.listed - listed {
            let told = self.told.get(told..).unwrap_or_default();
            self.repeated.keep(set, (kind, name, value), (&self.line, told, found));
        }
        Masked::Replaced(&self.line)
    }

    fn left_out(&self) -> u64 {
        self.left_out.iter().flatten().count() as u64
    }
}

impl std::fmt::Debug for RecordMasker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordMasker").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Masking for RecordMasker {
    #[inline]
    fn begin(&mut self, form: FindingForm) {
        self.masker.begin();
        if self.form != form {
            (self.form, self.repeated) = (form, Repeated::default());
        }
        self.told.clear();
        (self.listed, self.repeated_found, self.own_told) = (0, 0, 0);
        self.left_out = [None; 2];
    }

    #[inline(always)]
    fn folds(&mut self, folds: bool) {
        self.folds = folds;
    }

    #[inline]
    fn target(&mut self, target: &[u8]) -> Masked<'_> {
        masked(self.masker.target(target))
    }

    #[inline(always)]
    fn field(&mut self, kind: MessageKind, name: &[u8], value: &[u8]) -> Masked<'_> {
        match self.masker.header_kind(name) {
            (HeaderKind::Plain, _) if self.folds => self.folded_header(kind, name, value),
            (HeaderKind::Plain, _) => Masked::Kept,
            (HeaderKind::Text, place) => self.text_header(place, kind, name, value),
            (HeaderKind::Secret, place) => self.secret_header(place, kind, name, value),
        }
    }

    fn header(&mut self, kind: MessageKind, name: &[u8], value: &[u8]) -> Masked<'_> {
        masked(self.masker.header(side(kind), name, value))
    }

    fn leaves_out<'a>(&mut self, kind: MessageKind, content_types: impl Iterator<Item = &'a [u8]>) -> bool {
        let drops = self.policy.drops(content_types);
        if drops {
            self.left_out[side(kind) as usize] = Some(LeftOut::MediaType);
        }
        drops
    }

    fn body(&mut self, kind: MessageKind, content_type: Option<&[u8]>, bytes: &[u8], is_cut: bool) -> MaskedBody<'_> {
        match self.masker.body(side(kind), content_type, bytes, is_cut) {
            masking::MaskedBody::Kept => MaskedBody::Kept,
            masking::MaskedBody::Replaced(bytes) => MaskedBody::Replaced(bytes),
            masking::MaskedBody::Dropped => MaskedBody::Dropped,
        }
    }

    #[inline]
    fn start_line(&mut self, kind: MessageKind, part: &[u8]) -> Masked<'_> {
        // Nearly all of them: a word of letters, too short to hide anything in.
        if part.len() <= 10 && part.iter().all(u8::is_ascii_alphabetic) {
            return Masked::Kept;
        }
        let field = match kind {
            MessageKind::Request => "method",
            MessageKind::Response => "reason",
        };
        masked(self.masker.text(Location::Other, field, part))
    }

    fn raw_start_line(&mut self, kind: MessageKind, line: &[u8]) -> Masked<'_> {
        // What is between the first word and the last as a target, blanks or not: they were meant to be part of it. Then all of
        // it as text.
        self.line.clear();
        let first = memchr::memchr(b' ', line).map_or(0, |at| at + 1);
        let last =
            memchr::memrchr(b' ', line).filter(|at| line.get(at + 1..).is_some_and(|word| word.starts_with(b"HTTP/")));
        let last = last.unwrap_or(line.len()).max(first);
        let (first, last) = if kind == MessageKind::Request { (first, last) } else { (0, 0) };
        let (front, rest) = line.split_at_checked(first).unwrap_or_default();
        let (target, behind) = rest.split_at_checked(last - first).unwrap_or_default();
        self.line.extend_from_slice(front);
        self.line.extend_from_slice(self.masker.target(target).or(target));
        self.line.extend_from_slice(behind);
        let has_changed = self.line != line;
        match self.masker.text(Location::Other, "start_line", &self.line) {
            masking::Masked::Replaced(line) => Masked::Replaced(line),
            masking::Masked::Kept if has_changed => Masked::Replaced(&self.line),
            masking::Masked::Kept => Masked::Kept,
        }
    }

    fn keeps_coded(&mut self, kind: MessageKind, bytes: &[u8]) -> bool {
        // Bodies say of text that it is coded in "utf-8"; what no coding was applied to can be looked through.
        let is_text = core::str::from_utf8(bytes).is_ok_and(|text| {
            text.bytes().all(|byte| !byte.is_ascii_control() || matches!(byte, b'\t' | b'\r' | b'\n'))
        });
        if !is_text {
            self.left_out[side(kind) as usize] = Some(LeftOut::Undecoded);
        }
        is_text
    }

    fn findings(&self) -> Findings {
        let found = self.masker.found() + self.repeated_found + self.left_out();
        Findings { skipped: false, found, transformed: found }
    }

    fn append_list(&self, out: &mut Vec<u8>) -> u64 {
        out.extend_from_slice(&self.told);
        let listed = self.listed + self.append_own(out);
        for (location, reason) in [Location::RequestBody, Location::ResponseBody].into_iter().zip(self.left_out) {
            if let Some(reason) = reason {
                let (name, location) = (reason.name(), location.name());
                let finding = Finding { name, location, field: "", action: Action::DropBody.name(), start: 0, end: 0 };
                self.form.append(&finding, out);
            }
        }
        listed + self.left_out()
    }
}

const fn side(kind: MessageKind) -> Side {
    match kind {
        MessageKind::Request => Side::Request,
        MessageKind::Response => Side::Response,
    }
}

#[inline]
const fn masked(masked: masking::Masked<'_>) -> Masked<'_> {
    match masked {
        masking::Masked::Kept => Masked::Kept,
        masking::Masked::Replaced(bytes) => Masked::Replaced(bytes),
    }
}
