//! A resolver that answers from a table: for tests, and for programs without DNS.

use std::collections::HashMap;
use std::time::Duration;

use crate::asker::{Asker, Resolver};
use crate::error::LookupError;
use crate::name::Name;
use crate::question::{Question, RecordKind};
use crate::records::{Data, Record, Records};

/// For how long records of a table are said to hold. Nobody keeps them, so that any time will do; an hour
/// is what zone files commonly say.
const TTL: Duration = Duration::from_secs(3600);

/// What is said of a name, by kind.
type Kinds = Vec<(RecordKind, Result<Vec<Data>, LookupError>)>;

/// Answers at once from a table. Names that aren't in it don't exist.
///
/// ```
/// use medusa_resolver::{Data, Fixed, LookupError, Question, RecordKind};
///
/// let fixed = Fixed::new()
///     .with("example.org", [Data::A([192, 0, 2, 1].into())])
///     .failing("broken.example", RecordKind::Mx, LookupError::temporary("nobody answers"));
/// let ask = |name, kind| fixed.look_up(&Question::new(name, kind).unwrap());
/// assert_eq!(ask("Example.ORG.", RecordKind::A).unwrap().list.len(), 1);
/// assert_eq!(ask("example.org", RecordKind::Mx), Err(LookupError::NoData));
/// assert_eq!(ask("example.net", RecordKind::A), Err(LookupError::NoSuchName));
/// assert!(!ask("broken.example", RecordKind::Mx).unwrap_err().is_permanent());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Fixed {
    names: HashMap<Name, Kinds>,
}

impl Fixed {
    /// An empty table: no name exists.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds records of a name; the name exists from then on, also where there are none.
    ///
    /// # Panics
    ///
    /// `name` is no [`Name`].
    #[must_use]
    pub fn with(mut self, name: &str, records: impl IntoIterator<Item = Data>) -> Self {
        let kinds = self.kinds(name);
        for data in records {
            let kind = data.kind();
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, Ok(list))) => list.push(data),
                Some((_, failure)) => *failure = Ok(vec![data]),
                None => kinds.push((kind, Ok(vec![data]))),
            }
        }
        self
    }

    /// Has questions for this name and kind fail.
    ///
    /// # Panics
    ///
    /// `name` is no [`Name`].
    #[must_use]
    pub fn failing(mut self, name: &str, kind: RecordKind, error: LookupError) -> Self {
        let kinds = self.kinds(name);
        kinds.retain(|(known, _)| *known != kind);
        kinds.push((kind, Err(error)));
        self
    }

    /// What the table says.
    ///
    /// # Errors
    ///
    /// The name or the kind isn't in it, or is to fail.
    pub fn look_up(&self, question: &Question) -> Result<Records, LookupError> {
        let kinds = self.names.get(question.name()).ok_or(LookupError::NoSuchName)?;
        let found = kinds.iter().find(|(kind, _)| *kind == question.kind());
        let (_, list) = found.ok_or(LookupError::NoData)?;
        let records = list.clone()?.into_iter().map(|data| Record::new(data, TTL));
        Ok(Records::new(question.name().clone(), records.collect()))
    }

    fn kinds(&mut self, name: &str) -> &mut Kinds {
        let name = Name::new(name).unwrap_or_else(|error| panic!("{error}"));
        self.names.entry(name).or_default()
    }
}

impl Resolver for Fixed {
    fn resolve(&self, question: Question, asker: Asker) {
        let result = self.look_up(&question);
        asker.answer(question, result);
    }
}

#[cfg(test)]
mod tests {
    use medusa_core::testing::Client;
    use medusa_core::{Cx, Frame, Note, Session};

    use super::*;
    use crate::asker::Answer;

    /// Asks at its beginning, and says what it hears.
    struct Curious(Fixed);

    impl Session for Curious {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            for (ticket, name) in ["a.test", "b.test"].into_iter().enumerate() {
                let question = Question::new(name, RecordKind::Mx).expect("a name");
                self.0.resolve(question, Asker::new(cx.remote(), ticket as u64));
            }
        }

        fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}

        fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
            let answer = note.downcast::<Answer>().expect("an answer");
            let found = answer.result.map(|records| {
                let exchanges = records.exchanges();
                exchanges.iter().map(|(preference, name)| format!("{preference} {name}")).collect()
            });
            let found: String = found.unwrap_or_else(|error| error.to_string());
            cx.compose(|out| {
                out.extend(format!("{} {}: {found}; ", answer.ticket, answer.question).bytes())
            });
        }
    }

    #[test]
    fn whoever_asks_is_sent_a_note() {
        let mx =
            |preference, name| Data::Mx { preference, exchange: Name::new(name).expect("a name") };
        let fixed = Fixed::new().with("a.test", [mx(10, "mail.a.test"), mx(5, "mx.a.test")]);
        let mut client = Client::new(Curious(fixed));
        assert_eq!(
            client.deliver().text(),
            "0 a.test MX: 5 mx.a.test10 mail.a.test; 1 b.test MX: there is no such name; "
        );
    }

    #[test]
    fn a_null_mx_is_told_from_an_exchange() {
        let null = Data::Mx { preference: 0, exchange: Name::root() };
        let fixed =
            Fixed::new().with("a.test", [null.clone()]).with("b.test", [null.clone(), null]);
        let ask = |name| fixed.look_up(&Question::new(name, RecordKind::Mx).expect("a name"));
        assert!(ask("a.test").expect("records").is_null_mx());
        assert!(!ask("b.test").expect("records").is_null_mx());
    }
}
