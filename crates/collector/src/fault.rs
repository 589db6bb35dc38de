//! Misbehaviour on demand: the language it is written in, and the list of what is still to come.
//!
//! A [`Fault`] is armed at a [`Stage`], strikes a number of times or with a chance, and does one [`Action`]. Faults are
//! tried in the order they were added; at most one strikes a request. Chance comes from one seeded generator, so a sequence of
//! requests sees the same faults in every run.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// One kind of misbehaviour. Written as `key=value` parts between commas:
///
/// | part | |
/// |---|---|
/// | `status=503` | answer with this status instead of doing anything |
/// | `retry-after=2` | with `status`: the seconds of a Retry-After field |
/// | `delay=500ms` | wait first; alone: then go on as usual |
/// | `cut=request` | reset the connection in the midst of the request |
/// | `cut=reply` | do what was asked, send half of the answer, reset the connection |
/// | `hang` | read the request, never answer |
/// | `expire` | all tokens issued so far are no good any more |
/// | `token-life=1s` | issue a token that dies sooner than its answer says |
/// | `reject-token` | 401, whatever the token |
/// | `random` | any of those that fit the stage, but `hang` |
/// | `on=ingest` | the stage: `connection`, `token`, `ingest` (default; `token-life` is always `token`) |
/// | `count=3` | strike so many times, or `count=all`. Default 1, with `chance` all |
/// | `after=10` | let so many pass first |
/// | `chance=10%` | strike only with this probability |
///
/// ```
/// let fault: collector::Fault = "status=503,retry-after=1,count=3".parse().unwrap();
/// assert_eq!(fault.to_string(), "status=503,retry-after=1,on=ingest,count=3");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// Where it strikes.
    pub stage: Stage,
    /// Time to wait before the action.
    pub delay: Duration,
    /// What it does.
    pub action: Action,
    /// How many requests (or connections) of its stage pass before it may strike.
    pub after: u64,
    /// How often it strikes; `None`: always.
    pub count: Option<u64>,
    /// With which probability it strikes, from 0 to 1.
    pub chance: f64,
}

/// What a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A connection, right after it was accepted and before TLS.
    Connection,
    /// A request to the token endpoint.
    Token,
    /// A request that brings records.
    Ingest,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing beyond the delay.
    Proceed,
    /// Answer with a status.
    Status {
        /// The status, 200 to 599.
        code: u16,
        /// Seconds for a Retry-After field.
        retry_after: Option<u32>,
    },
    /// Reset the connection once the first part of the request's body is there.
    CutRequest,
    /// Do what was asked, and reset the connection after half of the answer: the sender cannot know that it was taken.
    CutReply,
    /// Never answer.
    Hang,
    /// Make all tokens issued so far invalid, then go on.
    ExpireTokens,
    /// Issue a token that is good for this long only, while the answer states the usual lifetime.
    TokenLife(Duration),
    /// Answer 401, as to an invalid token.
    RejectToken,
    /// One of the others, by chance.
    Random,
}

impl Fault {
    /// A fault that strikes the next request that brings records.
    #[must_use]
    pub fn new(action: Action) -> Self {
        let stage = if matches!(action, Action::TokenLife(_)) { Stage::Token } else { Stage::Ingest };
        Self { stage, delay: Duration::ZERO, action, after: 0, count: Some(1), chance: 1.0 }
    }

    /// The next so many answers have this status.
    #[must_use]
    pub fn status(code: u16, count: u64) -> Self {
        Self { count: Some(count), ..Self::new(Action::Status { code, retry_after: None }) }
    }

    /// Every request waits.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self { delay, count: None, ..Self::new(Action::Proceed) }
    }

    /// Requests meet a random fault with this probability, from 0 to 1.
    #[must_use]
    pub fn random(chance: f64) -> Self {
        Self { chance, count: None, ..Self::new(Action::Random) }
    }

    /// The same at another stage.
    #[must_use]
    pub fn on(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    /// The same so many times; `None`: always.
    #[must_use]
    pub fn times(self, count: Option<u64>) -> Self {
        Self { count, ..self }
    }

    /// The same once so many have passed.
    #[must_use]
    pub fn after(self, after: u64) -> Self {
        Self { after, ..self }
    }

    /// Why this cannot be done where it is armed.
    fn contradiction(&self) -> Option<String> {
        let impossible = match (self.stage, self.action) {
            (Stage::Connection, Action::Proceed | Action::CutRequest | Action::Hang | Action::Random) => false,
            (Stage::Connection, _) => true,
            (Stage::Token, Action::ExpireTokens | Action::RejectToken) => true,
            (Stage::Ingest, Action::TokenLife(_)) => true,
            _ => false,
        };
        if impossible {
            return Some(format!("`{}` cannot be done on={}", self.action, self.stage));
        }
        if self.action == Action::Proceed && self.delay.is_zero() {
            return Some("it does nothing: write what is to happen, as in status=503".to_owned());
        }
        if !(0.0..=1.0).contains(&self.chance) {
            return Some("a chance is between 0% and 100%".to_owned());
        }
        if let Action::Status { code, .. } = self.action
            && !(200..=599).contains(&code)
        {
            return Some(format!("{code} is no final status: write one from 200 to 599"));
        }
        None
    }
}

impl FromStr for Fault {
    type Err = FaultSyntax;

    fn from_str(text: &str) -> Result<Self, FaultSyntax> {
        parse(text).map_err(|problem| FaultSyntax { text: text.to_owned(), problem })
    }
}

/// A fault that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no fault: {problem}")]
pub struct FaultSyntax {
    text: String,
    problem: String,
}

fn parse(text: &str) -> Result<Fault, String> {
    let mut action = None;
    let (mut stage, mut delay, mut after, mut count, mut chance, mut retry_after) =
        (None, None, None, None, None, None);
    for part in text.split(',').map(str::trim) {
        let (key, value) = part.split_once('=').map_or((part, ""), |(key, value)| (key.trim(), value.trim()));
        let found = match key {
            "status" => Some(Action::Status { code: number(key, value)?, retry_after: None }),
            "cut" => Some(match value {
                "request" => Action::CutRequest,
                "reply" => Action::CutReply,
                _ => return Err(format!("`cut={value}`: write cut=request or cut=reply")),
            }),
            "token-life" => Some(Action::TokenLife(duration(key, value)?)),
            "hang" | "expire" | "reject-token" | "random" if !value.is_empty() => {
                return Err(format!("`{key}` takes no value"));
            }
            "hang" => Some(Action::Hang),
            "expire" => Some(Action::ExpireTokens),
            "reject-token" => Some(Action::RejectToken),
            "random" => Some(Action::Random),
            "retry-after" => once(&mut retry_after, key, number(key, value)?)?,
            "delay" => once(&mut delay, key, duration(key, value)?)?,
            "after" => once(&mut after, key, number(key, value)?)?,
            "count" if value == "all" => once(&mut count, key, None)?,
            "count" => once(&mut count, key, Some(number(key, value)?))?,
            "chance" => once(&mut chance, key, probability(value)?)?,
            "on" => {
                let which = match value {
                    "connection" => Stage::Connection,
                    "token" => Stage::Token,
                    "ingest" => Stage::Ingest,
                    _ => return Err(format!("`on={value}`: write on=connection, on=token or on=ingest")),
                };
                once(&mut stage, key, which)?
            }
            _ => return Err(format!("`{part}` is not known; docs/collector.md lists the parts")),
        };
        if let Some(found) = found
            && action.replace(found).is_some()
        {
            return Err("it names more than one thing to do: write them as several faults".to_owned());
        }
    }
    let mut fault = Fault::new(action.unwrap_or(Action::Proceed));
    match (&mut fault.action, retry_after) {
        (Action::Status { retry_after: slot, .. }, seconds) => *slot = seconds,
        (_, Some(_)) => return Err("retry-after goes with status only".to_owned()),
        (_, None) => {}
    }
    fault.stage = stage.unwrap_or(fault.stage);
    fault.delay = delay.unwrap_or_default();
    fault.after = after.unwrap_or_default();
    fault.count = count.unwrap_or(if chance.is_some() { None } else { Some(1) });
    fault.chance = chance.unwrap_or(1.0);
    fault.contradiction().map_or(Ok(fault), Err)
}

fn once<T>(slot: &mut Option<T>, key: &str, value: T) -> Result<Option<Action>, String> {
    if slot.replace(value).is_some() {
        return Err(format!("`{key}` is there twice"));
    }
    Ok(None)
}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("`{key}={value}`: `{value}` is no number that fits"))
}

fn probability(value: &str) -> Result<f64, String> {
    let (digits, scale) = value.strip_suffix('%').map_or((value, 1.0), |digits| (digits, 100.0));
    match digits.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number / scale),
        _ => Err(format!("`chance={value}`: write a percentage, as in chance=10%")),
    }
}

fn duration(key: &str, value: &str) -> Result<Duration, String> {
    let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = value.split_at(digits);
    let number: u32 = number.parse().map_err(|_| format!("`{key}={value}`: write a time, as in 500ms or 2s"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        _ => Err(format!("`{key}={value}`: write the unit, ms or s")),
    }
}

impl fmt::Display for Fault {
    /// In the language that [`FromStr`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.delay.is_zero() {
            write!(f, "delay={}ms,", self.delay.as_millis())?;
        }
        if self.action != Action::Proceed {
            write!(f, "{},", self.action)?;
        }
        write!(f, "on={}", self.stage)?;
        match self.count {
            Some(count) => write!(f, ",count={count}")?,
            None => f.write_str(",count=all")?,
        }
        if self.after > 0 {
            write!(f, ",after={}", self.after)?;
        }
        if self.chance < 1.0 {
            write!(f, ",chance={}", self.chance)?;
        }
        Ok(())
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "connection",
            Self::Token => "token",
            Self::Ingest => "ingest",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proceed => f.write_str("delay"),
            Self::Status { code, retry_after: Some(seconds) } => write!(f, "status={code},retry-after={seconds}"),
            Self::Status { code, retry_after: None } => write!(f, "status={code}"),
            Self::CutRequest => f.write_str("cut=request"),
            Self::CutReply => f.write_str("cut=reply"),
            Self::Hang => f.write_str("hang"),
            Self::ExpireTokens => f.write_str("expire"),
            Self::TokenLife(life) => write!(f, "token-life={}ms", life.as_millis()),
            Self::RejectToken => f.write_str("reject-token"),
            Self::Random => f.write_str("random"),
        }
    }
}

/// The faults of a running collector. Cloning gives another handle on the same list.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Mutex<List>>);

#[derive(Debug)]
struct List {
    armed: Vec<Armed>,
    chance: StdRng,
    struck: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    passed: u64,
}

/// What is to be done now: a fault's delay, then its action, which is never [`Action::Random`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) delay: Duration,
    pub(crate) action: Action,
}

impl Faults {
    /// The faults that a collector starts with.
    ///
    /// # Errors
    ///
    /// Says which fault cannot be done.
    pub(crate) fn new(faults: &[Fault], seed: u64) -> Result<Self, FaultSyntax> {
        let list = List { armed: Vec::new(), chance: StdRng::seed_from_u64(seed), struck: BTreeMap::new() };
        let this = Self(Arc::new(Mutex::new(list)));
        for fault in faults {
            this.add(*fault)?;
        }
        Ok(this)
    }

    /// Arms a fault behind those that are armed.
    ///
    /// # Errors
    ///
    /// If it cannot be done at its stage, or does nothing.
    pub fn add(&self, fault: Fault) -> Result<(), FaultSyntax> {
        if let Some(problem) = fault.contradiction() {
            return Err(FaultSyntax { text: fault.to_string(), problem });
        }
        self.list().armed.push(Armed { fault, passed: 0 });
        Ok(())
    }

    /// Takes back all that have not struck yet.
    pub fn clear(&self) {
        self.list().armed.clear();
    }

    /// The faults that can still strike, with the counts that are left.
    #[must_use]
    pub fn armed(&self) -> Vec<Fault> {
        self.list().armed.iter().map(|armed| armed.fault).collect()
    }

    /// How often each action has struck, by its name; a random one under what it turned out to be.
    #[must_use]
    pub fn struck(&self) -> BTreeMap<&'static str, u64> {
        self.list().struck.clone()
    }

    /// Whether, and how, the next event of a stage is struck.
    pub(crate) fn draw(&self, stage: Stage) -> Option<Strike> {
        let list = &mut *self.list();
        let mut struck = None;
        for (place, armed) in list.armed.iter_mut().enumerate() {
            if armed.fault.stage != stage {
                continue;
            }
            armed.passed += 1;
            if armed.passed <= armed.fault.after
                || armed.fault.count == Some(0)
                || (armed.fault.chance < 1.0 && !list.chance.random_bool(armed.fault.chance))
            {
                continue;
            }
            struck = Some(place);
            break;
        }
        let place = struck?;
        let fault = &mut list.armed[place].fault;
        let delay = fault.delay;
        let mut strike = Strike { delay, action: fault.action };
        if let Some(count) = &mut fault.count {
            *count -= 1;
            if *count == 0 {
                list.armed.remove(place);
            }
        }
        if strike.action == Action::Random {
            strike = random(stage, delay, &mut list.chance);
        }
        *list.struck.entry(name(strike.action)).or_default() += 1;
        Some(strike)
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // A panic elsewhere cannot leave the list half changed in a way that matters.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random(stage: Stage, delay: Duration, chance: &mut StdRng) -> Strike {
    let status = |code, retry_after| Action::Status { code, retry_after };
    let choices: &[Action] = match stage {
        Stage::Connection => &[Action::CutRequest, Action::Proceed],
        Stage::Token => &[status(503, None), status(500, None), Action::CutRequest, Action::CutReply, Action::Proceed],
        Stage::Ingest => &[
            status(503, None),
            status(429, Some(1)),
            status(500, None),
            status(408, None),
            Action::CutRequest,
            Action::CutReply,
            Action::RejectToken,
            Action::ExpireTokens,
            Action::Proceed,
        ],
    };
    let action = choices[chance.random_range(0..choices.len())];
    let pause =
        if action == Action::Proceed { Duration::from_millis(chance.random_range(1..=300)) } else { Duration::ZERO };
    Strike { delay: delay + pause, action }
}

fn name(action: Action) -> &'static str {
    match action {
        Action::Proceed => "delay",
        Action::Status { .. } => "status",
        Action::CutRequest => "cut_request",
        Action::CutReply => "cut_reply",
        Action::Hang => "hang",
        Action::ExpireTokens => "expire",
        Action::TokenLife(_) => "token_life",
        Action::RejectToken => "reject_token",
        Action::Random => "random",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn is_read_as_written() {
        assert_eq!(fault("status=503,count=3"), Fault::status(503, 3));
        assert_eq!(fault("delay=500ms,count=all"), Fault::delay(Duration::from_millis(500)));
        assert_eq!(fault("random, chance=10%"), Fault::random(0.1));
        assert_eq!(fault("cut=reply,after=2"), Fault::new(Action::CutReply).after(2));
        assert_eq!(fault("token-life=1s").stage, Stage::Token);
        assert_eq!(fault("hang,on=connection").stage, Stage::Connection);
        let Action::Status { retry_after, .. } = fault("retry-after=7,status=429").action else { panic!() };
        assert_eq!(retry_after, Some(7));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        for (text, says) in [
            ("", "not known"),
            ("status=abc", "no number"),
            ("status=99", "200 to 599"),
            ("status=100", "200 to 599"),
            ("status=503,hang", "more than one"),
            ("status=503,count=1,count=2", "twice"),
            ("chance=10%", "does nothing"),
            ("hang,chance=110%", "between 0% and 100%"),
            ("hang,chance=nan", "percentage"),
            ("hang=1", "no value"),
            ("cut=here", "cut=request or cut=reply"),
            ("hang,on=never", "on=connection"),
            ("expire,on=token", "cannot be done"),
            ("status=500,on=connection", "cannot be done"),
            ("token-life=1s,on=ingest", "cannot be done"),
            ("hang,retry-after=1", "with status only"),
            ("delay=5", "unit"),
            ("delay=99999999999s", "write a time"),
        ] {
            let error = text.parse::<Fault>().expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn strikes_so_often_and_no_more() {
        let faults = Faults::new(&[fault("status=503,count=2,after=1"), fault("hang,on=token")], 1).unwrap();
        let drawn: Vec<bool> = (0..5).map(|_| faults.draw(Stage::Ingest).is_some()).collect();
        assert_eq!(drawn, [false, true, true, false, false]);
        assert_eq!(faults.draw(Stage::Token).unwrap().action, Action::Hang);
        assert!(faults.draw(Stage::Token).is_none() && faults.armed().is_empty());
        assert_eq!(faults.struck(), BTreeMap::from([("status", 2), ("hang", 1)]));
    }

    #[test]
    fn chance_is_the_seed_s() {
        let run = |seed| {
            let faults = Faults::new(&[Fault::random(0.25)], seed).unwrap();
            (0..400).map(|_| faults.draw(Stage::Ingest)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let struck = run(7).iter().flatten().count();
        assert!((60..140).contains(&struck), "{struck}");
        assert!(run(7).iter().flatten().all(|strike| strike.action != Action::Random && strike.action != Action::Hang));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_is_printed_is_read_back(
            action in prop_oneof![
                (200u16..600, any::<Option<u32>>()).prop_map(|(code, retry_after)| Action::Status { code, retry_after }),
                Just(Action::CutRequest), Just(Action::CutReply), Just(Action::Hang), Just(Action::ExpireTokens),
                (0u32..u32::MAX).prop_map(|ms| Action::TokenLife(Duration::from_millis(ms.into()))),
                Just(Action::RejectToken), Just(Action::Random),
            ],
            delay in any::<u32>(), after in any::<u64>(), count in any::<Option<u64>>(), chance in 0.0f64..=1.0,
        ) {
            let fault = Fault { delay: Duration::from_millis(delay.into()), after, count, chance, ..Fault::new(action) };
            prop_assert_eq!(fault.to_string().parse::<Fault>(), Ok(fault));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-z=,%0-9. -]{0,40}") {
            let _ = text.parse::<Fault>();
        }
    }
}
