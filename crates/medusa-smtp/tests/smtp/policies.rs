//! A policy's word at each step.

use std::sync::Arc;

use medusa_smtp::{Client, Policy, SmtpService, Transaction, Verdict};

use crate::fixture::{Kept, Store, check_with, mx};

/// Says `verdict` at one step, and checks what it is shown.
struct At(&'static str, Verdict);

impl At {
    fn say(&self, step: &str) -> Verdict {
        if self.0 == step { self.1.clone() } else { Verdict::Accept }
    }
}

impl Policy for At {
    fn connected(&self, client: &Client<'_>) -> Verdict {
        assert_eq!(client.helo, "");
        self.say("connected")
    }

    fn greeted(&self, client: &Client<'_>) -> Verdict {
        assert_eq!(client.helo, "c");
        self.say("greeted")
    }

    fn sender(&self, _: &Client<'_>, sender: &str) -> Verdict {
        assert_eq!(sender, "s@c");
        self.say("sender")
    }

    fn recipient(&self, _: &Client<'_>, _: &str, recipient: &str) -> Verdict {
        if recipient.starts_with("bob") { Verdict::Accept } else { self.say("recipient") }
    }

    fn headed(&self, _: &Client<'_>, message: &Transaction<'_>, head: &[u8]) -> Verdict {
        assert_eq!((message.sender, head), ("s@c", &b"A: b\r\nC: d\r\n"[..]));
        self.say("headed")
    }

    fn ended(&self, _: &Client<'_>, _: &Transaction<'_>, size: u64) -> Verdict {
        assert!(size > 100);
        self.say("ended")
    }
}

fn judged(step: &'static str, verdict: Verdict, expected: &str) -> Vec<Kept> {
    let service = |store: &Store| -> SmtpService {
        mx(store).with_policy(Arc::new(At(step, verdict.clone())))
    };
    let script = "EHLO c\r\nMAIL FROM:<s@c>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\n\
                  BDAT 5\r\nA: b\rBDAT 13 LAST\r\n\nC: d\r\n\r\nbodyQUIT\r\n";
    let mut seen = None;
    for network in crate::fixture::networks() {
        let store = Store::default();
        let (text, _) = crate::fixture::run(&*service(&store).build(), script, network);
        assert_eq!(crate::fixture::codes(&text), expected, "{step}\n{text}");
        seen = Some(store.kept());
    }
    seen.unwrap_or_default()
}

#[test]
fn at_each_step() {
    let no = || Verdict::Refuse("go away".into());
    let later = || Verdict::Defer("not now".into());
    let all = "220 250 250 250 250 250 250 221";
    assert_eq!(judged("none", Verdict::Accept, all).len(), 1);
    judged("connected", no(), "554 503 503 503 503 503 503 221");
    judged("connected", later(), "421");
    judged("greeted", no(), "220 550 503 503 503 503 503 221");
    judged("sender", no(), "220 250 550 503 503 503 503 221");
    judged("sender", later(), "220 250 451 503 503 503 503 221");
    let kept = judged("recipient", no(), "220 250 250 550 250 250 250 221");
    assert_eq!(kept[0].0, ["bob"]);
    let kept = judged("recipient", Verdict::Discard, all);
    assert_eq!(kept[0].0, ["bob"]);
    assert!(judged("sender", Verdict::Discard, all).is_empty());
    assert!(judged("headed", Verdict::Discard, all).is_empty());
    assert!(judged("ended", Verdict::Discard, all).is_empty());
    assert!(judged("headed", no(), "220 250 250 250 250 250 550 221").is_empty());
    assert!(judged("ended", later(), "220 250 250 250 250 250 451 221").is_empty());
}

#[test]
fn fields_are_put_in_front_behind_the_trace() {
    let kept = judged(
        "headed",
        Verdict::AcceptWith(b"X: y\r\n".to_vec()),
        "220 250 250 250 250 250 250 221",
    );
    let text = &kept[0].1;
    assert!(text.starts_with("Return-Path: <s@c>\r\n"), "{text}");
    assert!(text.ends_with("+0000\r\nX: y\r\nA: b\r\nC: d\r\n\r\nbody\r\n"), "{text}");
}

#[test]
fn without_one_nothing_changes() {
    let kept = check_with(
        mx,
        "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nBDAT 0 LAST\r\n",
        "250 250 250 250",
    );
    assert_eq!(kept.len(), 1);
}
