//! Whether a configuration fits what it is to be used for: what a start would refuse beside values that are wrong in
//! themselves.
//!
//! There is one judgement for a start, a reload, `config --check` and `check`, so that none of them takes what another one
//! refuses. All that speaks against a configuration is told at once, each with its setting. Only conditions that come and go
//! are left to whoever opens things: interfaces, ports, folders, the platform.

use std::io::ErrorKind;
use std::path::Path;
use std::thread;

use crate::appliance::unknown_identities;
use crate::config::{Config, ConfigError, Cpus, Loaded, Mask, Misfit, is_handed_pipe};
use crate::filter::Rules;
use crate::live::barred;
use crate::masker::{MaskError, MaskPolicy};
use crate::memory;
use crate::policy::{self, FilterError};
use crate::source::Filter;
use crate::units::ByteSize;

/// What a configuration is judged for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// Some machine and some command: what is refused fits none. Of files, only what is wrong with those that are here counts.
    Anywhere,
    /// This machine, and whatever command it is for.
    Here,
    /// A replay on this machine; what flags say of sizes is judged with them.
    Replay {
        /// Whether no flag says otherwise.
        sizes: bool,
    },
    /// A live sensor that starts on this machine.
    Run,
    /// A live sensor that runs on this machine, with the configuration that it has.
    Reload(&'a Config),
}

/// What was made of a configuration to judge it, so that a start need not make it again: expressions take their time.
#[derive(Default)]
pub struct Ready {
    rules: Option<Rules>,
    mask: Option<Option<MaskPolicy>>,
}

impl Ready {
    /// What `[filters]` asks for, of the configuration that was judged.
    ///
    /// # Errors
    /// As [`policy::rules`].
    pub fn rules(&mut self, config: &Config) -> Result<Rules, FilterError> {
        self.rules.take().map_or_else(|| policy::rules(config), Ok)
    }

    /// What `[mask]` asks for, of the configuration that was judged.
    ///
    /// # Errors
    /// As [`MaskPolicy::from_config`].
    pub fn mask(&mut self, config: &Config) -> Result<Option<MaskPolicy>, MaskError> {
        self.mask.take().map_or_else(|| MaskPolicy::from_config(&config.mask), Ok)
    }
}

/// Reads a file, with what the environment sets, and judges it by what is to be done with it.
///
/// # Errors
/// As [`Loaded::read_for`].
pub fn read(file: Option<&Path>, purpose: Purpose<'_>) -> Result<(Loaded, Ready), ConfigError> {
    let mut ready = Ready::default();
    let is_read_again = matches!(purpose, Purpose::Here | Purpose::Run | Purpose::Reload(_));
    let pipe = file.filter(|file| is_read_again && is_handed_pipe(file)).map(|_| Misfit {
        key: String::new(),
        found: Some(
            "the file is a pipe, which can be read once only, and a sensor that runs reads it again".to_owned(),
        ),
        advice: "name a regular file".to_owned(),
        by: &[],
    });
    let judge = |config: &Config| pipe.into_iter().chain(judge(config, purpose, &mut ready)).collect();
    let loaded = Loaded::read_for(file, std::env::vars_os(), judge)?;
    Ok((loaded, ready))
}

/// All that speaks against a configuration.
#[must_use]
pub fn misfits(config: &Config, purpose: Purpose<'_>) -> Vec<Misfit> {
    judge(config, purpose, &mut Ready::default())
}

/// The same, and what was made on the way.
fn judge(config: &Config, purpose: Purpose<'_>, ready: &mut Ready) -> Vec<Misfit> {
    let mut found = Vec::new();
    let sizes = match purpose {
        Purpose::Anywhere => Some(Sizes::of(config, config.workers.unwrap_or(1).max(1))),
        // What has sources is to run, what has none to be replayed with.
        Purpose::Here => {
            Some(Sizes::of(config, worker_count(config.workers.unwrap_or(config.capture.is_empty().into()))))
        }
        Purpose::Replay { sizes } => sizes.then(|| Sizes::of(config, worker_count(config.workers.unwrap_or(1)))),
        Purpose::Run | Purpose::Reload(_) => Some(Sizes::of(config, worker_count(config.workers.unwrap_or(0)))),
    };
    found.extend(sizes.into_iter().flat_map(Sizes::misfits));
    filters(config, purpose, &mut found);
    match policy::rules(config) {
        Ok(rules) => ready.rules = Some(rules),
        Err(error) => found.extend(error.misfits()),
    }
    ready.mask = mask(&config.mask, !matches!(purpose, Purpose::Anywhere), &mut found);
    // Both are for live sensors only, but whoever writes them down means this machine.
    if matches!(purpose, Purpose::Here | Purpose::Run | Purpose::Reload(_)) {
        cpus(&config.cpus, &mut found);
        identity(config, purpose, &mut found);
    }
    if matches!(purpose, Purpose::Run | Purpose::Reload(_)) && config.capture.is_empty() {
        found.push(Misfit {
            key: "capture".to_owned(),
            found: None,
            advice: "name something to capture from: a [[capture]] with interface = \"eth1\", or with listen and encapsulation; 'sensor interfaces' lists what there is".to_owned(),
            by: &["capture"],
        });
    }
    found
}

/// How many workers `asked` for means: 0 is one fewer than there are cores.
#[must_use]
pub fn worker_count(asked: usize) -> usize {
    match asked {
        0 => thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1)),
        workers => workers,
    }
}

/// The limits that depend on one another.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// For everything.
    pub memory: ByteSize,
    /// How many share it.
    pub workers: usize,
    /// What is kept of a body.
    pub body: ByteSize,
    /// What is decoded of a body, where anything was said.
    pub decoded: Option<ByteSize>,
}

impl Sizes {
    /// As the file says, for so many workers.
    #[must_use]
    pub fn of(config: &Config, workers: usize) -> Self {
        Self { memory: config.memory, workers, body: config.bodies.limit, decoded: config.bodies.decoded_limit }
    }

    /// What does not fit together: what is refused here can never work, which is better said than found out from records.
    #[must_use]
    pub fn misfits(self) -> Vec<Misfit> {
        let misfit = |key: &str, found, advice, by| Misfit { key: key.to_owned(), found: Some(found), advice, by };
        let shares = match memory::split(self.memory.0, self.workers, 0) {
            Ok(shares) => shares,
            Err(too_little) => {
                let (found, advice) = too_little.found_and_advice();
                return vec![misfit("memory", found, advice, &["memory", "workers"])];
            }
        };
        let body = |key: &str, given: ByteSize, most: usize| {
            let most = most as u64;
            // In whole units, so that what the message allows can be typed.
            let most = if most >= 1 << 20 { most >> 20 << 20 } else { most >> 10 << 10 };
            (given.0 > most).then(|| {
                misfit(
                    key,
                    format!(
                        "{given} does not fit in memory {}, of which bodies get at most {}",
                        self.memory,
                        ByteSize(most)
                    ),
                    "give more memory, or keep less of each body".to_owned(),
                    &["memory", "workers", "bodies"],
                )
            })
        };
        let decoded = |given| body("bodies.decoded_limit", given, shares.decoded);
        let kept = body("bodies.limit", self.body, shares.messages);
        kept.into_iter().chain(self.decoded.and_then(decoded)).collect()
    }
}

/// Expressions over frames. A sensor that runs may not be able to look names of ports up any more, and does not look at those
/// that it has.
fn filters(config: &Config, purpose: Purpose<'_>, found: &mut Vec<Misfit>) {
    let given = |config: &Config| {
        let captures = config.capture.iter().enumerate();
        let of_captures = captures.map(|(at, one)| (format!("capture[{at}].filter"), one.filter.clone()));
        let all: Vec<_> = [("filter".to_owned(), config.filter.clone())].into_iter().chain(of_captures).collect();
        all
    };
    let known: Vec<_> = match purpose {
        Purpose::Reload(config) => given(config).into_iter().filter_map(|(_, filter)| filter).collect(),
        _ => Vec::new(),
    };
    for (key, filter) in given(config) {
        let Some(filter) = filter.filter(|filter| !filter.trim().is_empty() && !known.contains(filter)) else {
            continue;
        };
        if let Err(error) = Filter::new(&filter) {
            found.push(Misfit { key, found: Some(error.to_string()), advice: error.hint().to_owned(), by: &[] });
        }
    }
}

/// What `[mask]` asks for, if nothing speaks against it.
fn mask(mask: &Mask, is_here: bool, found: &mut Vec<Misfit>) -> Option<Option<MaskPolicy>> {
    let mut refused = |key: &str, error: &MaskError| {
        let text = error.to_string();
        let (what, advice) = text.split_once("\nhint: ").unwrap_or((&text, "see [mask] in docs/configuration.md"));
        let (key, found_text, advice) = (key.to_owned(), what.to_owned(), advice.to_owned());
        found.push(Misfit { key, found: Some(found_text), advice, by: &["mask"] });
    };
    match MaskPolicy::from_config(mask) {
        Ok(policy) => return Some(policy),
        Err(error @ (MaskError::Key { .. } | MaskError::KeyLength { .. } | MaskError::Zeros { .. })) => {
            // The rules first, with whatever key.
            if let Err(error) = MaskPolicy::from_config(&Mask { key_file: None, ..mask.clone() }) {
                refused("mask", &error);
            }
            // A file that is not here, or not for whoever asks, may be where the configuration is for. What is no file is none there.
            let may_be_elsewhere =
                matches!(&error, MaskError::Key { source, .. } if source.kind() != ErrorKind::InvalidInput);
            if is_here || !may_be_elsewhere {
                refused("mask.key_file", &error);
            }
        }
        Err(error) => refused("mask", &error),
    }
    None
}

/// What speaks against a configuration on this machine, and may not on the one that it is for.
#[must_use]
pub fn doubts(config: &Config) -> Vec<String> {
    let key = config.mask.key_file.as_ref().map(|_| MaskPolicy::from_config(&config.mask));
    match key {
        Some(Err(error @ MaskError::Key { .. })) => {
            let text = error.to_string();
            let what = text.split_once("\nhint: ").map_or(text.as_str(), |(what, _)| what);
            vec![format!("mask.key_file: {what}; where the sensor cannot either, it does not start")]
        }
        _ => Vec::new(),
    }
}

fn cpus(cpus: &Cpus, found: &mut Vec<Misfit>) {
    for (key, given) in [("cpus.capture", &cpus.capture), ("cpus.workers", &cpus.workers)] {
        if given.is_empty() {
            continue;
        }
        let mut misfit = |what: String, advice: String| {
            found.push(Misfit { key: key.to_owned(), found: Some(what), advice, by: &["cpus"] });
        };
        match barred(given) {
            Ok((barred, allowed)) => {
                for cpu in barred {
                    misfit(
                        format!("names CPU {cpu}, which this process may not use"),
                        format!(
                            "it may use {allowed}; name one of those, or see to the limits (taskset, CPUAffinity= or AllowedCPUs= in systemd, cpuset of the container)"
                        ),
                    );
                }
            }
            Err(error) => misfit(error.to_string(), "leave [cpus] out".to_owned()),
        }
    }
}

fn identity(config: &Config, purpose: Purpose<'_>, found: &mut Vec<Misfit>) {
    for key in unknown_identities(&config.privileges) {
        let advice = match purpose {
            // What it has was looked up while the file system was there.
            Purpose::Reload(running) if running.privileges == config.privileges => continue,
            Purpose::Reload(_) => format!(
                "there is no such {key} on this host, or a sensor that runs cannot look it up any more: name another, give its number, or start the sensor anew"
            ),
            _ => format!("there is no such {key} on this host: create it, or name another"),
        };
        found.push(Misfit { key: format!("privileges.{key}"), found: None, advice, by: &["privileges"] });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::config::Loaded;

    /// The lines on which something is wrong, and all that is said.
    fn judged(text: &str, purpose: Purpose<'_>) -> (Vec<u32>, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sensor.toml");
        fs::write(&file, text).unwrap();
        match Loaded::read_for(Some(&file), [], |config| misfits(config, purpose)) {
            Ok(_) => (Vec::new(), String::new()),
            Err(error) => {
                let lines = error.problems().iter().map(|problem| problem.place.line()).collect();
                (lines, error.to_string())
            }
        }
    }

    const EVERYTHING: &str = "memory = '64MiB'
filter = 'tcp prt 80'
[bodies]
limit = '1GiB'
decoded_limit = '2GiB'
[[capture]]
interface = 'lo'
filter = 'nonsense here'
[cpus]
workers = [1022, 1023]
[privileges]
user = 'no-such-user-here'
group = 'no-such-group-here'
[mask]
key_file = '/no/such/key'
[[filters.rule]]
name = 'a'
kind = 'include'
host = ['a.example/path']
header = { x-a = 'regex:(a{1000}){1000}' }
[http]
max_headers = 0
";

    #[test]
    fn all_that_a_start_refuses_is_told_at_once_with_its_line() {
        let running = Config::default();
        for purpose in [Purpose::Run, Purpose::Here, Purpose::Reload(&running)] {
            let (lines, said) = judged(EVERYTHING, purpose);
            assert_eq!(lines, [2, 4, 5, 8, 10, 10, 12, 13, 15, 19, 20, 22], "{purpose:?}: {said}");
        }
        let (lines, said) = judged(EVERYTHING, Purpose::Anywhere);
        assert_eq!(lines, [2, 4, 5, 8, 19, 20, 22], "what is of this machine is not its matter: {said}");
        let (lines, said) = judged(EVERYTHING, Purpose::Replay { sizes: false });
        assert_eq!(lines, [2, 8, 15, 19, 20, 22], "{said}");
    }

    #[test]
    fn what_is_too_little_is_too_little_for_everybody() {
        let capture = "[[capture]]\ninterface = 'lo'\n";
        for purpose in [Purpose::Anywhere, Purpose::Here, Purpose::Replay { sizes: true }, Purpose::Run] {
            let (lines, said) = judged(&format!("\nmemory = '1KiB'\n{capture}"), purpose);
            assert_eq!(lines, [2], "{said}");
            assert!(said.contains("memory: 1KiB is too little") && said.contains("give at least"), "{said}");
            assert_eq!(judged(capture, purpose).1, "");
        }
        // For how many it is depends on the machine, unless it is said.
        let (_, said) = judged("memory = '200MiB'\nworkers = 12", Purpose::Anywhere);
        assert!(said.contains("too little for 12 worker(s)"), "{said}");
        assert_eq!(judged("memory = '200MiB'\nworkers = 0", Purpose::Anywhere).1, "");
    }

    #[test]
    fn nothing_to_capture_from_is_no_sensor() {
        let running = Config::default();
        for purpose in [Purpose::Run, Purpose::Reload(&running)] {
            let (lines, said) = judged("\nsensor = 'x'", purpose);
            assert_eq!(lines, [0], "{said}");
            assert!(said.contains("capture: nothing is set") && said.contains("sensor interfaces"), "{said}");
            // Not where it is there and wrong in itself.
            let (lines, said) = judged("[[capture]]\ninterfac = 'lo'", purpose);
            assert!(!lines.is_empty() && !said.contains("sensor interfaces"), "{said}");
        }
        assert_eq!(judged("sensor = 'x'", Purpose::Here).1, "", "it may be for replays");
        assert_eq!(judged("[cpus]\ncapture = [1023]", Purpose::Here).0, [2]);
    }

    #[test]
    fn nothing_is_said_of_what_goes_by_a_value_that_is_wrong() {
        let (lines, said) = judged("memory = 'lots'\n[bodies]\nlimit = '900MiB'", Purpose::Here);
        assert_eq!(lines, [1], "{said}");
    }

    /// It may not be able to look up names that its expression has.
    #[test]
    fn a_sensor_that_runs_is_not_asked_about_what_it_has() {
        let filter = "no expression but what it has".to_owned();
        let text = format!("filter = '{filter}'\n[[capture]]\ninterface = 'lo'");
        let running = Config { filter: Some(filter), ..Config::default() };
        assert_eq!(judged(&text, Purpose::Reload(&running)).1, "");
        assert_eq!(judged(&text, Purpose::Run).0, [1]);
    }

    #[test]
    fn keys_are_read_where_they_are_to_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let key: PathBuf = folder.path().join("key");
        fs::write(&key, "too short").unwrap();
        let text = format!("[mask]\nkey_file = '{}'", key.display());
        let (lines, said) = judged(&text, Purpose::Here);
        assert_eq!(lines, [2], "{said}");
        assert!(said.contains("openssl rand"), "{said}");
        // What is there and no key is none anywhere; what is not there may be where it is to be used.
        assert_eq!(judged(&text, Purpose::Anywhere).0, [2]);
        fs::write(&key, [0; 32]).unwrap();
        let (lines, said) = judged(&text, Purpose::Anywhere);
        assert!(lines == [2] && said.contains("nothing but zeros"), "{said}");
        fs::remove_file(&key).unwrap();
        assert_eq!(judged(&text, Purpose::Here).0, [2]);
        assert_eq!(judged(&text, Purpose::Anywhere).1, "");
        let config = Loaded::parse(&text, Path::new("x")).unwrap().config;
        assert!(doubts(&config)[0].contains("cannot read the masking key"), "{:?}", doubts(&config));
        assert!(doubts(&Config::default()).is_empty());
    }
}
