//! `[log]`

use super::prelude::*;

choices! {
    /// What is logged: it and what is graver.
    pub enum LogLevel {
        /// What ends the program or loses data.
        Error = "error",
        /// What an operator should look at.
        Warn = "warn",
        /// What happens in the ordinary course.
        Info = "info",
        /// What helps to find a fault.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choices! {
    /// How a line of the log is written.
    pub enum LogFormat {
        /// Text on a terminal, JSON elsewhere.
        Auto = "auto",
        /// Text.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

section! {
    Live;
    /// What is logged, to standard error. Payload, header values and secrets never are.
    pub struct Log {
        /// What is logged: it and what is graver. The environment variable SENSOR_LOG takes precedence, and can set it for
        /// parts of the program. Default: "info" live, "warn" elsewhere.
        pub level: Option<LogLevel> = choice().optional(LogLevel::Info),
        /// Text or JSON; "auto" writes text on a terminal and JSON elsewhere, but always text in a replay.
        pub format: LogFormat = choice().or(LogFormat::Auto).at_restart(),
    }
}
