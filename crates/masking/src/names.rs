//! Names of fields and headers, compared without regard to case (of any alphabet: each character's lower case), `-`, `_`, `.`, spaces, brackets and trailing digits.
//!
//! A name is asked for at every field of every body, so most are dismissed by their last three letters, which a filter
//! of a few bits knows; only the rest are normalized and looked up.

use crate::pairs::is_behind_name;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::policy::KindId;

/// Longer names are not looked up whole, but by their last so many letters.
const MAX_NAME: usize = 64;
/// Bits of the filter over a name's last three letters.
const FILTER_BITS: usize = 1 << 15;

/// A set of names, each with the kind of secret its value is.
pub(crate) struct Names {
    /// By the filter's bit of their last three letters; whole names first, then endings, longest first.
    entries: HashMap<u16, Vec<Entry>, FixedState>,
    filter: Box<[u64; FILTER_BITS / 64]>,
    /// By the same bits: which letters may be in front of the three, as a bit for each; and in front of these.
    fourths: Box<[u32]>,
    fifths: Box<[u32]>,
    /// For the last two bytes of a text a bit for each class of the byte in front of them ([`FIRST_CLASSES`]): whether it may
    /// be the end of a name.
    tails: Box<[u32; 1 << 16]>,
    /// Whether a name ends with a character beyond ASCII whose escape ends with three letters, as names may that are none.
    pub(crate) has_foreign: bool,
}

struct Entry {
    name: Box<[u8]>,
    /// Longer names that end so are meant, too.
    is_ending: bool,
    meaning: Meaning,
}

/// What a name says of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It is a secret.
    Secret(KindId),
    /// If it is nine digits, they are a social security number.
    Ssn,
    /// It is not a secret, although the name looks so.
    Harmless,
}

impl Names {
    pub(crate) fn new() -> Self {
        Self {
            entries: HashMap::with_hasher(FixedState::default()),
            filter: Box::new([0; FILTER_BITS / 64]),
            fourths: vec![0; FILTER_BITS].into(),
            fifths: vec![0; FILTER_BITS].into(),
            tails: no_tails(),
            has_foreign: false,
        }
    }

    /// Adds a name, `*name` for all that end so. The first meaning of a name stays. False if nothing is left of `name`
    /// once it is normalized, or fewer than three letters of an ending.
    pub(crate) fn add(&mut self, name: &str, meaning: Meaning) -> bool {
        let (is_ending, text) = match name.strip_prefix('*') {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        let text: String = text.chars().filter(|letter| *letter != BLANK).flat_map(folded).collect();
        let mut normal: Vec<u8> = text.bytes().filter_map(normal).collect();
        normal.truncate(normal.len() - normal.iter().rev().take_while(|byte| byte.is_ascii_digit()).count());
        if normal.is_empty() || normal.len() > MAX_NAME {
            return false;
        }
        let mut tail = [0; 3];
        let len = normal.len().min(3);
        tail[3 - len..].copy_from_slice(&normal[normal.len() - len..]);
        let bit = bit_of(tail);
        self.filter[bit / 64] |= 1 << (bit % 64);
        let in_front = |count: usize| match normal.len().checked_sub(count).map(|at| normal[at]) {
            Some(letter) if letter.is_ascii_alphabetic() => 1 << (letter & 31),
            // With another letter in front a short name is another; unless that is the letter of an escape, as in `\nauth`, whose
            // sign would be the sixth from the end.
            None if !is_ending && (count, normal.len()) != (5, 4) => 0,
            _ => u32::MAX,
        };
        self.fourths[bit] |= in_front(4);
        self.fifths[bit] |= in_front(5);
        // `\u0451` is told from the end of other names by its digits, `\u00dfe` is not.
        let letters = text.chars().rev().take_while(char::is_ascii).filter(char::is_ascii_alphabetic).count();
        if let Some(last) = text.chars().rev().find(|last| !last.is_ascii()) {
            let digits = 3_usize.saturating_sub(letters);
            self.has_foreign |= digits > 0 && ends_like_letters(last, digits);
        }
        self.allow(tail);
        if is_ending && len < 3 {
            return false;
        }
        let entries = self.entries.entry(bit as u16).or_default();
        if !entries.iter().any(|known| *known.name == normal[..] && known.is_ending == is_ending) {
            entries.push(Entry { name: normal.into(), is_ending, meaning });
            entries.sort_by_key(|entry| (entry.is_ending, std::cmp::Reverse(entry.name.len())));
        }
        true
    }

    /// What the name of a field says of its value.
    #[inline]
    pub(crate) fn meaning(&self, name: &[u8]) -> Option<Meaning> {
        if self.may_end(name) { self.look_up(name) } else { None }
    }

    /// The same of a name as forms and queries write it: `user[pin]`, `credentials[key]`, `form:pin`, `form.pin`; and of one in
    /// front of which something went wrong: `amp;pin`, `?pin`, or behind which, as far as any text may have it there. Between brackets any word counts, as a container's name does;
    /// elsewhere the last.
    pub(crate) fn meaning_of_path(&self, name: &[u8]) -> Option<Meaning> {
        let is_sign = |byte: &u8| matches!(byte, 0..=b'#' | b'$' | b'&'..=b',' | b'.' | b':'..=b'@' | b'[' | b'\\' | b']' | b'{'..=0x7f);
        self.meaning(name).or_else(|| {
            if !name.iter().any(is_sign) {
                return None;
            }
            let end = name.iter().rposition(|byte| !is_behind_name(*byte))? + 1;
            let name = &name[..end];
            // Without the last bracket it is none that says what is within it.
            let is_path = name.ends_with(b"]");
            let words = name.rsplit(|byte| matches!(byte, b'[' | b']'));
            words.take(if is_path { usize::MAX } else { 1 }).find_map(|word| {
                let end = word.iter().rposition(|byte| !is_behind_name(*byte))? + 1;
                let start = word[..end].iter().rposition(is_sign).map_or(0, |at| at + 1);
                self.meaning(&word[start..end]).filter(|meaning| *meaning != Meaning::Harmless)
            })
        })
    }

    /// Whether a name of the set can end as `text` does: the quick test.
    #[inline]
    pub(crate) fn may_end(&self, text: &[u8]) -> bool {
        // Nearly always the last three bytes are letters; or two, and what is in front is no part of a name.
        if let Some([first, second, third]) = text.last_chunk::<3>()
            && second.is_ascii_alphabetic()
            && third.is_ascii_alphabetic()
        {
            let tail = match first {
                letter if letter.is_ascii_alphabetic() => {
                    let tail = [*first, *second, *third];
                    return self.ends_like(tail) && self.may_be_in_front(tail, &text[..text.len() - 3]);
                }
                byte if NO_NAME.contains(byte) => Some([0, *second, *third]),
                // `created_at`, `user_id`.
                b'_' | b'-' => match text.len().checked_sub(4).map(|at| text[at]) {
                    Some(before) if before.is_ascii_alphabetic() => Some([before, *second, *third]),
                    _ => None,
                },
                _ => None,
            };
            if let Some(tail) = tail {
                return self.ends_like(tail);
            }
        }
        if let [first, second] = text
            && first.is_ascii_alphabetic()
            && second.is_ascii_alphabetic()
        {
            return self.ends_like([0, *first, *second]);
        }
        self.may_end_oddly(text)
    }

    /// Whether a name that ends with these three letters can have in front of them what a text has.
    #[inline]
    fn may_be_in_front(&self, tail: [u8; 3], text: &[u8]) -> bool {
        let bit = bit_of(tail);
        let may_be = |letters: &[u32], letter: u8| letters[bit] >> (letter & 31) & 1 != 0;
        match text {
            [.., fifth, fourth] if fourth.is_ascii_alphabetic() && fifth.is_ascii_alphabetic() => {
                may_be(&self.fourths, *fourth) && may_be(&self.fifths, *fifth)
            }
            [.., fourth] if fourth.is_ascii_alphabetic() => may_be(&self.fourths, *fourth),
            _ => true,
        }
    }

    /// Whether five letters can be the end of no name of the set: the test of those that their last three do not dismiss.
    #[inline]
    pub(crate) fn dismisses_five(&self, text: &[u8; 5]) -> bool {
        let [fifth, fourth, first, second, third] = *text;
        let bit = bit_of([first, second, third]);
        let may_be = |letters: &[u32], letter: u8| letters[bit] >> (letter & 31) & 1 != 0;
        // An escape of any sign may end with a letter of a number.
        are_letters(text)
            && !fifth.is_ascii_hexdigit()
            && !(may_be(&self.fourths, fourth) && may_be(&self.fifths, fifth))
    }

    /// Whether no name of the set can end with the lowest three bytes of a word, the last of them the highest: the quickest
    /// test, which dismisses letters only, or two of them behind what is no part of a name.
    #[inline(always)]
    pub(crate) fn dismisses(&self, tail: u32) -> bool {
        let firsts = self.tails[usize::from((tail >> 8) as u16)];
        firsts >> FIRST_CLASSES[usize::from(tail as u8)] & 1 == 0
    }

    /// The same of four bytes of which the second joins words: a name has a letter in front of it.
    #[inline(always)]
    pub(crate) fn dismisses_joined(&self, tail: u32) -> bool {
        let [front, joint, ..] = tail.to_le_bytes();
        matches!(joint, b'_' | b'-')
            && front.is_ascii_alphabetic()
            && self.dismisses(tail >> 8 & !0xff | u32::from(front))
    }

    /// Texts that end so are not dismissed from now on, although they name no secret; `ending` has at least three letters.
    pub(crate) fn watch(&mut self, ending: &str) {
        if let Some(tail) = ending.as_bytes().last_chunk::<3>() {
            self.allow(*tail);
            let bit = bit_of(*tail);
            (self.fourths[bit], self.fifths[bit]) = (u32::MAX, u32::MAX);
        }
    }

    /// Names may end so from now on.
    fn allow(&mut self, [first, second, third]: [u8; 3]) {
        let firsts = match first {
            // What is in front of a name of two letters may be the letter of an escape.
            0 => u32::MAX,
            _ => 1 << FIRST_CLASSES[usize::from(first)] | 1 << BETWEEN,
        };
        for (second, third) in [second, second.to_ascii_uppercase()]
            .into_iter()
            .flat_map(|second| [third, third.to_ascii_uppercase()].map(|third| (second, third)))
        {
            self.tails[usize::from(u16::from_le_bytes([second, third]))] |= firsts;
        }
    }

    /// Whether a name of the set can end with these three letters, zeros in front of fewer.
    #[inline]
    pub(crate) fn ends_like(&self, tail: [u8; 3]) -> bool {
        let bit = bit_of(tail);
        self.filter[bit / 64] & (1 << (bit % 64)) != 0
    }

    fn may_end_oddly(&self, text: &[u8]) -> bool {
        let mut tail = [0; 3];
        let mut filled = 3;
        let text = &text[text.len().saturating_sub(MAX_NAME)..];
        backwards(text, |byte| {
            if filled < 3 || !byte.is_ascii_digit() {
                filled -= 1;
                tail[filled] = byte;
            }
            filled > 0
        });
        // What is in front of a short name in a text is not part of it: it may be a short one, too.
        (filled..3).any(|from| {
            let mut tail = tail;
            tail[..from].fill(0);
            self.ends_like(tail)
        })
    }

    #[cold]
    fn look_up(&self, name: &[u8]) -> Option<Meaning> {
        let mut buffer = [0; MAX_NAME];
        let mut start = MAX_NAME;
        backwards(name, |byte| {
            if start < MAX_NAME || !byte.is_ascii_digit() {
                start -= 1;
                buffer[start] = byte;
            }
            start > 0
        });
        let name = &buffer[start..];
        let mut tail = [0; 3];
        let len = name.len().min(3);
        tail[3 - len..].copy_from_slice(&name[name.len() - len..]);
        let fits = |entry: &&Entry| match entry.is_ending {
            true => name.ends_with(&entry.name),
            false => *name == *entry.name,
        };
        self.entries.get(&(bit_of(tail) as u16))?.iter().find(fits).map(|entry| entry.meaning)
    }
}

/// Class of what is often between the words of a name: another letter is in front of it.
const BETWEEN: u8 = 27;
/// Class of what may be anything.
const ODD: u8 = 31;

/// What each byte counts as in front of two letters: the number of a letter, 0 for what is no part of a name, [`BETWEEN`] or
/// [`ODD`].
static FIRST_CLASSES: [u8; 256] = {
    let mut classes = [ODD; 256];
    let mut letter = 1;
    while letter <= 26 {
        classes[(b'@' + letter) as usize] = letter;
        classes[(b'`' + letter) as usize] = letter;
        letter += 1;
    }
    let mut at = 0;
    while at < NO_NAME.len() {
        classes[NO_NAME[at] as usize] = 0;
        at += 1;
    }
    classes[b'_' as usize] = BETWEEN;
    classes[b'-' as usize] = BETWEEN;
    classes
};

/// What is often in front of a name and never part of one.
const NO_NAME: &[u8] = b"\"&?,{</";

/// True wherever one of three is odd.
fn no_tails() -> Box<[u32; 1 << 16]> {
    let mut tails = vec![u32::MAX; 1 << 16];
    let letters = || (b'A'..=b'Z').chain(b'a'..=b'z');
    for (second, third) in letters().flat_map(|second| letters().map(move |third| (second, third))) {
        tails[usize::from(u16::from_le_bytes([second, third]))] = 1 << ODD;
    }
    #[expect(clippy::expect_used, reason = "it was made of this length")]
    tails.try_into().expect("as long as it was made")
}

/// Whether all of five bytes are letters, told for all at once.
#[inline(always)]
fn are_letters(&[a, b, c, d, e]: &[u8; 5]) -> bool {
    const ONES: u64 = 0x01_01_01_01_01;
    const HIGHEST: u64 = 0x80 * ONES;
    let word = u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]);
    // Of what is ASCII, neither sum runs over into the next byte.
    let lower = (word | (0x20 * ONES)) & !HIGHEST;
    let from_a = lower + (0x80 - u64::from(b'a')) * ONES;
    let beyond_z = lower + (0x7f - u64::from(b'z')) * ONES;
    from_a & !beyond_z & !word & HIGHEST == HIGHEST
}

/// Five bits of each of the last three letters, in either case.
fn bit_of(tail: [u8; 3]) -> usize {
    let [a, b, c] = tail.map(|byte| usize::from(byte & 31));
    a << 10 | b << 5 | c
}

/// What a byte of a name counts as: nothing, or its lower case.
#[inline]
fn normal(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte | 0x20),
        b'-' | b'_' | b'.' | b' ' | b'[' | b']' | b'$' | b'@' => None,
        _ => Some(byte),
    }
}

/// A character as names are compared: its lower case. The two small sigmas are one.
fn folded(letter: char) -> impl Iterator<Item = char> {
    letter.to_lowercase().map(|lower| if lower == 'ς' { 'σ' } else { lower })
}

/// A no-break blank, which separates words as others do.
const BLANK: char = '\u{a0}';

/// Hands over what the bytes of a name count as, from its last on, until it is told to stop. What is no UTF-8 counts byte by
/// byte.
fn backwards(name: &[u8], mut wants_more: impl FnMut(u8) -> bool) {
    let mut end = name.len();
    while let Some(last) = name[..end].last() {
        let letter = if last.is_ascii() { None } else { last_letter(&name[..end]) };
        let Some(letter) = letter else {
            end -= 1;
            if normal(*last).is_some_and(|byte| !wants_more(byte)) {
                return;
            }
            continue;
        };
        end -= letter.len_utf8();
        if letter == BLANK {
            continue;
        }
        // At most three characters are the lower case of one.
        let (mut lower, mut len) = ([0; 12], 0);
        for letter in folded(letter).take(3) {
            len += letter.encode_utf8(&mut lower[len..]).len();
        }
        if !lower[..len].iter().rev().filter_map(|byte| normal(*byte)).all(&mut wants_more) {
            return;
        }
    }
}

/// The character beyond ASCII that a text ends with.
fn last_letter(text: &[u8]) -> Option<char> {
    (2..=4).find_map(|len| {
        let bytes = &text[text.len().checked_sub(len)?..];
        std::str::from_utf8(bytes).ok()?.chars().next().filter(|letter| letter.len_utf8() == len)
    })
}

/// Whether an escape of any character that counts as `letter` does ends with so many letters.
fn ends_like_letters(letter: char, digits: usize) -> bool {
    let is_other = |other: char| ends_in_letters(other, digits) && folded(other).last() == Some(letter);
    ends_in_letters(letter, digits)
        || letter.to_uppercase().any(|other| ends_in_letters(other, digits))
        || other_capitals().any(is_other)
}

/// The characters beyond ASCII that are the capital of none, but have a lower case.
fn other_capitals() -> impl Iterator<Item = char> {
    "ẞ\u{212b}\u{2126}ϴǅǈǋǲςİ".chars().chain('\u{1f88}'..='\u{1fff}')
}

/// Whether an escape of the character ends with as many letters, or fewer and what it starts with.
fn ends_in_letters(letter: char, digits: usize) -> bool {
    let are_letters = |code: u32, digits: usize| (0..digits).all(|digit| code >> (4 * digit) & 15 > 9);
    let is_byte = u32::from(letter) < 0x100;
    letter.encode_utf16(&mut [0; 2]).iter().any(|unit| are_letters((*unit).into(), digits))
        // `\xdf`
        || is_byte && are_letters(letter.into(), digits.min(2))
        || digits < 3 && letter.encode_utf8(&mut [0; 4]).bytes().any(|byte| are_letters(byte.into(), digits))
}

/// Headers whose whole value is a credential, besides those that every field name makes one.
pub(crate) const CREDENTIAL_HEADERS: &[&str] = &[
    "*authorization",
    "*authentication",
    "authentication-info",
    "proxy-authentication-info",
    "x-ms-authorization-auxiliary",
    "*basic-auth",
    "*proxy-auth",
    "*http-auth",
    "*api-auth",
    "*user-auth",
    "x-tableau-auth",
    "x-redlock-auth",
    "x-oauth",
    "x-auth",
    "x-auth-key",
    "x-auth-secret",
    "x-auth-email",
    "x-auth-user",
    "x-auth-password",
    "x-identity",
    "x-user-token",
    "x-session",
    "x-session-id",
    "x-sessionid",
    "x-okta-session",
    "x-forwarded-access-token",
    "x-forwarded-client-cert",
    "x-client-cert",
    "x-ssl-client-cert",
    "client-cert",
    "client-cert-chain",
    "x-amz-signature",
    "x-amz-credential",
    "x-amzn-oidc-data",
    "x-amzn-oidc-identity",
    "x-goog-api-key",
    "x-goog-iap-jwt-assertion",
    "x-goog-authenticated-user-id",
    "x-endpoint-api-userinfo",
    "x-ms-client-principal",
    "x-ms-encryption-key",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-goog-encryption-key",
    "x-functions-key",
    "x-master-key",
    "x-admin-key",
    "x-appwrite-key",
    "fastly-key",
    "x-clickhouse-key",
    "x-service-key",
    "admin-key",
    "x-registry-auth",
    "x-registry-config",
    "x-elastic-app-auth",
    "x-found-auth",
    "x-token-auth",
    "x-sid",
    "x-sfdc-session",
    "x-qlik-session",
    "x-firebase-appcheck",
    "x-zumo-auth",
    "ocp-apim-subscription-key",
    "x-rapidapi-key",
    "x-mashape-key",
    "x-apikey",
    "api-key",
    "x-api-secret",
    "x-app-key",
    "x-application-key",
    "x-client-key",
    "x-access-key",
    "x-secret-key",
    "x-parse-rest-api-key",
    "x-parse-master-key",
    "x-parse-session-token",
    "x-algolia-api-key",
    "x-elastic-api-key",
    "x-datadog-key",
    "dd-api-key",
    "dd-application-key",
    "x-newrelic-license-key",
    "x-insert-key",
    "x-query-key",
    "x-honeycomb-team",
    "x-figma-token",
    "x-shopify-storefront-access-token",
    "x-slack-signature",
    "x-hub-signature",
    "x-hub-signature-256",
    "x-line-signature",
    "x-twilio-signature",
    "stripe-signature",
    "x-telegram-bot-api-secret-token",
    "x-gitlab-token",
    "private-token",
    "job-token",
    "deploy-token",
    "circle-token",
    "x-jfrog-art-api",
    "x-consul-token",
    "x-nomad-token",
    "x-vault-token",
    "x-kong-admin-token",
    "kong-admin-token",
    "x-csrf",
    "x-xsrf",
    "x-csrftoken",
    "x-csrf-token",
    "x-xsrf-token",
    "dpop",
    "cf-access-jwt-assertion",
    "cf-access-client-id",
    "cf-access-client-secret",
    "x-pomerium-jwt-assertion",
    "x-jwt",
    "x-jwt-assertion",
    "x-id-token",
    "x-okta-user-token",
    "x-otp",
    "x-github-otp",
    "x-signature",
    "x-hmac",
    "x-hmac-signature",
    "x-auth-signature",
    "x-wsse",
    "*cookie",
    "*cookies",
    "x-bearer",
    "x-pass",
    "x-pin",
    "x-key",
    "x-access-code",
    "x-ovh-consumer",
    "x-ovh-signature",
];

/// Field names (of query, form, JSON, XML, multipart and cookies) whose value is a credential. `*` means: ends so.
pub(crate) const CREDENTIAL_FIELDS: &[&str] = &[
    "*password",
    "*passwd",
    "*passphrase",
    "*passcode",
    "passkey",
    "psk",
    "*wifi_psk",
    "*pre_shared_key",
    "*pass_word",
    "*pass",
    "*pwd",
    "pw",
    "pword",
    "*bind_pw",
    "*user_pw",
    "*admin_pw",
    "*root_pw",
    "*password_confirmation",
    "*password_confirm",
    "*password_again",
    "*password_repeat",
    "*password_hash",
    "*password_md5",
    "*password_sha256",
    "*password_bcrypt",
    "*password_encrypted",
    "*password_base64",
    "*password_input",
    "*password_digest",
    "*password_salt",
    "*password_plain",
    "*password_new",
    "*password_old",
    "*password_current",
    "*password_verify",
    "*password_value",
    "*password_text",
    "*passwd_new",
    "*passwd_old",
    "*passwd_confirm",
    "*passwd_hash",
    "*pwd_new",
    "*pwd_old",
    "*pwd_confirm",
    "*pwd_confirmation",
    "*pwd_repeat",
    "*pwd_again",
    "*pwd_verify",
    "*pwd_hash",
    "*pass_hash",
    "*pswd",
    "*passwort",
    "*kennwort",
    "*contrasena",
    "*contraseña",
    "clave",
    "*mot_de_passe",
    "mdp",
    "*senha",
    "*wachtwoord",
    "*passord",
    "*adgangskode",
    "*lösenord",
    "*losenord",
    "*salasana",
    "*hasło",
    "*haslo",
    "*heslo",
    "*jelszó",
    "*jelszo",
    "şifre",
    "sifre",
    "parola",
    "*пароль",
    "*Пароль",
    "*密码",
    "*密碼",
    "*パスワード",
    "*비밀번호",
    "*口令",
    "*暗証番号",
    "*secret",
    "*secret_key",
    "*secret_key_base",
    "*secret_access_key",
    "*secret_token",
    "*secret_string",
    "*secret_id",
    "*client_secret",
    "*secret_value",
    "*secret_data",
    "*token",
    "*token_secret",
    "*token_value",
    "*token_string",
    "*access_token",
    "*refresh_token",
    "*id_token",
    "*id_token_hint",
    "*auth_token",
    "*csrf",
    "*xsrf",
    "csrfmiddlewaretoken",
    "authenticity_token",
    "__RequestVerificationToken",
    "*jwt",
    "*jwt_token",
    "bearer",
    "*api_key",
    "*access_key",
    "*access_key_id",
    "*private_key",
    "privkey",
    "*priv_key",
    "*private_key_pem",
    "*private_key_value",
    "*signing_key",
    "*encryption_key",
    "*hmac_key",
    "*aes_key",
    "*session_key",
    "*shared_key",
    "*master_key",
    "*license_key",
    "*account_key",
    "*auth_key",
    "app_key",
    "application_key",
    "*subscription_key",
    "*consumer_key",
    "*ssh_key",
    "*connection_string",
    "authorization",
    "proxy_authorization",
    "http_authorization",
    "http_proxy_authorization",
    "request_authorization",
    "x_authorization",
    "authorization_header",
    "authorization_original",
    "auth",
    "basic_auth",
    "auth_header",
    "authentication",
    "cookie",
    "cookies",
    "set-cookie",
    "http_cookie",
    "cookie_header",
    "*session_cookie",
    "*auth_cookie",
    "*login_cookie",
    "*credential",
    "*credentials",
    "creds",
    "session",
    "user_session",
    "*session_id",
    "*sessid",
    "sid",
    "phpsessid",
    "jsessionid",
    "aspsessionid",
    "connect.sid",
    "assertion",
    "client_assertion",
    "saml_response",
    "saml_request",
    "saml_assertion",
    "*auth_code",
    "*authorization_code",
    "code_verifier",
    "oauth_verifier",
    "oauth_signature",
    "device_code",
    "user_code",
    "signature",
    "sig",
    "hmac",
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "x-goog-signature",
    "x-goog-credential",
    "*otp",
    "*otp_code",
    "*one_time_password",
    "*mfa_code",
    "*sms_code",
    "*one_time_code",
    "*reset_code",
    "*activation_code",
    "*confirmation_code",
    "*login_code",
    "*login_ticket",
    "service_ticket",
    "*granting_ticket",
    "tgt",
    "unseal_key",
    "kubeconfig",
    "*access_ticket",
    "*two_factor_code",
    "*verification_code",
    "*recovery_code",
    "*recovery_codes",
    "*recovery_phrase",
    "*backup_code",
    "*backup_codes",
    "*security_code",
    "*security_answer",
    "*security_answers",
    "*secret_answer",
    "pin",
    "pin_number",
    "user_pin",
    "*old_pin",
    "*new_pin",
    "*current_pin",
    "*confirm_pin",
    "*repeat_pin",
    "*verify_pin",
    "login_pin",
    "account_pin",
    "atm_pin",
    "transaction_pin",
    "security_pin",
    "access_pin",
    "device_pin",
    "sim_pin",
    "pin_new",
    "pin_old",
    "pin_confirm",
    "pin_confirmation",
    "pin_hash",
    "*pin_block",
    "puk",
    "*puk_code",
    "*pin_code",
    "*card_pin",
    "cvv",
    "cvn",
    "*cvv_number",
    "*card_code",
    "cvc",
    "csc",
    "*card_cvv",
    "*card_cvc",
    "*card_verification_value",
    "*cvv_code",
    "*cvc_code",
    "*cvv2",
    "*cvc2",
    "seed_phrase",
    "*mnemonic",
];

/// Field names of several credentials; a number there counts them or limits how many there may be.
pub(crate) const PLURAL_FIELDS: &[&str] =
    &["*tokens", "*passwords", "*passwds", "*secrets", "*api_keys", "*access_keys", "*secret_keys", "*private_keys"];

/// Field names that end like some of those above and are none.
pub(crate) const HARMLESS_FIELDS: &[&str] = &[
    "*compass",
    // A review.
    "*resenha",
    "*bypass",
    "*trespass",
    "*overpass",
    "*underpass",
    "*encompass",
    "*surpass",
    "*boarding_pass",
    "*season_pass",
    "*day_pass",
    "*ski_pass",
    "*low_pass",
    "*high_pass",
    "*band_pass",
    "*all_pass",
    "*first_pass",
    "*second_pass",
    "*single_pass",
    "*stop_tokens",
    "*special_tokens",
    "*added_tokens",
];

/// Field names whose value of nine digits is a US social security number.
pub(crate) const SSN_FIELDS: &[&str] = &[
    "*ssn",
    "*social_security",
    "*social_security_number",
    "*social_security_no",
    "*social_security_num",
    "*socsec",
    "*ssn_number",
    "*tax_id",
    "*taxpayer_id",
    "*itin",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Names {
        let mut names = Names::new();
        for name in HARMLESS_FIELDS {
            names.add(name, Meaning::Harmless);
        }
        for name in CREDENTIAL_FIELDS.iter().chain(CREDENTIAL_HEADERS) {
            assert!(names.add(name, Meaning::Secret(KindId(0))), "{name}");
        }
        names
    }

    /// Whatever is escaped of it, or in front of it.
    #[test]
    fn no_name_is_dismissed_by_five_letters() {
        let names = credentials();
        for name in CREDENTIAL_FIELDS.iter().chain(CREDENTIAL_HEADERS).filter(|name| name.is_ascii()) {
            let name = name.trim_start_matches('*');
            for at in 0..name.len() {
                let escaped = format!("{}\\u{:04x}{}", &name[..at], name.as_bytes()[at], &name[at + 1..]);
                let behind_escapes = ["\\n", "\\t", "\\r", "\\b", "\\f", "\\v"].map(|escape| format!("{escape}{name}"));
                let others = behind_escapes.iter().map(String::as_str);
                for text in [name, &escaped, &escaped.to_uppercase()].into_iter().chain(others) {
                    let five = text.as_bytes().last_chunk();
                    assert!(five.is_none_or(|five| !names.dismisses_five(five)), "{text}");
                }
            }
        }
        assert!(names.dismisses_five(b"ption") && names.dismisses_five(b"rsity") && !names.dismisses_five(b"ation"));
    }

    #[test]
    fn letters_are_told() {
        for at in 0..5 {
            for byte in 0..=u8::MAX {
                for others in [*b"aaaaa", *b"ZZZZZ", *b"zAzAz"] {
                    let mut text = others;
                    text[at] = byte;
                    assert_eq!(are_letters(&text), byte.is_ascii_alphabetic(), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn case_and_separators_do_not_matter() {
        let names = credentials();
        for name in [
            "password",
            "Password",
            "PASS-WORD",
            "new_password",
            "newPassword2",
            "user.password",
            "user[password]",
            "x-api-key",
            "apiKey",
            "API_KEY",
            "accessToken",
            "X-Amz-Security-Token",
            "client-secret",
            "pin",
            "cvv",
            "CVV2",
            "aws_secret_access_key",
            "SecretAccessKey",
            "__csrf",
            "pw",
            "PW",
            "AspSessionId",
            "smtp_pass",
            "loginPass",
            "passwordNew",
            "password_old",
            "pwdConfirm",
            "accessTokenValue",
            "privateKeyPem",
            "auth_code",
            "recoveryCodes",
            "pinNumber",
            "contraseña",
            "nueva_contraseña",
            "nouveauMotDePasse",
            "novaSenha",
            "neues_kennwort",
            "nieuwWachtwoord",
            "nyttLösenord",
            "noweHaslo",
            "uusiSalasana",
            "mdp",
            "新口令",
            "новый_пароль",
            "登录密码",
            "X-User-Authorization",
            "HTTP_AUTHORIZATION",
            "HTTP_COOKIE",
            "session_cookie",
            "oldPin",
            "new_pin",
            "confirmPin",
            "id_token_hint",
            "userOtp",
            "auth_jwt",
            "smsCode",
            "resetCode",
            "pswd",
            "pass_hash",
        ] {
            assert!(names.meaning(name.as_bytes()).is_some(), "{name}");
        }
        let long = format!("{}password", "x".repeat(1000));
        assert!(names.meaning(long.as_bytes()).is_some());
    }

    /// Capitals of any alphabet, in the name that is added or the one that is asked for.
    #[test]
    fn case_does_not_matter_beyond_ascii() {
        for (name, others) in [
            ("Übergabecode", &["übergabecode", "ÜBERGABECODE", "Übergabe-Code2"][..]),
            ("übergabecode", &["Übergabecode", "ÜBERGABECODE"]),
            ("Пароль", &["пароль", "ПАРОЛЬ", "пАроль"]),
            ("ΣΑΣ", &["σας", "σασ", "Σας"]),
            ("İd", &["İd", "İD"]),
            ("xeß", &["xeẞ", "XEß"]),
            ("*naïÄ", &["xNAÏä", "naïä"]),
            ("Åb", &["åb", "\u{212b}b", "ÅB"]),
        ] {
            let mut names = Names::new();
            assert!(names.add(name, Meaning::Secret(KindId(0))));
            for other in others.iter().chain(&[name.trim_start_matches('*')]) {
                assert!(names.meaning(other.as_bytes()).is_some(), "{name} {other}");
            }
            assert!(names.meaning(b"\xdcbergabe").is_none() && names.meaning("\u{fffd}é".as_bytes()).is_none());
        }
    }

    #[test]
    fn every_capital_is_known() {
        for letter in ('\u{80}'..=char::MAX).filter(|letter| *letter != '\u{212a}') {
            let lower = folded(letter).last().unwrap();
            let is_known = lower == letter || lower.to_uppercase().any(|capital| capital == letter);
            assert!(is_known || other_capitals().any(|other| other == letter), "{letter:?}");
        }
    }

    #[test]
    fn names_within_names_are_found() {
        let names = credentials();
        for name in [
            "user[pin]",
            "user[plainPassword][first]",
            "credentials[key]",
            "filter[password][$ne]",
            "a.b[0][otp]",
            "loginForm:pin",
            "loginForm.pin",
            "ctl00$pin",
            "amp;sid",
            "/cb?jwt",
            "?otp",
            ";pin",
            "otp\0",
            " pin",
            "pin ",
            "pin[",
        ] {
            assert!(names.meaning_of_path(name.as_bytes()).is_some(), "{name:?}");
        }
        for name in
            ["", "[]", "user[id]", "a[b", "shop:spin", "pin.x", "user[shipping]", "sid/x", "code", "a;b", "[[[[]]"]
        {
            assert!(names.meaning_of_path(name.as_bytes()).is_none(), "{name:?}");
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        let names = credentials();
        for name in [
            "",
            "_",
            "id",
            "name",
            "compass",
            "passenger",
            "spin",
            "shipping",
            "host",
            "connection",
            "content-type",
            "monkey",
            "key",
            "signatures",
            "tokens_used",
            "tokenizer",
            "keyword",
            "code",
            "password_updated_at",
            "passwordPolicy",
            "author",
            "accept",
            "user-agent",
            "tokenize",
            "secretary",
            "2",
            "-2",
            "etag",
        ] {
            assert!(names.meaning(name.as_bytes()).is_none_or(|meaning| meaning == Meaning::Harmless), "{name}");
        }
    }

    #[test]
    fn what_only_ends_alike_is_harmless() {
        let mut names = Names::new();
        for name in HARMLESS_FIELDS {
            assert!(names.add(name, Meaning::Harmless), "{name}");
        }
        for name in CREDENTIAL_FIELDS.iter().chain(PLURAL_FIELDS) {
            assert!(names.add(name, Meaning::Secret(KindId(0))), "{name}");
        }
        for name in ["compass", "Bypass", "boardingPass", "low-pass", "stop_tokens"] {
            assert_eq!(names.meaning(name.as_bytes()), Some(Meaning::Harmless), "{name}");
        }
        for name in ["pass", "tokens", "access_tokens", "apiKeys", "smtp_pass"] {
            assert_eq!(names.meaning(name.as_bytes()), Some(Meaning::Secret(KindId(0))), "{name}");
        }
    }

    #[test]
    fn exceptions_come_first() {
        let mut names = Names::new();
        assert!(names.add("next_page_token", Meaning::Harmless));
        assert!(names.add("*token", Meaning::Secret(KindId(3))));
        assert_eq!(names.meaning(b"nextPageToken"), Some(Meaning::Harmless));
        assert_eq!(names.meaning(b"pageToken"), Some(Meaning::Secret(KindId(3))));
        assert!(!names.add("--", Meaning::Harmless));
        assert!(!names.add("*", Meaning::Harmless));
        assert!(!names.add("*id", Meaning::Harmless));
    }
}
