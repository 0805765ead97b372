use aya::{maps::Array, programs::*, *};
#[test]
fn t() {
    let obj = std::fs::read("/work/wt-scan/target/ebpf/bpfel-unknown-none/release/probes").unwrap();
    let mut b = EbpfLoader::new().verifier_log_level(VerifierLogLevel::STATS).load(&obj).unwrap();
    let mut input: Array<_, [u64; 3]> = b.map_mut("INPUT").unwrap().try_into().unwrap();
    input.set(0, [1, 2, 0], 0).unwrap();
    let mk = |at: usize| {
        let mut s = String::from("INVITE sip:+15551234567@10.0.0.100:5060;user=phone SIP/2.0\r\n");
        let h = [
            "Via: SIP/2.0/UDP 203.0.113.17:5060;branch=z9hG4bK-524287-1---8f1a3c\r\n",
            "Max-Forwards: 69\r\n",
            "From: \"Alice\" <sip:+15557654321@carrier.example.net>;tag=9fxced76sl\r\n",
            "To: <sip:+15551234567@sbc.example.net;user=phone>\r\n",
            "CSeq: 1 INVITE\r\n",
            "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK, REFER\r\n",
        ];
        let mut k = 0;
        while s.len() + 100 < at {
            s += h[k % h.len()];
            k += 1;
        }
        let pad = at - s.len();
        s += &format!("X-P: {}\r\n", "y".repeat(pad.saturating_sub(7)));
        s += "Call-ID: a84b4c76e66710-5f3c2d1b9e8a7@203.0.113.17\r\n";
        while s.len() < at + 500 {
            s += h[k % h.len()];
            k += 1;
        }
        let mut v = vec![0u8; 42];
        v.extend(s.into_bytes());
        v
    };
    let mut names: Vec<String> = b.programs().map(|(n, _)| n.to_string()).collect();
    names.sort();
    for n in names {
        let p: &mut Xdp = b.program_mut(&n).unwrap().try_into().unwrap();
        let t = std::time::Instant::now();
        if let Err(e) = p.load() {
            let s = format!("{e:#}");
            println!("{n:14} FAILED {:?} .. {}", t.elapsed(), &s[s.len().saturating_sub(900)..]);
            continue;
        }
        let ms = t.elapsed().as_millis();
        let i = p.info().unwrap();
        print!(
            "{n:14} {:7} {ms:4} ms xl {:5}",
            i.verified_instruction_count().unwrap(),
            i.size_translated().unwrap() / 8
        );
        for at in [150, 300, 600, 1000, 1400] {
            let m = mk(at);
            let mut v = vec![];
            let mut rv = 0;
            for _ in 0..7 {
                let r = p
                    .test_run(TestRunOptions { data_in: Some(&m), repeat: 200000, ..Default::default() })
                    .unwrap();
                v.push(r.duration.as_nanos() as u64);
                rv = r.return_value;
            }
            v.sort();
            print!("  {:3}({rv:x})", v[3]);
        }
        // mixed messages, repeat=1
        let msgs: Vec<Vec<u8>> = (0..997).map(|k| mk(230 + (k * 37) % 140)).collect();
        let mut v = vec![];
        for r in 0..9 {
            let mut sum = 0;
            let mut cnt = 0;
            for k in 0..3000usize {
                let m = &msgs[(k * 613 + r) % 997];
                let r =
                    p.test_run(TestRunOptions { data_in: Some(m), repeat: 1, ..Default::default() }).unwrap();
                sum += r.duration.as_nanos() as u64;
                cnt += 1;
            }
            v.push(sum / cnt);
        }
        v.sort();
        println!("  mix {}", v[4]);
    }
}
