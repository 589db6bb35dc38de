//! What the process gives up once its sources are open: user, capabilities, the file system.
//!
//! All of it belongs to threads and is inherited by those that a thread starts, so this is done before there are others.
//! In this order: the user's name is looked up while the file system is there, and the user is changed while that is
//! allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsString};
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{Gid, Group, Uid, User, geteuid, initgroups, seteuid, setgroups, setresgid, setresuid};

use crate::config::{Config, Privileges};
use crate::live::{give_up, give_up_inheritance};

/// The newest kernel interface whose rights are known here; an older kernel handles those it has.
const KNOWN: ABI = ABI::V5;

/// What name resolution and the system's certificates need to be read, by the C library among others.
const SYSTEM: [&str; 16] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/run/systemd/resolve",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
];

/// Where the files of name resolution are.
const NAMES: &str = "/etc";

/// Folders that the whole system shares: a link that leads to something directly in one of them does not open the folder.
const SHARED: [&str; 16] = [
    "/",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/proc",
    "/root",
    "/run",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/local",
    "/usr/share",
    "/var",
    "/var/lib",
];

/// Links of the system itself, which nobody leads elsewhere.
const LASTING: [&str; 6] = ["/bin", "/lib", "/lib64", "/sbin", "/var/lock", "/var/run"];

/// Where there is nothing but devices, and names of what is open.
const UNMOVED: [&str; 2] = ["/dev", "/proc"];

/// Links that are followed for one path, as the kernel does.
const MOST_LINKS: usize = 40;

/// Why the process cannot be confined as it is told to.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// No such user or group.
    #[error("privileges.{key} = \"{name}\": there is no such {key} on this host; create it, or name another")]
    Unknown {
        /// `user` or `group`.
        key: &'static str,
        /// The name or number.
        name: String,
    },
    /// The user cannot be changed.
    #[error(
        "privileges.user = \"{name}\": cannot become this user: {source}; start the sensor as root, or take the key out and set User= in the systemd unit"
    )]
    User {
        /// The name or number.
        name: String,
        /// What the system said.
        source: Errno,
    },
    /// The capabilities cannot be dropped.
    #[error("cannot give up the capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// No-new-privileges cannot be set.
    #[error("cannot set no-new-privileges: {0}")]
    NewPrivileges(Errno),
    /// Landlock is there and refuses.
    #[error("cannot shut off the file system: {0}; privileges.landlock = false leaves it open")]
    Landlock(#[from] RulesetError),
    /// A folder that must stay reachable cannot be opened.
    #[error("cannot open {}, which the sensor needs while it runs: {source}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What the process may still reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Folders and files that it may read.
    pub read: BTreeSet<PathBuf>,
    /// Folders in which it may do anything.
    pub write: BTreeSet<PathBuf>,
    /// Folders in which a file of records is made anew once it was moved, where the user can reach them.
    pub renewed: BTreeSet<PathBuf>,
    /// Links to something directly in a folder that the whole system shares, each with that: what they are led to later is not
    /// in reach.
    pub fixed: BTreeMap<PathBuf, PathBuf>,
}

impl Reach {
    /// What a sensor with `config`, read from the file at `path`, needs while it runs. Of a file to be read it is the
    /// folder: who renews a file puts a new one in its place.
    #[must_use]
    pub fn of(config: &Config, path: &Path) -> Self {
        let mut reach = Self::default();
        reach.read_beside(path);
        // What an interface's driver dropped; the folder is one of links into the other.
        reach.read.extend(["/sys/class/net", "/sys/devices"].map(PathBuf::from));
        // A masking key that nobody named.
        reach.read.insert("/dev/urandom".into());
        if let Some(include) = &config.include {
            reach.read.insert(folder_of(path).join(include));
        }
        let files =
            [&config.mask.key_file, &config.upload.tls.ca, &config.upload.tls.certificate, &config.upload.tls.key];
        files.into_iter().flatten().for_each(|file| reach.read_beside(file));
        if let Some(oauth) = &config.upload.oauth {
            let files = [&oauth.client_secret_file, &oauth.tls.ca, &oauth.tls.certificate, &oauth.tls.key];
            files.into_iter().flatten().for_each(|file| reach.read_beside(file));
        }
        if let Some(credentials) = std::env::var_os("CREDENTIALS_DIRECTORY") {
            reach.read.insert(credentials.into());
        }
        if config.upload.url.is_some() {
            reach.read.extend(SYSTEM.map(PathBuf::from));
        }
        if let Some(spool) = &config.upload.spool {
            reach.write.insert(spool.folder.clone());
        }
        if let Some(file) = &config.upload.file {
            reach.write.insert(folder_of(&file.path));
        }
        let is_sent = config.upload.url.is_some() || config.upload.file.is_some();
        if let Some(output) = config.output.as_deref().filter(|_| !is_sent) {
            reach.renew(output);
        }
        reach
    }

    /// A file of records that is moved away is made anew: beside its name, or where that leads as a link. Of a pipe or a device,
    /// which nobody moves, the folder stays shut, and so does that of what only leads to an open file (`/dev/stdout`).
    fn renew(&mut self, output: &Path) {
        let Ok(named) = std::path::absolute(output) else { return };
        if !output.is_file() || UNMOVED.iter().any(|folder| named.starts_with(folder)) {
            return;
        }
        self.renewed.insert(folder_of(output));
        if let Ok(real) = output.canonicalize() {
            self.renewed.insert(folder_of(&real));
        }
    }

    /// The links that must not be led elsewhere while a process of this user runs, once it is confined.
    pub fn lasting_links(&self) -> impl Iterator<Item = &Path> {
        let is_open = |folder: &Path| folder == Path::new(NAMES) && self.is_for_names();
        self.fixed.iter().filter(move |(_, folder)| !is_open(folder)).map(|(link, _)| link.as_path())
    }

    /// Name resolution goes by files that are replaced by others of the name: a rule for a file ends with it, one for its folder
    /// does not. It is no more than any user can read; but of a root without rights it would be every secret in it.
    fn is_for_names(&self) -> bool {
        !geteuid().is_root() && self.read.iter().any(|path| path.starts_with(NAMES))
    }

    fn read_beside(&mut self, file: &Path) {
        self.read.insert(folder_of(file));
        // Where that is a link into another folder, as those of a mounted secret are, that one, too.
        if let Ok(real) = file.canonicalize() {
            self.read.insert(folder_of(&real));
        }
        self.read_beside_targets(file);
    }

    /// A link on the way (`current -> releases/2`) is renewed by leading it elsewhere: what is beside its present target may
    /// be read, too.
    fn read_beside_targets(&mut self, file: &Path) {
        let Ok(file) = std::path::absolute(file) else { return };
        let (mut at, mut links) = (PathBuf::new(), 0);
        let mut rest = parts_backwards(&file);
        while let Some(part) = rest.pop() {
            if part == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&part);
            let Ok(target) = std::fs::read_link(&next) else {
                at = next;
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return;
            }
            match folder_of(&at.join(&target)).canonicalize() {
                Ok(beside) if !is_one_of(&SHARED, &beside) => drop(self.read.insert(beside)),
                Ok(beside) if !is_one_of(&LASTING, &next) => drop(self.fixed.insert(next, beside)),
                Ok(_) | Err(_) => {}
            }
            rest.extend(parts_backwards(&target));
        }
    }
}

fn is_one_of(paths: &[&str], path: &Path) -> bool {
    paths.iter().any(|one| path == Path::new(one))
}

/// The names that a path consists of, the last one first.
fn parts_backwards(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_owned(),
        None => file.to_owned(),
    }
}

/// How far the file system was shut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// But for what was named.
    Shut,
    /// For some of the ways to reach it: the kernel knows no others.
    Partly,
    /// Not at all: the kernel cannot.
    Open,
    /// Not at all, as the configuration says.
    LeftOpen,
}

/// Who the process goes on as: looked up while the file system is there.
struct Identity {
    name: String,
    uid: Uid,
    gid: Gid,
    /// For the groups that the user is in beside its own, if it has a name.
    login: Option<CString>,
}

/// Changes the user, gives up every capability but what is needed to open an interface again, rules out new privileges,
/// and shuts off the file system. The folders in `reach` that are to be written are made first, for the new user.
///
/// # Errors
/// When any of it is refused. The process is not to go on then.
pub fn confine(privileges: &Privileges, reach: &Reach) -> Result<FileSystem, ConfineError> {
    let identity = identity(privileges)?;
    for folder in &reach.write {
        make_folder(folder, identity.as_ref())?;
    }
    // As long as the user may.
    give_up_inheritance()?;
    if let Some(identity) = &identity {
        become_user(identity, identity.uid, privileges.reopen)?;
    }
    give_up(privileges.reopen)?;
    prctl::set_no_new_privs().map_err(ConfineError::NewPrivileges)?;
    if privileges.landlock { shut(reach) } else { Ok(FileSystem::LeftOpen) }
}

/// Becomes the user that a sensor with these privileges goes on as, to try what that one can: folders in `reach` that are to be
/// written are made for it. Says whether it is that user now, or was it before; [`return_to`] ends it.
///
/// # Errors
/// When there is no such user, or a folder cannot be made.
pub fn become_user_of(privileges: &Privileges, reach: &Reach) -> Result<bool, ConfineError> {
    let Some(identity) = identity(privileges)? else { return Ok(true) };
    if identity.uid != geteuid() && !geteuid().is_root() {
        return Ok(false);
    }
    for folder in &reach.write {
        make_folder(folder, Some(&identity))?;
    }
    become_user(&identity, geteuid(), false).map(|()| true)
}

/// Ends what [`become_user_of`] began, for a process that was `before`.
///
/// # Errors
/// What the system says.
pub fn return_to(before: Uid) -> io::Result<()> {
    Ok(seteuid(before)?)
}

/// Which of `user` and `group` are of nobody on this host, as far as this process can look it up.
#[must_use]
pub fn unknown_identities(privileges: &Privileges) -> Vec<&'static str> {
    let is_number = |name: &str| name.parse::<u32>().is_ok();
    let user =
        privileges.user.as_ref().filter(|name| !is_number(name) && !matches!(User::from_name(name), Ok(Some(_))));
    let group =
        privileges.group.as_ref().filter(|name| !is_number(name) && !matches!(Group::from_name(name), Ok(Some(_))));
    [user.map(|_| "user"), group.map(|_| "group")].into_iter().flatten().collect()
}

fn identity(privileges: &Privileges) -> Result<Option<Identity>, ConfineError> {
    let Some(name) = &privileges.user else { return Ok(None) };
    let unknown = |key, name: &str| ConfineError::Unknown { key, name: name.to_owned() };
    let by_name = User::from_name(name).ok().flatten();
    let number = name.parse().ok().map(Uid::from_raw);
    let user = by_name.or_else(|| number.and_then(|uid| User::from_uid(uid).ok().flatten()));
    let (uid, own_group) = match (&user, number) {
        (Some(user), _) => (user.uid, Some(user.gid)),
        // A number needs no name: containers have few of them.
        (None, Some(uid)) => (uid, None),
        (None, None) => return Err(unknown("user", name)),
    };
    let gid = match &privileges.group {
        Some(group) => {
            let by_name = Group::from_name(group).ok().flatten().map(|group| group.gid);
            by_name.or_else(|| group.parse().ok().map(Gid::from_raw)).ok_or_else(|| unknown("group", group))?
        }
        None => own_group.unwrap_or_else(|| Gid::from_raw(uid.as_raw())),
    };
    let login = user.and_then(|user| CString::new(user.name).ok());
    Ok(Some(Identity { name: name.clone(), uid, gid, login }))
}

/// Makes a folder that is not there, as the user's who is to write in it.
fn make_folder(folder: &Path, identity: Option<&Identity>) -> Result<(), ConfineError> {
    if folder.is_dir() {
        return Ok(());
    }
    let failed = |source| ConfineError::Path { path: folder.to_owned(), source };
    // Nobody else can go through those above that are made with it.
    let made: Vec<&Path> =
        folder.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists()).collect();
    uploader::make_folder(folder).map_err(failed)?;
    if let Some(Identity { uid, gid, .. }) = identity {
        for folder in made {
            std::os::unix::fs::chown(folder, Some(uid.as_raw()), Some(gid.as_raw())).map_err(failed)?;
        }
    }
    Ok(())
}

/// `saved` is whom it may return to.
fn become_user(identity: &Identity, saved: Uid, keeps_capture: bool) -> Result<(), ConfineError> {
    let Identity { name, uid, gid, login } = identity;
    if *uid == geteuid() && !uid.is_root() {
        return Ok(());
    }
    let failed = |source| ConfineError::User { name: name.clone(), source };
    if keeps_capture {
        // Else the change of the user takes them all at once.
        prctl::set_keepcaps(true).map_err(failed)?;
    }
    match login {
        Some(login) => initgroups(login, *gid),
        None => setgroups(&[*gid]),
    }
    .map_err(failed)?;
    setresgid(*gid, *gid, *gid).map_err(failed)?;
    setresuid(*uid, *uid, saved).map_err(failed)?;
    prctl::set_keepcaps(false).map_err(failed)
}

fn shut(reach: &Reach) -> Result<FileSystem, ConfineError> {
    let all = AccessFs::from_all(KNOWN);
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(all)?.create()?;
    for path in &reach.write {
        let place = PathFd::new(path)
            .map_err(|error| ConfineError::Path { path: path.clone(), source: io::Error::other(error) })?;
        ruleset = ruleset.add_rule(PathBeneath::new(place, all & !AccessFs::Execute))?;
    }
    for path in reach.renewed.difference(&reach.write) {
        // The file itself is open already.
        match PathFd::new(path) {
            Ok(place) => ruleset = ruleset.add_rule(PathBeneath::new(place, all & !AccessFs::Execute))?,
            Err(error) => tracing::warn!(
                "the sensor's user cannot get to {}: {error}; a file of records that is moved away from there is gone on with until a restart",
                path.display()
            ),
        }
    }
    for path in reach.read.iter().map(PathBuf::as_path).chain(reach.is_for_names().then_some(Path::new(NAMES))) {
        // What is not there cannot be read either way.
        let Ok(place) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() };
        ruleset = ruleset.add_rule(PathBeneath::new(place, access))?;
    }
    Ok(match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => FileSystem::Shut,
        RulesetStatus::PartiallyEnforced => FileSystem::Partly,
        RulesetStatus::NotEnforced => FileSystem::Open,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_beside_the_target_of_each_link_on_the_way_may_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().canonicalize().unwrap();
        for release in ["releases/1/tls", "releases/2/tls", "elsewhere", "keys/old"] {
            fs::create_dir_all(at.join(release)).unwrap();
        }
        symlink("releases/../releases/1", at.join("current")).unwrap();
        symlink(at.join("keys/old/key.pem"), at.join("releases/1/tls/key.pem")).unwrap();
        fs::write(at.join("keys/old/key.pem"), "").unwrap();
        let mut reach = Reach::default();
        reach.read_beside(&at.join("current/./tls/key.pem"));
        let named = ["current/./tls", "keys/old", "releases"].map(|name| at.join(name));
        assert_eq!(reach.read, BTreeSet::from(named));
        // A circle ends, and a link into a folder of everybody's does not open that.
        symlink("circle", at.join("circle")).unwrap();
        symlink("/etc/hosts", at.join("hosts")).unwrap();
        let mut reach = Reach::default();
        reach.read_beside_targets(&at.join("circle/key.pem"));
        reach.read_beside_targets(&at.join("hosts"));
        assert_eq!(reach.read, BTreeSet::from([at.clone()]));
        // Nor is what it leads to later in reach, which is worth a word; but for links that nobody changes.
        symlink("/tmp", at.join("certificates")).unwrap();
        reach.read_beside_targets(&at.join("certificates/key.pem"));
        assert!(reach.lasting_links().any(|link| link == at.join("certificates")));
        let mut reach = Reach::default();
        reach.read_beside_targets(Path::new("/lib/x/key.pem"));
        assert!(reach.fixed.is_empty(), "{reach:?}");
    }

    /// A file of records behind a link is made anew in the folder that the link leads to.
    #[test]
    fn the_folder_of_a_linked_file_of_records_is_written_too() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().canonicalize().unwrap();
        fs::create_dir_all(at.join("data")).unwrap();
        fs::create_dir_all(at.join("links")).unwrap();
        fs::write(at.join("data/r.ndjson"), "").unwrap();
        symlink("../data/r.ndjson", at.join("links/r.ndjson")).unwrap();
        let config = Config { output: Some(at.join("links/r.ndjson")), ..Config::default() };
        let reach = Reach::of(&config, &at.join("sensor.toml"));
        assert_eq!(reach.renewed, BTreeSet::from([at.join("links"), at.join("data")]));
        // The folder of every device is none to be opened for what only leads to a file.
        let log = fs::File::create(at.join("log")).unwrap();
        for output in [format!("/proc/self/fd/{}", log.as_raw_fd()), format!("/dev/fd/{}", log.as_raw_fd())] {
            assert!(Path::new(&output).is_file());
            let reach =
                Reach::of(&Config { output: Some(output.into()), ..Config::default() }, &at.join("sensor.toml"));
            assert_eq!(reach.renewed, BTreeSet::default());
        }
    }
}
