//! The protocol by scripts, without a socket.

mod conversation;
mod fixture;
mod lists;
mod random;
mod safety;
mod states;
mod transfers;
mod visits;
