//! What is masked, and how: from plain settings to a checked and compiled policy.

use std::fmt;

use crate::action::Action;
use crate::detect::{Detector, Literals};
use crate::finding::CUT;
use crate::fpe_cipher::Fpe;
use crate::json_path::JsonPath;
use crate::member::HOLDING_ENDS;
use crate::names::{CREDENTIAL_FIELDS, CREDENTIAL_HEADERS, HARMLESS_FIELDS, Meaning, Names, PLURAL_FIELDS, SSN_FIELDS};
use crate::pattern::CompiledPattern;
use crate::token::TokenKey;

/// Shorter keys are refused.
const MIN_KEY_BYTES: usize = 16;
/// The longest name of a rule, in bytes.
const MAX_RULE_NAME: usize = 512;
/// Longer numbers count nothing.
const MAX_COUNT: usize = 12;
/// The most own rules of one sort.
const MAX_RULES: usize = 256;

/// What is to be masked, as plain data: what configuration is turned into. [`Policy::new`] checks it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The key of tokens and of format-preserving encryption; at least 16 bytes, best 32 random ones.
    pub key: Vec<u8>,
    /// Whether well-known credentials are masked: headers such as Authorization and Cookie, and password-like fields.
    pub credentials: bool,
    /// What is done to credentials; [`Action::Hash`] by default.
    pub credentials_action: Action,
    /// Names of fields and headers that are not credentials although they look so; `*name` for all that end so.
    pub not_credentials: Vec<String>,
    /// The detectors that are on, and what each does.
    pub detectors: Vec<(Detector, Action)>,
    /// Own regular expressions.
    pub patterns: Vec<Pattern>,
    /// Own names of headers, cookies, parameters and fields.
    pub fields: Vec<FieldRule>,
    /// Own paths into JSON bodies.
    pub paths: Vec<PathRule>,
}

impl Default for Settings {
    /// Credentials only. The key is empty, so [`Policy::new`] refuses it until one is set.
    fn default() -> Self {
        Self {
            key: Vec::new(),
            credentials: true,
            credentials_action: Action::Hash,
            not_credentials: Vec::new(),
            detectors: Vec::new(),
            patterns: Vec::new(),
            fields: Vec::new(),
            paths: Vec::new(),
        }
    }
}

/// An own regular expression over any text: header values, parameters, and bodies, decoded.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// What findings call it.
    pub name: String,
    /// The expression, in the syntax of the `regex` crate (no look-around, no backreferences). Bytes that are not UTF-8
    /// never match.
    pub regex: String,
    /// What is done to a match.
    pub action: Action,
}

/// Own names of headers, cookies, parameters and fields, whose value is masked whatever it is.
#[derive(Debug, Clone)]
pub struct FieldRule {
    /// What findings call it.
    pub name: String,
    /// Names, compared without regard to case, `-`, `_`, `.` and brackets; `*name` for all that end so.
    pub fields: Vec<String>,
    /// What is done to the value.
    pub action: Action,
}

/// A path into JSON bodies, whose value (all values within, for an object or array) is masked.
#[derive(Debug, Clone)]
pub struct PathRule {
    /// What findings call it.
    pub name: String,
    /// `$.a.b[*].c`, `$['a b'][0]`, `$.*.id`, `$..name` or `..name`.
    pub path: String,
    /// What is done to the value.
    pub action: Action,
}

/// What is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which setting, such as `patterns[2].regex`.
    pub setting: String,
    /// What was found and what is allowed. Never quotes the key.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.message)
    }
}

/// Settings that cannot be a policy: every problem at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSettings(pub Vec<Problem>);

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidSettings {}

/// A sort of secret: which entry of [`Policy::kinds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KindId(pub(crate) u16);

pub(crate) struct Kind {
    pub(crate) name: String,
    pub(crate) action: Action,
}

/// A checked and compiled policy, shared by the workers through an `Arc`.
pub struct Policy {
    kinds: Vec<Kind>,
    /// The kind of each detector that is on.
    detectors: [Option<KindId>; Detector::ALL.len()],
    /// What a value is by its field's name.
    pub(crate) fields: Names,
    /// The same of headers.
    pub(crate) headers: Names,
    /// Whether anything is looked for that begins with digits.
    pub(crate) has_numbers: bool,
    pub(crate) literals: Literals,
    pub(crate) patterns: Vec<CompiledPattern>,
    /// How many of them say where a value starts or ends.
    pub(crate) whole_patterns: usize,
    pub(crate) paths: Vec<(JsonPath, KindId)>,
    /// Whether field names matter.
    pub(crate) has_fields: bool,
    /// Whether anything is looked for in the text of values.
    pub(crate) has_text: bool,
    pub(crate) credentials: Option<KindId>,
    /// Credentials of which a name promises several.
    plural: Option<KindId>,
    pub(crate) token_key: TokenKey,
    pub(crate) fpe: Fpe,
}

impl Policy {
    /// Checks and compiles settings.
    ///
    /// # Errors
    ///
    /// Every problem that the settings have.
    pub fn new(settings: &Settings) -> Result<Self, InvalidSettings> {
        let mut problems = Vec::new();
        let mut problem = |setting: String, message: String| problems.push(Problem { setting, message });
        if settings.key.len() < MIN_KEY_BYTES {
            problem(
                "key".into(),
                format!(
                    "a key of {} bytes; at least {MIN_KEY_BYTES} are needed, best 32 random ones",
                    settings.key.len()
                ),
            );
        }
        let mut kinds: Vec<Kind> = Vec::new();
        let mut kind = |name: &str, action| {
            kinds.push(Kind { name: name.to_owned(), action });
            KindId((kinds.len() - 1) as u16)
        };
        // Findings are written as JSON strings: a path or a field's name in any script is a good name, too.
        let check_name = |name: &str| {
            let ok = !name.trim().is_empty() && name.len() <= MAX_RULE_NAME && !name.chars().any(char::is_control);
            (!ok).then(|| {
                format!("`{}` is no name of a rule: 1 to {MAX_RULE_NAME} bytes are allowed", name.escape_debug())
            })
        };
        for (sort, count) in
            [("patterns", settings.patterns.len()), ("fields", settings.fields.len()), ("paths", settings.paths.len())]
        {
            if count > MAX_RULES {
                problem(sort.into(), format!("{count} rules; at most {MAX_RULES} are allowed"));
            }
        }

        let (mut fields, mut headers) = (Names::new(), Names::new());
        for (i, rule) in settings.fields.iter().take(MAX_RULES).enumerate() {
            if let Some(message) = check_name(&rule.name) {
                problem(format!("fields[{i}].name"), message);
            }
            if rule.fields.is_empty() {
                problem(format!("fields[{i}].fields"), "no field is named; name at least one".into());
            }
            let id = kind(&rule.name, rule.action);
            for (j, name) in rule.fields.iter().enumerate() {
                if !fields.add(name, Meaning::Secret(id)) || !headers.add(name, Meaning::Secret(id)) {
                    problem(
                        format!("fields[{i}].fields[{j}]"),
                        format!(
                            "`{name}` is no field name: 1 to 64 letters besides `-`, `_`, `.`; behind a `*` at least three"
                        ),
                    );
                }
            }
        }
        for (i, name) in settings.not_credentials.iter().enumerate() {
            if !fields.add(name, Meaning::Harmless) || !headers.add(name, Meaning::Harmless) {
                problem(
                    format!("not_credentials[{i}]"),
                    format!(
                        "`{name}` is no field name: 1 to 64 letters besides `-`, `_`, `.`; behind a `*` at least three"
                    ),
                );
            }
        }
        let (mut credentials, mut plural) = (None, None);
        if settings.credentials {
            for name in HARMLESS_FIELDS {
                fields.add(name, Meaning::Harmless);
                headers.add(name, Meaning::Harmless);
            }
            let id = kind("CREDENTIAL", settings.credentials_action);
            credentials = Some(id);
            let several = kind("CREDENTIAL", settings.credentials_action);
            plural = Some(several);
            for name in PLURAL_FIELDS {
                fields.add(name, Meaning::Secret(several));
                headers.add(name, Meaning::Secret(several));
            }
            for name in CREDENTIAL_FIELDS {
                fields.add(name, Meaning::Secret(id));
                headers.add(name, Meaning::Secret(id));
            }
            for name in CREDENTIAL_HEADERS {
                headers.add(name, Meaning::Secret(id));
            }
        }

        let mut detectors = [None; Detector::ALL.len()];
        for (detector, action) in &settings.detectors {
            let slot = &mut detectors[*detector as usize];
            if slot.is_some() {
                problem(format!("detectors.{}", detector.name()), "set twice; set it once".into());
            }
            *slot = Some(kind(detector.name(), *action));
        }
        if detectors[Detector::UsSsn as usize].is_some() {
            for name in SSN_FIELDS {
                fields.add(name, Meaning::Ssn);
                headers.add(name, Meaning::Ssn);
            }
        }

        for ending in HOLDING_ENDS {
            fields.watch(ending);
        }

        let mut patterns = Vec::new();
        for (i, pattern) in settings.patterns.iter().take(MAX_RULES).enumerate() {
            if let Some(message) = check_name(&pattern.name) {
                problem(format!("patterns[{i}].name"), message);
            }
            match CompiledPattern::new(&pattern.regex, kind(&pattern.name, pattern.action)) {
                Ok(regex) => patterns.push(regex),
                Err(message) => problem(format!("patterns[{i}].regex"), message),
            }
        }
        let mut paths = Vec::new();
        for (i, rule) in settings.paths.iter().take(MAX_RULES).enumerate() {
            if let Some(message) = check_name(&rule.name) {
                problem(format!("paths[{i}].name"), message);
            }
            match JsonPath::parse(&rule.path) {
                Ok(path) => paths.push((path, kind(&rule.name, rule.action))),
                Err(message) => problem(format!("paths[{i}].path"), message),
            }
        }
        if !problems.is_empty() {
            return Err(InvalidSettings(problems));
        }
        let has_fields = settings.credentials || !settings.fields.is_empty();
        let is_on = |detector: Detector| detectors[detector as usize].is_some();
        let numbers = [Detector::CreditCard, Detector::Iban, Detector::UsSsn, Detector::Phone, Detector::Ipv4];
        Ok(Self {
            has_text: !settings.detectors.is_empty() || !patterns.is_empty(),
            has_fields,
            whole_patterns: patterns.iter().filter(|pattern| pattern.is_whole).count(),
            credentials,
            plural,
            literals: Literals::new(&detectors),
            kinds,
            detectors,
            fields,
            headers,
            has_numbers: numbers.into_iter().any(is_on),
            patterns,
            paths,
            token_key: TokenKey::derive(&settings.key, "sensor masking: tokens"),
            fpe: Fpe::new(&TokenKey::secret(&settings.key, "sensor masking: format-preserving encryption")),
        })
    }

    /// Whether nothing is masked at all.
    pub fn is_off(&self) -> bool {
        !self.has_fields && !self.has_text && self.paths.is_empty()
    }

    /// Whether names of fields say anything.
    pub(crate) fn has_names(&self) -> bool {
        self.has_fields || self.detector(Detector::UsSsn).is_some()
    }

    #[inline]
    pub(crate) fn detector(&self, detector: Detector) -> Option<KindId> {
        self.detectors[detector as usize]
    }

    /// Whether secrets of this kind are what is masked by itself, by their names.
    pub(crate) fn is_credential(&self, kind: KindId) -> bool {
        Some(kind) == self.credentials || Some(kind) == self.plural
    }

    /// Whether a value whose name says that it is a secret is none all the same: `max_tokens` is a number, and so is the time
    /// after which there are new ones (`6m0s`).
    #[inline]
    pub(crate) fn spares(&self, kind: KindId, value: &[u8]) -> bool {
        let is_count = |value: &[u8]| {
            value.len() <= MAX_COUNT
                && value.first().is_some_and(u8::is_ascii_digit)
                && value.iter().all(|byte| byte.is_ascii_digit() || b".smhd".contains(byte))
        };
        Some(kind) == self.plural && is_count(value.trim_ascii())
    }

    pub(crate) fn action(&self, kind: KindId) -> Action {
        self.kinds.get(usize::from(kind.0)).map_or(Action::Redact, |kind| kind.action)
    }

    pub(crate) fn kind_name(&self, kind: u16) -> &str {
        if kind == CUT {
            return "CUT";
        }
        self.kinds.get(usize::from(kind)).map_or("", |kind| &kind.name)
    }
}

impl fmt::Debug for Policy {
    /// The kinds and their actions; never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.kinds.iter().map(|kind| (&kind.name, kind.action))).finish()
    }
}
