//! Where a setting stands: a line of a file, a variable of the environment, or nowhere.

use std::cmp::Ordering;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything: the program's own value.
    Default,
    /// A file, by the name it was opened with.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
}

/// A source and the line in it. Places are in the order in which the sources were read, and by line in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// How many sources were read before this one.
    order: u32,
    origin: Arc<Origin>,
    line: u32,
}

impl Place {
    /// Where what nobody said stands.
    pub(super) fn nowhere() -> Self {
        Self { order: 0, origin: Arc::new(Origin::Default), line: 0 }
    }

    /// The whole of a source, the `order`th that is read.
    pub(super) fn whole(order: u32, origin: Origin) -> Self {
        Self { order, origin: Arc::new(origin), line: 0 }
    }

    /// A line of the same source.
    pub(super) fn at_line(&self, line: u32) -> Self {
        Self { line, ..self.clone() }
    }

    /// What it is a place in.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The file, where it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &*self.origin {
            Origin::File(path) => Some(path),
            Origin::Default | Origin::Environment(_) => None,
        }
    }

    /// The line, from 1; 0 is the source as a whole.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Whether both are in one source.
    pub(super) fn shares_source_with(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.order, self.line).cmp(&(other.order, other.line))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.origin {
            Origin::Default => f.write_str("default"),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::File(path) if self.line == 0 => write!(f, "{}", path.display()),
            Origin::File(path) => write!(f, "{}, line {}", path.display(), self.line),
        }
    }
}
