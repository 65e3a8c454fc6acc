//! Two Passeur servers of two organisations.

mod refusals;
mod rooms;
