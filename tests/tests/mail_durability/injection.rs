//! strace at work on some threads of a server: what it makes of a system call. Each thread has a count of its own.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use medusa_tests::{Server, Signal, Site, until};

pub(crate) struct Injection {
    strace: Child,
    report: PathBuf,
}

impl Injection {
    /// Attaches to the threads of these names, so many of each.
    pub(crate) fn attach(
        site: &Site,
        server: &Server,
        threads: &[(&str, usize)],
        call: &str,
        what: &str,
    ) -> Self {
        let pid = server.process("stat").split(' ').next().expect("a number").to_owned();
        let mut found: Vec<String> = Vec::new();
        let wanted: usize = threads.iter().map(|(_, count)| count).sum();
        // They name themselves, once they run.
        until("the threads run", || {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
            let tasks = tasks.flatten().map(|task| task.path()).filter(|task| {
                let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
                threads.iter().any(|(start, _)| name.starts_with(start))
            });
            let number = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
            found = tasks.filter_map(|task| number(&task)).collect();
            found.len() >= wanted
        });
        let report = site.path("strace.txt");
        let mut strace = Command::new("strace")
            .args(found.iter().flat_map(|thread| ["-p", thread]))
            .args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:{what}"), "-o"])
            .arg(&report)
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace runs");
        let mut said = BufReader::new(strace.stderr.take().expect("a pipe"));
        for _ in &found {
            let mut line = String::new();
            said.read_line(&mut line).expect("text");
            assert!(line.contains("attached"), "strace said: {line}");
        }
        // Kept open: it says more when it ends.
        thread::spawn(move || io::copy(&mut said, &mut io::sink()));
        Self { strace, report }
    }

    /// Lets go, and says whether anything was changed.
    pub(crate) fn detach(mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.strace);
        // It may have ended with the server.
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        self.strace.wait().expect("strace ends");
        let report = fs::read_to_string(&self.report).expect("a report");
        report.contains("(INJECTED)") || report.contains("killed by")
    }
}
