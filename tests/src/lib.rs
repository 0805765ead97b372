//! Test support.
//!
//! The program in the kernel without a network:
//! * [`bench`]: maps filled by hand, packets by BPF_PROG_TEST_RUN. [`packet`]: the packets. [`memory`]: the tables in
//!   plain memory, and [`story`] what happens at them.
//! * [`simulation`]: random traffic on those tables, policy by policy. [`feedback`]: the whole loop of telemetry and controller
//!   on them, with everything that can go wrong.
//! * [`probes`]: parts of the program one by one, natively and in the kernel.
//! * [`agreement`]: the scanner against the [`reference`](mod@reference) parser. [`corpus`]: collected messages.
//!   [`messages`]: generated ones. [`case`]: named ones.
//!
//! A SIP network in namespaces, and who takes part in it:
//! * [`topology`]: client, balancer and backends, each in its own network namespace, for `nat` and for `l2`.
//! * [`sipp`]: real SIP calls by SIPp, and what became of them. [`kamailio`]: a SIP server that is not ours.
//! * [`calls`]: callers and servers that follow redirects, misbehave on request and remember every call.
//! * [`daemon`]: the `sipsteer` under test. [`configuration`]: its file. [`examples`]: the files that ship with it.
//!   [`version`]: maps of other versions, which it is to read.
//! * [`telemetry`]: what servers say of themselves, and ways to fail at that. [`guest`]: somebody who is logged in.
//! * [`netns`], [`process`], [`cleanup`], [`command`], [`program`]: what those are made of. Everything made here is
//!   undone when its guard is dropped, after a panic and on SIGINT and SIGTERM too.
//! * [`capability`]: saying out loud why a test cannot run here. [`cgroup`]: where there is no memory left.
//! * [`docs`]: the documentation as tests read it. [`schema`]: JSON held against its description.
//!
//! Deliberately absent: anything that decides how a packet is steered.

pub mod agreement;
pub mod bench;
pub mod calls;
pub mod capability;
pub mod capacity;
pub mod case;
pub mod cgroup;
pub mod cleanup;
pub mod command;
pub mod configuration;
pub mod corpus;
pub mod daemon;
pub mod docs;
pub mod examples;
pub mod feedback;
pub mod guest;
pub mod kamailio;
pub mod memory;
pub mod messages;
pub mod netns;
pub mod packet;
pub mod probes;
pub mod process;
pub mod program;
pub mod race;
pub mod schema;
pub mod simulation;
pub mod sipp;
pub mod story;
pub mod telemetry;
pub mod topology;
pub mod variant;
pub mod version;

pub use sipsteer::reference;
