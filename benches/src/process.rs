//! Child processes with a core of their own: started, accounted for by /proc, and ended by their number,
//! also when the benchmark fails or is interrupted. It doesn't know what they serve.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How long a server may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is looked at processes that come and go.
const LOOKS: usize = 20;

/// The core that servers run on and the one that clients run on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) client: usize,
}

/// A child and the processes that it started itself. They are ended when it is dropped.
pub(crate) struct Process {
    child: Child,
}

/// Processor time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

/// Set by INT and TERM.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Cores {
    /// The first two cores that this process may use, itself bound to the client's. With one core alone
    /// the server and its client share it.
    pub(crate) fn take() -> Result<Cores> {
        let allowed = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let server = usable.next().context("no core may be used")?;
        let cores = Cores { server, client: usable.next().unwrap_or(server) };
        pin(cores.client)?;
        Ok(cores)
    }

    /// Has the client run on the server's core: the two take turns then, and neither waits for the other.
    pub(crate) fn shared(self) -> Result<Cores> {
        pin(self.server)?;
        Ok(Cores { client: self.server, ..self })
    }

    /// Starts a server on its core.
    pub(crate) fn serve(self, command: &mut Command) -> Result<Process> {
        pin(self.server)?;
        let child = command.spawn();
        pin(self.client)?;
        let child = child.with_context(|| format!("can't start {:?}", command.get_program()))?;
        Ok(Process { child })
    }
}

/// Binds this thread, and what it starts from now on, to a core.
fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("can't run on core {core}"))
}

/// Allows as many descriptors as this process may allow itself, and says how many.
pub(crate) fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Lower than wanted is still enough for a smaller number of connections.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.or(current).unwrap_or(u64::MAX)
}

impl Process {
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until somebody listens at an address.
    pub(crate) fn listens(&mut self, address: SocketAddr, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            if Instant::now() > end {
                bail!("it doesn't listen on {address}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The process and its descendants.
    fn tree(&self) -> Vec<u32> {
        let parents: Vec<(u32, u32)> = processes().collect();
        let mut tree = vec![self.child.id()];
        let mut at = 0;
        while let Some(&parent) = tree.get(at) {
            tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
            at += 1;
        }
        tree
    }

    /// What it and its descendants have spent, those included that have ended and were waited for.
    pub(crate) fn spent(&self) -> Result<Spent> {
        // One that ends meanwhile can't be read, and is its parent's at the next look.
        let looks = std::iter::repeat_with(|| self.look());
        looks.take(LOOKS).find(Result::is_ok).unwrap_or_else(|| self.look())
    }

    fn look(&self) -> Result<Spent> {
        let ticks = rustix::param::clock_ticks_per_second();
        let mut spent = Spent::default();
        for pid in self.tree() {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // proc_pid_stat(5): utime, stime, cutime, cstime, counted from the state.
            let times = fields(&stat).skip(11).take(4).map(str::parse::<u64>);
            let times = times.collect::<Result<Vec<_>, _>>()?;
            let [user, system, waited_user, waited_system] = times[..] else {
                bail!("the times of process {pid} can't be read");
            };
            let time = |count| Duration::from_millis(count * 1000 / ticks);
            let own = Spent { user: time(user), system: time(system) }.refined(exact(pid));
            spent.user += own.user + time(waited_user);
            spent.system += own.system + time(waited_system);
        }
        Ok(spent)
    }

    /// Waits until its descendants have ended: what they spent is its own then.
    pub(crate) fn settle(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.tree().len() > 1 {
            if Instant::now() > end {
                bail!("sessions have ended, and their processes have not");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Octets of memory in all, where what several processes share counts once (Pss, proc_pid_smaps(5)).
    pub(crate) fn resident_octets(&self) -> Result<u64> {
        let mut octets = 0;
        for pid in self.tree() {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
            let kib = line.context("no Pss")?.trim().trim_end_matches(" kB").parse::<u64>()?;
            octets += kib * 1024;
        }
        Ok(octets)
    }

    /// Octets of memory that aren't a file's: heap and stacks (RssAnon, proc_pid_status(5)).
    pub(crate) fn anonymous_octets(&self) -> Result<u64> {
        let mut octets = 0;
        for pid in self.tree() {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
            let kib = line.context("no RssAnon")?.trim().trim_end_matches(" kB").parse::<u64>()?;
            octets += kib * 1024;
        }
        Ok(octets)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let tree = self.tree();
        signal(self.child.id(), Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        // What is left of it: a child that hangs, or a worker that its master has left behind.
        let left: Vec<u32> = processes().map(|(pid, _)| pid).collect();
        for pid in tree.into_iter().filter(|pid| left.contains(pid)) {
            signal(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended already.
        let _ = kill_process(pid, signal);
    }
}

/// Every process and its parent; those that end meanwhile are left out.
fn processes() -> impl Iterator<Item = (u32, u32)> {
    fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, fields(&stat).nth(1)?.parse().ok()?))
    })
}

/// What a process's threads have computed, in nanoseconds rather than ticks (schedstat, in the kernel's
/// sched-stats.rst); nothing where the kernel doesn't tell.
fn exact(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}

/// The fields of /proc/PID/stat from the state on: the name before it may hold anything.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace()
}

impl Spent {
    /// In microseconds.
    pub(crate) fn micros(self) -> f64 {
        (self.user + self.system).as_secs_f64() * 1e6
    }

    /// The same division of a time that is known more exactly.
    fn refined(self, exact: Duration) -> Spent {
        let counted = self.user + self.system;
        // Threads that have ended are only counted in ticks.
        if exact <= counted {
            return self;
        }
        let share =
            if counted.is_zero() { 0.5 } else { self.user.as_secs_f64() / counted.as_secs_f64() };
        let user = exact.mul_f64(share);
        Spent { user, system: exact.saturating_sub(user) }
    }

    pub(crate) fn since(self, before: Spent) -> Spent {
        Spent {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

impl Interrupt {
    pub(crate) fn watch() -> Result<Interrupt> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Interrupt(flag))
    }

    /// An error once the benchmark is to end. What has been started is ended on the way out.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_begin_behind_any_name() {
        let stat = "42 (a) b (c) S 7 42 0 0 -1 4194560 1 2 3 4 10 20 30 40 20";
        assert_eq!(fields(stat).next(), Some("S"));
        assert_eq!(fields(stat).nth(1), Some("7"));
        assert_eq!(fields(stat).skip(11).take(4).collect::<Vec<_>>(), ["10", "20", "30", "40"]);
    }

    #[test]
    fn a_child_is_in_its_tree_and_is_ended() {
        let cores = Cores::take().unwrap();
        let process = cores.serve(Command::new("sleep").arg("60")).unwrap();
        let pid = process.child.id();
        assert_eq!(process.tree(), [pid]);
        assert!(process.anonymous_octets().unwrap() > 0);
        assert!(process.spent().unwrap().micros() < 1e6);
        let ticks = Spent { user: Duration::from_millis(30), system: Duration::from_millis(10) };
        let refined = ticks.refined(Duration::from_millis(44));
        assert_eq!(refined.user, Duration::from_millis(33));
        assert_eq!(refined.micros(), 44_000.0);
        drop(process);
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
    }
}
