//! Rules, from what an operator writes to what becomes of a transaction.

mod conditions;
mod naive;
mod precedence;
mod problems;
mod transaction;
