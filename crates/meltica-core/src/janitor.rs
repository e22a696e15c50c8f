//! One background thread per process, for work that may take long and must not delay a feed or a host.

#[cfg(not(loom))]
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};

type Task = Box<dyn FnOnce() + Send>;

/// Runs `task` soon, on the janitor's thread. Tasks run one at a time, in order.
#[cfg(not(loom))]
pub fn run(task: impl FnOnce() + Send + 'static) {
    static TASKS: OnceLock<Mutex<mpsc::Sender<Task>>> = OnceLock::new();
    let start = || {
        let (sender, tasks) = mpsc::channel::<Task>();
        let work = move || tasks.into_iter().for_each(|task| task());
        // Without a thread the receiver is dropped, and each task runs where it is sent.
        drop(std::thread::Builder::new().name("meltica-janitor".into()).spawn(work));
        Mutex::new(sender)
    };
    let sent = TASKS.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner).send(Box::new(task));
    if let Err(mpsc::SendError(task)) = sent {
        task();
    }
}

/// Runs `task` at once: a model has no background threads of its own.
#[cfg(loom)]
pub fn run(task: impl FnOnce() + Send + 'static) {
    let task: Task = Box::new(task);
    task();
}

/// Drops `value` on the janitor's thread.
pub fn drop_later<T: Send + 'static>(value: T) {
    run(move || drop(value));
}

/// Keeps the janitor from running later tasks until the returned value is dropped.
#[cfg(all(test, not(loom)))]
#[must_use]
pub fn hold() -> mpsc::Sender<()> {
    let (held, released) = mpsc::channel();
    let (started, wait) = mpsc::channel::<()>();
    run(move || {
        drop(started);
        while released.recv() == Ok(()) {}
    });
    while wait.recv() == Ok(()) {}
    held
}

/// Waits until the tasks that were sent so far have run.
#[cfg(all(test, not(loom)))]
pub fn settle() {
    let (done, wait) = mpsc::channel();
    run(move || drop(done));
    while wait.recv() == Ok(()) {}
}
