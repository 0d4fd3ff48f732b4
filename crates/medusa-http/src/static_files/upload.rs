//! PUT and DELETE (RFC 9110 §9.3.4, §9.3.5). A file appears whole or not at all; its body goes through
//! bounded memory to the pool, which does all the writing. There are no partial writes, and no folders
//! are made.

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{HeaderName, StatusCode};
use medusa_files::{Committed, Error, Replace, StagedFile, Staging};

use super::answer::conditions;
use super::conditional::{Conditions, EntityTag, Validators, Verdict};
use super::encoding::Coding;
use super::lookup::{Finder, is_hidden_path};
use super::representation::entity_tag;
use super::{Shard, refusal};
use crate::error::Fault;
use crate::handler::{Answer, BodyReader, Exchange, Reading};
use crate::request::Request;
use crate::response::Response;

/// So much of a body is gathered before the pool is asked to write it.
const PIECE: usize = 128 * 1024;

/// Answers a PUT.
pub(crate) fn put(
    shard: &Rc<Shard>,
    request: &Request<'_>,
    exchange: &mut Exchange<'_, '_>,
) -> Answer {
    let options = &shard.finder.options;
    if let Some(refused) = refuse_name(shard, request) {
        return refused.into();
    }
    // RFC 9110 §14.5: a part of a file must not be taken for the whole.
    if has_field(request, &header::CONTENT_RANGE) {
        return Response::error(StatusCode::BAD_REQUEST).into();
    }
    // Nor a coded file for a plain one: what is kept is the bytes alone.
    if has_field(request, &header::CONTENT_ENCODING) {
        return Response::error(StatusCode::UNSUPPORTED_MEDIA_TYPE).into();
    }
    let length = request.content_length();
    if options.max_upload.is_some_and(|limit| length.is_some_and(|length| length > limit)) {
        return Response::fault(Fault::BodyTooLong).into();
    }
    let upload = Arc::new(Upload {
        finder: Arc::clone(&shard.finder),
        path: request.rest().to_vec(),
        conditions: conditions(request).into_owned(),
    });
    let shard = Rc::clone(shard);
    let begun = Arc::clone(&upload);
    // Without a body there is nothing to wait for.
    if !request.has_body() {
        return exchange.offload(
            move || begun.begin(0).and_then(|staged| begun.commit(staged, b"")),
            move |committed, _| shard.stored(&upload.path, committed).into(),
        );
    }
    exchange.offload(
        move || begun.begin(length.unwrap_or(0)),
        move |staged, _| match staged {
            Err(refused) => refused.response().into(),
            Ok(staged) => {
                let limit = shard.finder.options.max_upload;
                let state = State { staged: Some(staged), gathered: Vec::new() };
                let reader = Receiving { upload, shard, state: Rc::new(RefCell::new(state)) };
                match limit {
                    Some(limit) => Answer::read_at_most(limit, reader),
                    None => Answer::read(reader),
                }
            }
        },
    )
}

/// Answers a DELETE.
pub(crate) fn delete(
    shard: &Rc<Shard>,
    request: &Request<'_>,
    exchange: &mut Exchange<'_, '_>,
) -> Answer {
    if let Some(refused) = refuse_name(shard, request) {
        return refused.into();
    }
    let upload = Upload {
        finder: Arc::clone(&shard.finder),
        path: request.rest().to_vec(),
        conditions: conditions(request).into_owned(),
    };
    let shard = Rc::clone(shard);
    let path = upload.path.clone();
    exchange.offload(
        move || upload.remove(),
        move |removed, _| {
            shard.forget(&path);
            match removed {
                Ok(()) => Response::new(StatusCode::NO_CONTENT),
                Err(refused) => refused.response(),
            }
            .into()
        },
    )
}

/// What is written where, and under which conditions. In the pool.
struct Upload {
    finder: Arc<Finder>,
    path: Vec<u8>,
    conditions: Conditions<'static>,
}

/// Why nothing was changed.
enum Refused {
    /// A condition of the request doesn't hold.
    Condition,
    /// A folder has the name, or the folder that it should be in isn't there.
    Place,
    /// There is nothing to remove.
    Absent,
    Files(Error),
}

impl Upload {
    fn begin(&self, length: u64) -> Result<StagedFile, Refused> {
        self.judge()?;
        // What must be new is refused when it is committed, too, whoever comes between.
        let is_new = self.conditions.if_none_match.as_deref().is_some_and(is_any);
        let replace = if is_new { Replace::Refused } else { Replace::Allowed };
        let staging = Staging { replace, sync: self.finder.options.sync, ..Staging::default() };
        let staged = self.finder.root.stage(&self.path, staging)?;
        staged.require_space(length)?;
        Ok(staged)
    }

    fn commit(&self, mut staged: StagedFile, rest: &[u8]) -> Result<Committed, Refused> {
        staged.write_all(rest).map_err(Error::from_io)?;
        let _turn = self.finder.writes.turn(&self.path);
        // The body took its time: what was true when it began need not be true now.
        self.judge()?;
        Ok(staged.commit()?)
    }

    fn remove(&self) -> Result<(), Refused> {
        let _turn = self.finder.writes.turn(&self.path);
        if !self.judge()? {
            return Err(Refused::Absent);
        }
        Ok(self.finder.root.remove_file(&self.path)?)
    }

    /// Compares the conditions with what stands there now, and tells whether anything does.
    fn judge(&self) -> Result<bool, Refused> {
        let current = match self.finder.root.metadata(&self.path) {
            Ok(metadata) if metadata.is_folder() => return Err(Refused::Place),
            Ok(metadata) => Some(metadata),
            Err(Error::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        let tag = current.map(|metadata| entity_tag(&metadata, Coding::Identity));
        let validators = Validators {
            tag: tag.as_deref().map(|tag| EntityTag { is_weak: false, opaque: tag.as_bytes() }),
            modified: current.map(|metadata| metadata.modified.seconds),
        };
        match self.conditions.evaluate(&validators, false) {
            Verdict::Proceed => Ok(current.is_some()),
            Verdict::NotModified | Verdict::Failed => Err(Refused::Condition),
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error {
            Error::IsAFolder | Error::NotAFolder | Error::NotFound => Self::Place,
            // Someone was faster, and the request said that it must be new.
            Error::Exists => Self::Condition,
            error => Self::Files(error),
        }
    }
}

impl Refused {
    fn response(&self) -> Response {
        match self {
            Self::Condition => Response::error(StatusCode::PRECONDITION_FAILED),
            Self::Place => Response::error(StatusCode::CONFLICT),
            Self::Absent => Response::error(StatusCode::NOT_FOUND),
            Self::Files(error) => refusal(error),
        }
    }
}

/// A body on its way to its file.
struct Receiving {
    upload: Arc<Upload>,
    shard: Rc<Shard>,
    state: Rc<RefCell<State>>,
}

struct State {
    /// Gone while the pool has it.
    staged: Option<StagedFile>,
    gathered: Vec<u8>,
}

impl BodyReader for Receiving {
    fn received(&mut self, piece: &[u8], exchange: &mut Exchange<'_, '_>) -> Reading {
        let mut state = self.state.borrow_mut();
        state.gathered.extend_from_slice(piece);
        if state.gathered.len() < PIECE {
            return Reading::More;
        }
        let Some(mut staged) = state.staged.take() else {
            return Reading::Enough(Response::error(StatusCode::INTERNAL_SERVER_ERROR).into());
        };
        let mut gathered = std::mem::take(&mut state.gathered);
        drop(state);
        let state = Rc::clone(&self.state);
        exchange.offload_reading(
            move || {
                let written = staged.write_all(&gathered).map_err(Error::from_io);
                gathered.clear();
                written.map(|()| (staged, gathered))
            },
            move |written, _| match written {
                Ok((staged, gathered)) => {
                    *state.borrow_mut() = State { staged: Some(staged), gathered };
                    Reading::More
                }
                Err(error) => Reading::Enough(refusal(&error).into()),
            },
        )
    }

    fn ended(self: Box<Self>, exchange: &mut Exchange<'_, '_>) -> Answer {
        let mut state = self.state.borrow_mut();
        let Some(staged) = state.staged.take() else {
            return Response::error(StatusCode::INTERNAL_SERVER_ERROR).into();
        };
        let rest = std::mem::take(&mut state.gathered);
        drop(state);
        let Receiving { upload, shard, .. } = *self;
        let committing = Arc::clone(&upload);
        exchange.offload(
            move || committing.commit(staged, &rest),
            move |committed, _| shard.stored(&upload.path, committed).into(),
        )
    }
}

impl Shard {
    /// 201 for a new file, 204 for one that took another's place, with its tag, since what is kept is
    /// exactly what was sent (RFC 9110 §9.3.4).
    fn stored(&self, path: &[u8], committed: Result<Committed, Refused>) -> Response {
        self.forget(path);
        let committed = match committed {
            Ok(committed) => committed,
            Err(refused) => return refused.response(),
        };
        let status = if committed.is_new { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
        let tag = entity_tag(&committed.metadata, Coding::Identity);
        let response = Response::new(status);
        match HeaderValue::from_str(&format!("\"{tag}\"")) {
            Ok(tag) => response.field(&header::ETAG, &tag),
            Err(_) => response,
        }
    }
}

/// Names that can be no file's, or aren't to be touched from here.
fn refuse_name(shard: &Shard, request: &Request<'_>) -> Option<Response> {
    let path = request.rest();
    if path.is_empty() || path.ends_with(b"/") {
        return Some(Response::error(StatusCode::CONFLICT));
    }
    is_hidden_path(path, shard.finder.options.hidden)
        .then(|| Response::error(StatusCode::FORBIDDEN))
}

fn is_any(list: &[u8]) -> bool {
    list.trim_ascii() == b"*"
}

fn has_field(request: &Request<'_>, name: &HeaderName) -> bool {
    request.values(name).next().is_some()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::thread;

    use medusa_files::Root;

    use super::*;
    use crate::static_files::StaticOptions;

    #[test]
    fn of_writers_that_know_the_same_version_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path()).unwrap();
        let mut options = StaticOptions { writable: true, ..StaticOptions::default() };
        options.sync = false;
        let finder = Arc::new(Finder::new(root, options));
        std::fs::write(folder.path().join("a.txt"), "first").unwrap();
        for _ in 0..100 {
            let metadata = finder.root.metadata("a.txt").unwrap();
            let tag = format!("\"{}\"", entity_tag(&metadata, Coding::Identity)).into_bytes();
            let upload = Arc::new(Upload {
                finder: Arc::clone(&finder),
                path: b"a.txt".to_vec(),
                conditions: Conditions { if_match: Some(Cow::Owned(tag)), ..Conditions::default() },
            });
            let staged: Vec<_> = (0..4).map(|_| upload.begin(0).ok().unwrap()).collect();
            let writers: Vec<_> = staged
                .into_iter()
                .map(|staged| {
                    let upload = Arc::clone(&upload);
                    thread::spawn(move || upload.commit(staged, b"next").is_ok())
                })
                .collect();
            let stored = writers.into_iter().map(|one| one.join().unwrap());
            assert_eq!(stored.filter(|is_stored| *is_stored).count(), 1);
        }
    }
}
