//! What only some may have: Basic authentication (RFC 7617) in front of another handler.
//!
//! Whether a password is right, how long a login has to wait and who is banned is for
//! `medusa-accounts` to say; a hash is computed in the pool, never here. A request that has to wait
//! is kept as it came and asked again when it is known who it is from.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use medusa_accounts::{
    self as accounts, Begun, Credentials, Denial, Identity, Logins, PendingLogin, Question, Told,
    basic, same_name,
};

use crate::handler::{Answer, Exchange, Handler};
use crate::head::Known;
use crate::request::{Kept, Request};
use crate::response::Response;

/// Lets only those through to another handler who log in; the handler finds their name in
/// [`Request::user`].
pub struct Protected<H> {
    inner: Rc<H>,
    logins: Logins,
    service: Arc<str>,
    challenge: HeaderValue,
    names: Option<Rc<[String]>>,
}

impl<H> Clone for Protected<H> {
    fn clone(&self) -> Self {
        Protected {
            inner: Rc::clone(&self.inner),
            logins: self.logins.clone(),
            service: Arc::clone(&self.service),
            challenge: self.challenge.clone(),
            names: self.names.clone(),
        }
    }
}

impl<H> std::fmt::Debug for Protected<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protected").field("names", &self.names).finish_non_exhaustive()
    }
}

impl<H: Handler + 'static> Protected<H> {
    /// Asks `logins` on behalf of `service`, such as `http.site`. Browsers send what they know of a
    /// `realm` to all that is in it.
    pub fn new(inner: H, logins: Logins, service: &str, realm: &str) -> Protected<H> {
        let challenge = HeaderValue::try_from(basic::challenge(realm));
        Protected {
            inner: Rc::new(inner),
            logins,
            service: service.into(),
            // A realm may be in any script, a field value not.
            challenge: challenge.unwrap_or(HeaderValue::from_static("Basic realm=\"\"")),
            names: None,
        }
    }

    /// Only for these accounts, in any case.
    #[must_use]
    pub fn only(mut self, names: impl IntoIterator<Item = String>) -> Protected<H> {
        self.names = Some(names.into_iter().collect());
        self
    }

    /// What a denial is answered with. That somebody else's name would be let in looks like a wrong
    /// password, and takes as long.
    fn denied(&self, denial: &Denial) -> Answer {
        match denial.told() {
            Told::TryLater { after } => later(after),
            _ => self.challenged(),
        }
    }

    fn challenged(&self) -> Answer {
        Response::page(StatusCode::UNAUTHORIZED, "A name and a password are needed here.")
            .field(&header::WWW_AUTHENTICATE, &self.challenge)
            .into()
    }

    /// The verdict has come: the request goes on, or not.
    fn decided(
        &self,
        verdict: Result<Identity, Denial>,
        request: &Request<'_>,
        exchange: &mut Exchange<'_, '_>,
    ) -> Answer {
        match verdict {
            Ok(identity) if self.lets_in(&identity) => {
                exchange.set_user(identity.name());
                self.inner.requested(&request.by(&identity.name()), exchange)
            }
            Ok(_) => self.denied(&Denial::Service),
            Err(denial) => self.denied(&denial),
        }
    }

    fn lets_in(&self, identity: &Identity) -> bool {
        let same = |name: &String| same_name(name, identity.name());
        self.names.as_ref().is_none_or(|names| names.iter().any(same))
    }

    fn look_up(self, login: PendingLogin, kept: Kept, exchange: &mut Exchange<'_, '_>) -> Answer {
        exchange.compute(
            move || login.run().verdict(),
            move |verdict, exchange| {
                kept.lend(|request| self.decided(verdict, request, exchange))
                    .unwrap_or_else(|| Response::error(StatusCode::INTERNAL_SERVER_ERROR).into())
            },
        )
    }
}

impl<H: Handler + 'static> Handler for Protected<H> {
    fn requested(&self, request: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer {
        let credentials = match credentials(request) {
            None => return self.challenged(),
            Some(Err(denial)) => return self.denied(&denial),
            Some(Ok(credentials)) => credentials,
        };
        let origin =
            accounts::Origin { service: Arc::clone(&self.service), peer: request.client() };
        match self.logins.begin(&origin, Question::Password(credentials), exchange.now()) {
            Begun::Answered(answer) => self.decided(answer.verdict(), request, exchange),
            Begun::Pending(login) => {
                // One at a time: a connection holds one head, however many it has sent.
                exchange.hold();
                let (gate, kept, wait) = (self.clone(), request.keep(), login.wait());
                if wait.is_zero() {
                    return gate.look_up(login, kept, exchange);
                }
                exchange.after(wait, move |exchange| gate.look_up(login, kept, exchange))
            }
        }
    }

    fn methods(&self) -> Vec<Method> {
        self.inner.methods()
    }
}

/// What the client says of itself, if anything.
fn credentials(request: &Request<'_>) -> Option<Result<Credentials, Denial>> {
    let first = request.known(Known::Authorization)?;
    if request.values(&header::AUTHORIZATION).nth(1).is_some() {
        return Some(Err(Denial::Malformed("two Authorization fields")));
    }
    Some(basic::parse(first))
}

fn later(after: Option<Duration>) -> Answer {
    let wait = after.unwrap_or(Duration::from_secs(5));
    // Rounded up: who comes back too early is refused again.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Response::page(StatusCode::SERVICE_UNAVAILABLE, "Logins have to wait for now; try again later.")
        .field(&header::RETRY_AFTER, &HeaderValue::from(seconds))
        .into()
}
