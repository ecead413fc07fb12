//! Aggregates that the engine has no like of: GROUP_CONCAT and the JSON aggregates with an order of their own, MIN and MAX
//! of texts by their collation.

mod concat;
mod extreme;

pub(crate) use concat::{Shape, Style, group_concat};
pub(crate) use extreme::extreme;
