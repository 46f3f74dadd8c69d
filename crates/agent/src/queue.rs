//! The agent's queue: what waits for the agent's thread, merged where one turn can serve several.
//!
//! Notifications of one source are one entry, however many arrive. Commands that can take effect together are one turn.

use crate::answer::Answer;
use crate::command::Command;
use api::{Cause, Failure};
use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Maximum number of commands of one turn; other commands wait meanwhile.
const MOST_TOGETHER: usize = 1024;

/// The queue; all clones are one queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The sources with changes, by index.
    sources: BTreeSet<usize>,
    /// Oldest first.
    commands: VecDeque<PendingCommand>,
    /// Whether the last turn was of commands: then sources are next, so that neither waits for ever.
    were_commands: bool,
    is_stopping: bool,
    /// Whether the agent's thread has ended.
    is_closed: bool,
}

/// A command that waits for its answer.
#[derive(Debug)]
pub(crate) struct PendingCommand {
    pub(crate) command: Command,
    reply: SyncSender<Answer>,
}

/// What the agent's thread does next.
#[derive(Debug)]
pub(crate) enum Turn {
    /// These sources have changes.
    Sources(BTreeSet<usize>),
    /// These commands can take effect together. There is at least one.
    Commands(Vec<PendingCommand>),
    /// The agent stops.
    Stop,
}

impl Queue {
    /// Records that a source has changes.
    pub(crate) fn notify(&self, source: usize) {
        self.lock().sources.insert(source);
        self.0.arrived.notify_one();
    }

    /// Records that the agent must stop.
    pub(crate) fn stop(&self) {
        self.lock().is_stopping = true;
        self.0.arrived.notify_one();
    }

    /// Has a command carried out, and waits for the answer.
    pub(crate) fn carry_out(&self, command: Command) -> Answer {
        let ended = || Failure::new(Cause::Internal, "the agent is stopping");
        let answer = self.put(command).ok_or_else(ended)?;
        answer.recv().map_err(|_| ended())?
    }

    /// Adds a command, and returns the channel of its answer; none if the agent has ended.
    fn put(&self, command: Command) -> Option<Receiver<Answer>> {
        let (reply, answer) = sync_channel(1);
        let mut waiting = self.lock();
        if waiting.is_closed {
            return None;
        }
        waiting.commands.push_back(PendingCommand { command, reply });
        self.0.arrived.notify_one();
        Some(answer)
    }

    /// The next turn; none if there is none until this time.
    pub(crate) fn next(&self, until: Instant) -> Option<Turn> {
        let mut waiting = self.lock();
        loop {
            if let Some(turn) = waiting.next() {
                return Some(turn);
            }
            let rest = until.checked_duration_since(Instant::now())?;
            let waited = self.0.arrived.wait_timeout(waiting, rest);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the queue: commands that wait, and later ones, are not carried out.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.commands.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn next(&mut self) -> Option<Turn> {
        if self.is_stopping {
            return Some(Turn::Stop);
        }
        self.were_commands = match self.were_commands {
            true => self.sources.is_empty(),
            false => !self.commands.is_empty(),
        };
        if self.were_commands {
            return self.next_commands().map(Turn::Commands);
        }
        let sources = std::mem::take(&mut self.sources);
        (!sources.is_empty()).then_some(Turn::Sources(sources))
    }

    /// The oldest command, with all commands that can take effect together with it.
    fn next_commands(&mut self) -> Option<Vec<PendingCommand>> {
        let mut together = vec![self.commands.pop_front()?];
        let mut others = VecDeque::new();
        for pending in self.commands.drain(..) {
            match together.len() < MOST_TOGETHER && pending.command.is_alike(&together[0].command) {
                true => together.push(pending),
                false => others.push_back(pending),
            }
        }
        self.commands = others;
        Some(together)
    }
}

impl PendingCommand {
    /// The command, and the way of its answer.
    pub(crate) fn split(self) -> (Command, Reply) {
        (self.command, Reply(self.reply))
    }
}

/// The way of an answer to the client.
#[derive(Debug)]
pub(crate) struct Reply(SyncSender<Answer>);

impl Reply {
    /// Sends the answer; the client may have disconnected.
    pub(crate) fn send(self, answer: Answer) {
        let _ = self.0.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn removal(name: &str) -> Command {
        Command::RemoveWorkload { namespace: "default".into(), name: name.into() }
    }

    fn next(queue: &Queue) -> Option<Turn> {
        queue.next(Instant::now())
    }

    #[test]
    fn notifications_of_a_source_merge() {
        let queue = Queue::default();
        (0..1000).for_each(|_| queue.notify(1));
        queue.notify(0);
        assert!(matches!(next(&queue), Some(Turn::Sources(sources)) if sources == BTreeSet::from([0, 1])));
        assert!(next(&queue).is_none());
    }

    #[test]
    fn alike_commands_are_one_turn_and_sources_get_every_other_turn() {
        let queue = Queue::default();
        let commands = [removal("a"), Command::Stop, removal("b")];
        let _answers: Vec<_> = commands.into_iter().map(|command| queue.put(command)).collect();
        queue.notify(0);
        assert!(matches!(next(&queue), Some(Turn::Commands(together)) if together.len() == 2));
        assert!(matches!(next(&queue), Some(Turn::Sources(_))));
        assert!(matches!(next(&queue), Some(Turn::Commands(together)) if together.len() == 1));
        assert!(next(&queue).is_none());
    }

    #[test]
    fn a_waiting_thread_gets_what_arrives() {
        let queue = Queue::default();
        let other = queue.clone();
        let stop = std::thread::spawn(move || other.stop());
        assert!(matches!(queue.next(Instant::now() + Duration::from_secs(60)), Some(Turn::Stop)));
        stop.join().unwrap();
    }

    #[test]
    fn a_closed_queue_answers_no_command() {
        let queue = Queue::default();
        let answer = queue.put(removal("a")).unwrap();
        queue.close();
        answer.recv().unwrap_err();
        queue.carry_out(removal("b")).unwrap_err();
    }
}
