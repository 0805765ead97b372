//! The slow path: answers in whole sentences to the requests that the program hands over, because nobody has room for them or
//! because they are meant for the balancer itself. Everything but the sockets is a function of its arguments.
//!
//! On the way of a request: [`message`] with [`header`] and [`via`](mod@via) reads it, [`room`] says which kind of answer it
//! gets, [`limiter`] whether it may go out, [`answer`] with [`contact`] writes it. [`responder`] goes that way, [`tally`]
//! counts. At the rim: [`world`] asks the maps, [`serve`] holds the sockets.
//!
//! Deliberately absent: memory of earlier requests. Answers are stateless (RFC 3261 section 8.2.7): sent once, never
//! repeated by themselves, only to where the packet came from, never larger than the request. ACK and CANCEL get none.

pub mod answer;
pub mod contact;
pub mod header;
pub mod limiter;
pub mod message;
pub mod responder;
pub mod room;
pub mod serve;
pub mod tally;
pub mod via;
pub mod world;
