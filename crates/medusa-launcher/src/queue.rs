//! `medusa queue`: what waits to be sent, and requests about it, beside a server that runs or not.
//!
//! Entries are read from the queue's folder, where a running server replaces envelopes as a whole, so that
//! nothing half-written is ever seen. Nothing is changed here: what is asked for is left as a file in the
//! folder `control`, which the server looks into every second, and when it starts.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use medusa_mail::{Action, EntryId, Envelope, Error, QueueView, Recipient, Request};

use crate::Failure;
use crate::config::document::Document;
use crate::plan;

/// How much of a message's head is shown.
const HEAD_OCTETS: u64 = 64 * 1024;

/// What is to be done with the queue.
#[derive(Subcommand, Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    /// List the entries, oldest first, with those recipients who are still to get them
    List,
    /// Show an entry's envelope and the head of its message
    Show {
        /// The entry, as it is listed
        id: String,
    },
    /// Have entries tried at once
    Retry {
        /// The entries, as they are listed
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<String>,
        /// All of them
        #[arg(long)]
        all: bool,
    },
    /// End entries; nobody is told
    Drop {
        /// The entries, as they are listed
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// A queue and the service that it belongs to.
struct Found {
    service: String,
    folder: PathBuf,
}

/// Does it; what is to be printed.
pub(crate) fn run(config: &Path, task: &Task) -> Result<String, Failure> {
    let queues = queues(config)?;
    match task {
        Task::List => list(&queues, SystemTime::now()),
        Task::Show { id } => {
            let (view, id) = holding(&queues, id)?;
            show(&view, &id).map_err(|error| failed(&error))
        }
        Task::Retry { all: true, .. } => {
            let mut told = String::new();
            for queue in &queues {
                if let Some(view) = queue.view()? {
                    ask(&view, None, Action::Retry, &mut told)?;
                }
            }
            Ok(told)
        }
        Task::Retry { ids, .. } => ask_each(&queues, ids, Action::Retry),
        Task::Drop { ids } => ask_each(&queues, ids, Action::Drop),
    }
}

/// Every queue that a configuration names, with nothing else of it looked at.
fn queues(config: &Path) -> Result<Vec<Found>, Failure> {
    let source = plan::source_at(config)?;
    let document = Document::parse(&source)?;
    let root = document.root();
    let smtp = root.entry("smtp").and_then(|entry| root.below(&entry));
    let mut found = Vec::new();
    for entry in smtp.iter().flat_map(|smtp| smtp.in_order()) {
        let service = smtp.as_ref().and_then(|smtp| smtp.below(&entry));
        let queue = service.as_ref().and_then(|service| service.entry("queue"));
        if let Some(folder) = queue.as_ref().and_then(|queue| queue.value.get_ref().as_str()) {
            let folder = plan::folder_of(config).join(folder);
            found.push(Found { service: format!("smtp.{}", entry.key), folder });
        }
    }
    match found.is_empty() {
        true => Err(Failure::Usage(format!("{} names no queue", source.name))),
        false => Ok(found),
    }
}

impl Found {
    /// None where nothing was ever queued.
    fn view(&self) -> Result<Option<QueueView>, Failure> {
        match QueueView::open(&self.folder) {
            Ok(view) => Ok(Some(view)),
            Err(Error::Missing) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn failed(error: &Error) -> Failure {
    Failure::Runtime(anyhow::anyhow!("the queue: {error}"))
}

fn list(queues: &[Found], now: SystemTime) -> Result<String, Failure> {
    let mut text = String::new();
    for queue in queues {
        let Some(view) = queue.view()? else {
            let _ = writeln!(text, "{}: nothing was ever queued", queue.service);
            continue;
        };
        let entries = view.entries().map_err(|error| failed(&error))?;
        let count = entries.len();
        let noun = if count == 1 { "entry" } else { "entries" };
        let idle = match view.is_served().map_err(|error| failed(&error))? {
            true => "",
            false => "; no server works it",
        };
        let _ = writeln!(text, "{}: {count} {noun}{idle}", queue.service);
        if idle.is_empty() {
            resting(&mut text, &view.remarks(), now);
        }
        for entry in entries {
            match view.envelope(&entry.id) {
                Ok(envelope) => {
                    let size = view.message(&entry.id).and_then(|file| {
                        let path = queue.folder.clone();
                        file.metadata().map_err(|source| Error::Io { path, source })
                    });
                    let size = size.map(|metadata| metadata.len()).unwrap_or_default();
                    row(&mut text, &entry.id, entry.held, &envelope, size, now);
                }
                // Sent meanwhile.
                Err(Error::Missing) => {}
                Err(error) => {
                    let _ = writeln!(text, "\n{}  {error}", entry.id);
                }
            }
        }
    }
    Ok(text)
}

/// Destinations that can't be reached: what is for them isn't tried by itself.
fn resting(text: &mut String, remarks: &str, now: SystemTime) {
    for line in remarks.lines() {
        let mut cells = line.splitn(3, '\t');
        let (Some(name), Some(until), Some(why)) = (cells.next(), cells.next(), cells.next())
        else {
            continue;
        };
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(until.parse().unwrap_or_default());
        let wait = until.duration_since(now).unwrap_or_default();
        let _ = writeln!(text, "{} rests, probed in {}: {}", clean(name), shown(wait), clean(why));
    }
}

fn row(
    text: &mut String,
    id: &EntryId,
    held: bool,
    envelope: &Envelope,
    size: u64,
    now: SystemTime,
) {
    let age = now.duration_since(envelope.accepted).unwrap_or_default();
    let next = match envelope.next.duration_since(now) {
        _ if held => "held".to_owned(),
        Ok(wait) => format!("next in {}", shown(wait)),
        Err(_) => "due".to_owned(),
    };
    let sender = clean(&envelope.sender);
    let _ = writeln!(text, "\n{id}  {size} octets  {} old  {next}  <{sender}>", shown(age));
    for recipient in envelope.recipients.iter().filter(|recipient| !recipient.done) {
        recipient_row(text, recipient);
    }
}

fn recipient_row(text: &mut String, recipient: &Recipient) {
    let Recipient { address, attempts, last_reply, .. } = recipient;
    let address = clean(address);
    let _ = match last_reply {
        Some(reply) => writeln!(text, "    <{address}>  {attempts} attempts: {}", clean(reply)),
        None => writeln!(text, "    <{address}>"),
    };
}

fn show(view: &QueueView, id: &EntryId) -> Result<String, Error> {
    let envelope = view.envelope(id)?;
    let mut text = String::from_utf8_lossy(&envelope.to_bytes()).into_owned();
    text.push('\n');
    let file = match view.message(id) {
        Ok(file) => file,
        Err(Error::Missing) => {
            text.push_str("(its message is gone)\n");
            return Ok(text);
        }
        Err(error) => return Err(error),
    };
    let mut head = Vec::new();
    let path = id.to_string().into();
    file.take(HEAD_OCTETS).read_to_end(&mut head).map_err(|source| Error::Io { path, source })?;
    let end = head.windows(4).position(|four| four == b"\r\n\r\n").map_or(head.len(), |at| at + 2);
    for line in String::from_utf8_lossy(&head[..end]).lines() {
        text.push_str(&clean(line));
        text.push('\n');
    }
    Ok(text)
}

/// The queue that holds an entry.
fn holding(queues: &[Found], id: &str) -> Result<(QueueView, EntryId), Failure> {
    let unknown = || Failure::Usage(format!("there is no entry `{id}`"));
    let parsed = EntryId::parse(id).map_err(|_| unknown())?;
    for queue in queues {
        if let Some(view) = queue.view()?
            && !matches!(view.envelope(&parsed), Err(Error::Missing))
        {
            return Ok((view, parsed));
        }
    }
    Err(unknown())
}

fn ask_each(queues: &[Found], ids: &[String], action: Action) -> Result<String, Failure> {
    // All of them are looked for before anything is asked.
    let found = ids.iter().map(|id| holding(queues, id)).collect::<Result<Vec<_>, _>>()?;
    let mut told = String::new();
    for (view, id) in found {
        ask(&view, Some(id), action, &mut told)?;
    }
    Ok(told)
}

fn ask(
    view: &QueueView,
    id: Option<EntryId>,
    action: Action,
    told: &mut String,
) -> Result<(), Failure> {
    let name = id.as_ref().map_or_else(|| "all entries".to_owned(), ToString::to_string);
    view.ask(&Request { id, action }).map_err(|error| failed(&error))?;
    let what = match action {
        Action::Retry => "to be tried now",
        Action::Drop => "to be dropped",
    };
    let when = match view.is_served().map_err(|error| failed(&error))? {
        true => "",
        false => ", once a server works the queue",
    };
    let _ = writeln!(told, "{name}: {what}{when}");
    Ok(())
}

/// What a peer sent, for a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect()
}

/// A time in its two largest units.
fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s:02}s"),
        (0, h, m, _) => format!("{h}h{m:02}m"),
        (d, h, ..) => format!("{d}d{h:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use medusa_mail::{Commits, DiskQueue, Queue, RealDisk};

    use super::*;

    fn said(result: Result<String, Failure>) -> String {
        match result {
            Ok(text) => text,
            Err(Failure::Usage(text)) => text,
            Err(_) => panic!("another failure"),
        }
    }

    #[test]
    fn a_queue_is_read_and_asked_beside_its_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("medusa.toml");
        std::fs::write(&config, "[smtp.mx]\n[smtp.out]\nqueue = \"queue\"\n").expect("written");
        assert_eq!(said(run(&config, &Task::List)), "smtp.out: nothing was ever queued\n");

        let disk = Arc::new(RealDisk);
        let queue = DiskQueue::open(&folder.path().join("queue"), disk, Commits::AtOnce);
        let queue = queue.expect("a queue");
        let mut queuing = queue.begin().expect("begun");
        let id = queuing.id().to_string();
        queuing.write(b"Subject: \x1b[2J\r\n\r\nbody\r\n").expect("written");
        let mut envelope = Envelope::new("a@b.test", SystemTime::now() - Duration::from_secs(90));
        let one =
            |address: &str, done| Recipient { address: address.into(), done, ..Default::default() };
        envelope.recipients = vec![one("x@y.test", false), one("done@y.test", true)];
        envelope.recipients[0].attempts = 2;
        envelope.recipients[0].last_reply = Some("450 4.2.0 later".into());
        queuing.seal(&envelope).expect("sealed");
        queuing.commit(Box::new(|result| result.expect("committed")));

        let listed = said(run(&config, &Task::List));
        let expected = format!("smtp.out: 1 entry\n\n{id}  23 octets  1m3");
        assert!(listed.starts_with(&expected), "{listed}");
        assert!(
            listed.ends_with("  due  <a@b.test>\n    <x@y.test>  2 attempts: 450 4.2.0 later\n")
        );
        let shown = said(run(&config, &Task::Show { id: id.clone() }));
        assert!(shown.contains("sender a@b.test\n"), "{shown}");
        assert!(shown.ends_with("end\n\nSubject: ?[2J\n"), "{shown}");

        let retried = said(run(&config, &Task::Retry { ids: vec![id.clone()], all: false }));
        assert_eq!(retried, format!("{id}: to be tried now\n"));
        run(&config, &Task::Retry { ids: vec![], all: true }).ok().expect("asked");
        let ids = vec![id.clone(), "1.2".into()];
        assert_eq!(said(run(&config, &Task::Drop { ids })), "there is no entry `1.2`");
        let actions: Vec<_> = queue
            .requests()
            .expect("requests")
            .into_iter()
            .map(|one| (one.id.is_some(), one.action))
            .collect();
        assert_eq!(actions.len(), 2);
        assert!(
            actions.contains(&(true, Action::Retry)) && actions.contains(&(false, Action::Retry))
        );
        drop(queue);
        // Whose message is gone, or whose envelope is damaged, is an entry all the same.
        let below = folder.path().join("queue");
        std::fs::remove_file(below.join("messages").join(&id)).expect("removed");
        let shown = said(run(&config, &Task::Show { id: id.clone() }));
        assert!(shown.ends_with("end\n\n(its message is gone)\n"), "{shown}");
        std::fs::write(below.join("waiting").join(&id), "damaged").expect("written");
        let dropped = said(run(&config, &Task::Drop { ids: vec![id.clone()] }));
        assert_eq!(dropped, format!("{id}: to be dropped, once a server works the queue\n"));
    }

    #[test]
    fn a_configuration_without_a_queue_is_told_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("medusa.toml");
        std::fs::write(&config, "[http.site]\n").expect("written");
        assert!(said(run(&config, &Task::List)).ends_with("medusa.toml names no queue"));
    }

    #[test]
    fn times_are_short() {
        let shown = |seconds| shown(Duration::from_secs(seconds));
        assert_eq!(
            [shown(5), shown(65), shown(7260), shown(90_000)],
            ["5s", "1m05s", "2h01m", "1d01h"]
        );
    }
}
