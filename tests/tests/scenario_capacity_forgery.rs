//! Somebody who knows a Call-ID, but is neither end of the call, frees no channel.

use anyhow::Result;
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        phone::Phone,
        server::{Habits, Server},
        wish::Wish,
    },
    daemon::{Config, Limits, Node},
    needs_bpf,
    process::wait_until,
    topology::{CLIENT, Forwarding, Lab},
};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A request of a call by somebody who knows its Call-ID, and no more.
fn forged(method: &str, call_id: &str, from: Ipv4Addr, wish: Wish, service: SocketAddrV4) -> String {
    let tag = if method == "BYE" { ";tag=guessed" } else { "" };
    format!(
        "{method} sip:{wish}@{service} SIP/2.0\r\nVia: SIP/2.0/UDP {from}:5070;branch=z9hG4bKguessed;rport\r\n\
         From: <sip:alice@{CLIENT}>;tag=guessed\r\nTo: <sip:{wish}@{}>{tag}\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        service.ip()
    )
}

#[test]
fn a_forged_bye_or_cancel_from_a_third_address_frees_no_channel() -> Result<()> {
    needs_bpf!();
    for forwarding in [Forwarding::Nat, Forwarding::L2] {
        let lab = Lab::new(forwarding, 2)?;
        let forger = lab.callers(1)?[0];
        let servers = Server::start_all(&lab, Habits::default())?;
        let node = Node::new(&lab, &Config::of(&lab).limited(Limits::channels(4)))?;
        let _daemon = node.start(&["--ephemeral"])?;
        let answered = Plan::calls("answered", 4, 100).until_told();
        let ringing = Plan::calls("ringing", 4, 100).until_told().wishing(&[Wish::Ring]);
        let (up, rings) = (Caller::start(&lab, &answered)?, Caller::start(&lab, &ringing)?);
        wait_until("all calls are there", PATIENCE, || Ok(up.so_far().up == 4 && rings.so_far().up == 4))?;
        assert_eq!(node.channels()?, 8);

        let mut phone = Phone::new(&lab.client, SocketAddrV4::new(forger, 5070), lab.service())?;
        for number in 0..4 {
            for (method, plan) in
                [("BYE", &answered), ("CANCEL", &ringing), ("CANCEL", &answered), ("BYE", &ringing)]
            {
                let wish = plan.wishes[0];
                phone.send(&forged(method, &plan.call_id(number, CLIENT), forger, wish, lab.service()))?;
                // It has passed the balancer, and the server knows better.
                let answer = phone.receive()?;
                assert!(answer.starts_with("SIP/2.0 481"), "{forwarding} {method}: {answer}");
            }
        }
        assert_eq!(node.channels()?, 8, "{forwarding}: {:?}", node.loads()?);
        drop(phone);
        up.wait()?;
        rings.wait()?;
        wait_until("the callers' own requests free them", PATIENCE, || Ok(node.channels()? == 0))?;
        drop(servers);
    }
    Ok(())
}
