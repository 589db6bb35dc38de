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
        /// Whether one thread, which does nothing else, keeps the right to open interfaces (CAP_NET_RAW, switched on for that
        /// moment only). It is rarely needed: an interface that comes back, or comes later, takes up the ring that is kept
        /// for it, which takes no right. What needs it, or a restart, is one that is no Ethernet and was not there at the
        /// start, or that comes back as another kind.
        pub reopen: bool = flag().or(false),
        /// Whether to shut off the file system, but for the spool, the output and certificates, where the kernel can.
        pub landlock: bool = flag().or(true),
    }
    check(this, reader) {
        if this.group.is_some() && this.user.is_none() && !reader.has("user") {
            reader.fault("group", "a group goes with a user: set privileges.user, too");
        }
    }
}
