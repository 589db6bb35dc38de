//! `[privileges]`

use super::prelude::*;

section! {
    Restart;
    /// What a live sensor gives up once its sources are open.
    pub struct Privileges {
        /// The user to go on as, by name or number. Default: the one that started it.
        pub user: Option<String> = text().optional("sensor"),
        /// The group to go on as, by name or number. Default: the user's own.
        pub group: Option<String> = text().optional("sensor"),
        /// Whether one thread, which does nothing else, keeps the right to open an interface again that went away and came
        /// back (CAP_NET_RAW, switched on for that moment only). Without it such an interface needs a restart.
        pub reopen: bool = flag().or(true),
        /// Whether to shut off the file system, but for the spool, the output and certificates, where the kernel can.
        pub landlock: bool = flag().or(true),
    }
    check(this, reader) {
        if this.group.is_some() && this.user.is_none() && !reader.has("user") {
            reader.fault("group", "a group goes with a user: set privileges.user, too");
        }
    }
}
