//! Tasks: the real, blocking code on stacks of its own, which stops before each call of the disk and whenever it would wait.
//!
//! A task runs on the thread that resumes it, so one thread is a whole world, and who is resumed next is the scheduler's choice
//! alone. A task that is dropped is a process that was killed: its stack unwinds, and what destructors ask of the disk
//! is refused.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

/// Why a task has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// It is about to do something that others can see.
    Step,
    /// It begins to wait for another task.
    Waits,
    /// It still waits.
    Blocked,
}

/// Which task of an instance: its name, and the partition that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskId {
    pub(super) name: &'static str,
    pub(super) partition: i32,
}

/// What is to become a task.
pub(super) struct Spawned {
    pub(super) id: TaskId,
    job: Box<dyn FnOnce()>,
}

/// How a resumed task has stopped.
pub(super) enum Stopped {
    Pause(Pause),
    Ended,
    Panicked(Box<dyn Any + Send>),
}

type Suspend = NonNull<Yielder<(), Pause>>;

thread_local! {
    /// The task that runs.
    static SUSPEND: Cell<Option<Suspend>> = const { Cell::new(None) };
    static CURRENT: Cell<(u8, TaskId)> = const { Cell::new((0, TaskId { name: "", partition: 0 })) };
    /// A task is being dropped.
    static DYING: Cell<bool> = const { Cell::new(false) };
    static SPAWNED: RefCell<Vec<Spawned>> = const { RefCell::new(Vec::new()) };
    /// Stacks of tasks that have ended: a new one costs two calls of the system.
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of a task's stack.
const STACK_BYTES: usize = 1 << 20;

pub(super) struct Task {
    pub(super) id: TaskId,
    /// Whether it waited when it was last resumed, and no other task of its instance has run since.
    pub(super) blocked: bool,
    coroutine: Option<Coroutine<(), Pause, ()>>,
    suspend: Rc<Cell<Option<Suspend>>>,
}

impl Task {
    pub(super) fn new(Spawned { id, job }: Spawned) -> Task {
        let suspend: Rc<Cell<Option<Suspend>>> = Rc::default();
        let own = suspend.clone();
        let stack = STACKS.with_borrow_mut(Vec::pop);
        let stack = stack.unwrap_or_else(|| DefaultStack::new(STACK_BYTES).expect("memory for a stack"));
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), Pause>, ()| {
            own.set(Some(NonNull::from(yielder)));
            SUSPEND.set(own.get());
            job();
        });
        Task { id, blocked: false, coroutine: Some(coroutine), suspend }
    }

    /// Goes on with it, as a part of this instance, until it stops again.
    pub(super) fn resume(&mut self, instance: u8) -> Stopped {
        let coroutine = self.coroutine.as_mut().expect("it is taken when it is dropped");
        SUSPEND.set(self.suspend.get());
        CURRENT.set((instance, self.id));
        let result = catch_unwind(AssertUnwindSafe(|| coroutine.resume(())));
        SUSPEND.set(None);
        match result {
            Ok(CoroutineResult::Yield(pause)) => Stopped::Pause(pause),
            Ok(CoroutineResult::Return(())) => Stopped::Ended,
            Err(panic) => Stopped::Panicked(panic),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        DYING.set(true);
        let mut coroutine = self.coroutine.take().expect("only this takes it");
        coroutine.force_unwind();
        STACKS.with_borrow_mut(|stacks| stacks.push(coroutine.into_stack()));
        DYING.set(false);
    }
}

/// Whether this is code of a task.
pub(super) fn is_simulated() -> bool {
    SUSPEND.get().is_some() || is_dying()
}

/// Whether a task is being killed: what its destructors do never happened.
pub(super) fn is_dying() -> bool {
    DYING.get()
}

/// Who runs: the instance and its task.
pub(super) fn current() -> (u8, TaskId) {
    CURRENT.get()
}

/// Another task of this instance, named for the partition of the one that runs.
pub(super) fn spawn(name: &'static str, job: Box<dyn FnOnce()>) {
    spawn_for(name, current().1.partition, job);
}

pub(super) fn spawn_for(name: &'static str, partition: i32, job: impl FnOnce() + 'static) {
    SPAWNED.with_borrow_mut(|spawned| spawned.push(Spawned { id: TaskId { name, partition }, job: Box::new(job) }));
}

/// What was spawned since the last time.
pub(super) fn take_spawned() -> Vec<Spawned> {
    SPAWNED.take()
}

/// Lets others go first.
pub(super) fn step() {
    suspend(Pause::Step);
}

fn suspend(pause: Pause) {
    if let Some(yielder) = SUSPEND.get().filter(|_| !is_dying()) {
        // SAFETY: the pointer is set while its coroutine runs, by `resume` and by the coroutine itself, and a yielder lives
        // as long as its coroutine's stack.
        #[allow(unsafe_code)]
        unsafe { yielder.as_ref() }.suspend(pause);
    }
}

/// Lets others go on, because this task waits.
pub(super) fn wait(begins: bool) {
    suspend(if begins { Pause::Waits } else { Pause::Blocked });
}
