//! Filters: which transactions become records.
//!
//! Rules have names and one of four kinds. Whatever their order in the configuration, **ignore** wins over **allow**, allow
//! over **exclude**, and exclude over **include**; among rules of a kind the first one counts. So, for each transaction:
//!
//! 1. An ignore rule matches: it is filtered. (It wins over allow, because what an operator wants to have nothing of must not
//!    leave through a second rule.)
//! 2. An allow rule matches: it is recorded, whatever exclude and include rules say.
//! 3. An exclude rule matches: it is filtered.
//! 4. An include rule matches: it is recorded. Where there are include rules and none matches, it is filtered, and counted
//!    under `no_include_rule`.
//! 5. Nothing matches, and there are no include rules: it is recorded.
//!
//! A rule matches when each of its conditions holds; a condition holds when one of its values matches. What a transaction does
//! not have (the status of a request without response) matches no condition, not even that a header be absent.
//!
//! A transaction is filtered as soon as that is certain, on the facts known by then: the flow's addresses, then the request's
//! head, then the response's. Hence the rule that a filtered transaction is counted under is the strongest of those that
//! match *when the outcome is certain*; what happens to a transaction is always what the five steps say, and a recorded one
//! is always recorded by the rule that they name.
//!
//! Pure logic: no IO, and time is passed in. [`Rules`] are shared by workers; each counts for itself in [`Counts`].

mod built_in;
mod compile;
mod counts;
mod existence;
mod explain;
mod facts;
mod glob;
mod header_index;
mod outcomes;
mod recall;
mod rules;
mod sampling;
mod sets;
mod settings;
mod spans;
mod switch;
mod text_index;
mod trie;
mod verdict;

pub use built_in::BuiltIn;
pub use counts::{Counts, NO_INCLUDE_RULE, RuleCounts};
pub use explain::{Explanation, Judgement};
pub use facts::{Facts, Fields, FlowFacts, RequestFacts, ResponseFacts};
pub use glob::Glob;
pub use outcomes::{Outcome, Outcomes, Slot};
pub use recall::{FlowPlace, LazyRequest, Recall};
pub use rules::Rules;
pub use sampling::Sighting;
pub use sets::MAX_RULES;
pub use settings::{Conditions, HeaderCondition, HeaderTest, Kind, Pattern, Problem, RuleSettings, Sampling, Settings};
pub use switch::RuleSwitch;
pub use verdict::{Attribute, Cause, Decision, Early, FlowVerdict, RuleIndex, Stage, Verdict};
