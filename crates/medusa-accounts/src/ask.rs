//! A session's way to a verdict: the wait that the throttle asks for, then the look-up in the
//! offload pool, then back.
//!
//! The wait is the session's own timer, so that nothing here outlives a connection.

use std::time::Duration;

use medusa_core::{Cx, Session};

use crate::{Answer, Begun, Denial, Logins, Origin, PendingLogin, Question};

/// Where a session goes on with the answer.
pub type Then<S> = fn(&mut S, &mut Cx<'_>, Answer);

/// What becomes of a [`Question`].
#[must_use]
#[derive(Debug)]
pub enum Asked<S: Session> {
    /// Here is the answer: the login is remembered, or denied without a look.
    Answered(Answer),
    /// `then` will be called with it.
    Underway,
    /// The login has to wait: arm a timer with [`Waiting::wait`], and when it expires,
    /// [`Waiting::go_on`]. Drop it if the session ends before.
    Wait(Waiting<S>),
}

/// A login that waits for its turn.
#[derive(Debug)]
pub struct Waiting<S: Session> {
    login: PendingLogin,
    then: Then<S>,
}

impl Logins {
    /// Asks on behalf of a session. A session of an ordered protocol should
    /// [pause](Cx::pause) until it is answered.
    pub fn ask<S: Session>(
        &self,
        cx: &mut Cx<'_>,
        origin: &Origin,
        question: Question,
        then: Then<S>,
    ) -> Asked<S> {
        match self.begin(origin, question, cx.now()) {
            Begun::Answered(answer) => Asked::Answered(answer),
            Begun::Pending(login) if login.wait().is_zero() => {
                (Waiting { login, then }).go_on(cx).map_or(Asked::Underway, Asked::Answered)
            }
            Begun::Pending(login) => Asked::Wait(Waiting { login, then }),
        }
    }
}

impl<S: Session> Waiting<S> {
    /// How long it has to wait.
    pub fn wait(&self) -> Duration {
        self.login.wait()
    }

    /// Looks the login up, after the wait. `None` means that `then` will be called with the
    /// answer; otherwise it is [`Denial::Busy`].
    pub fn go_on(self, cx: &mut Cx<'_>) -> Option<Answer> {
        let Self { login, then } = self;
        match cx.compute(move || login.run(), then) {
            Ok(()) => None,
            Err(_) => Some(Answer::Verdict(Err(Denial::Busy))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use medusa_core::{Frame, Framing, TimerKey, testing::Client};

    use super::*;
    use crate::{
        Accounts, Credentials, Password, ThrottleLimits, directory::tests::directory,
        users::tests::user,
    };

    /// A line of a name and a password; how it went.
    struct Greeter {
        logins: Logins,
        waiting: Option<Waiting<Self>>,
    }

    impl Greeter {
        fn answered(&mut self, cx: &mut Cx<'_>, answer: Answer) {
            let line = match answer.verdict() {
                Ok(identity) => format!("hello {identity}\r\n"),
                Err(denial) => format!("{denial}\r\n"),
            };
            cx.write(line.as_bytes());
            cx.resume();
        }
    }

    impl Session for Greeter {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.expect(Framing::line(100));
        }

        fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
            let line = String::from_utf8_lossy(frame.bytes);
            let (name, password) = line.split_once(' ').unwrap_or((&line, ""));
            let question = Question::Password(Credentials {
                name: name.into(),
                authzid: None,
                password: Password::new(password),
            });
            let origin = Origin { service: "test.test".into(), peer: cx.peer().remote.ip() };
            cx.pause();
            match self.logins.ask(cx, &origin, question, Self::answered) {
                Asked::Answered(answer) => self.answered(cx, answer),
                Asked::Underway => {}
                Asked::Wait(waiting) => {
                    cx.arm(TimerKey(1), waiting.wait());
                    self.waiting = Some(waiting);
                }
            }
        }

        fn expired(&mut self, cx: &mut Cx<'_>, _: TimerKey) {
            if let Some(answer) = self.waiting.take().and_then(|waiting| waiting.go_on(cx)) {
                self.answered(cx, answer);
            }
        }
    }

    fn client() -> (Client, Arc<Accounts>) {
        let accounts = Arc::new(Accounts::new(directory([("alice", user("secret"))])).unwrap());
        let logins = Logins::new(accounts.clone(), ThrottleLimits::default());
        (Client::new(Greeter { logins, waiting: None }), accounts)
    }

    #[test]
    fn hashes_are_computed_in_the_pool_and_replies_stay_in_order() {
        let (mut client, accounts) = client();
        client.send("alice secret\r\nalice secret\r\nbob x\r\ncarol x\r\n");
        assert_eq!((accounts.hashes(), client.text()), (0, String::new()));
        client.run_jobs();
        // The second was remembered, the fourth has to wait for the third's failure.
        assert_eq!(accounts.hashes(), 2);
        assert_eq!(client.text(), "hello alice\r\nhello alice\r\nwrong name or password\r\n");
        client.advance(Duration::from_millis(990)).run_jobs();
        assert_eq!(client.text(), "");
        client.advance(Duration::from_millis(10)).run_jobs();
        assert_eq!(client.text(), "wrong name or password\r\n");
    }

    #[test]
    fn who_leaves_while_waiting_leaves_nothing_behind() {
        let (mut client, accounts) = client();
        client.send("alice wrong\r\n").run_jobs();
        client.send("alice secret\r\n");
        client.reset();
        client.advance(Duration::from_secs(5)).run_jobs();
        assert_eq!(accounts.hashes(), 1);
    }
}
