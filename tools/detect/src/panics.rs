//! Panics that become errors.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread becomes an error.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
    /// Where the last such panic was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs something in which a panic is one of the answers: what it says, and where. It is not printed; what other threads
/// panic about still is, by the hook that was there before.
pub(crate) fn silently<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match EXPECTED.get() {
            true => PLACE.set(info.location().map_or(String::new(), ToString::to_string)),
            false => before(info),
        }));
    });
    EXPECTED.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(false);
    outcome.map_err(|panic| format!("{} ({})", message(&*panic), PLACE.take()))
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "it panicked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_answer_and_the_next_one_is_heard_again() {
        assert_eq!(silently(|| 3), Ok(3));
        let answer = silently(|| panic!("no {}", "way")).unwrap_err();
        assert!(
            answer.starts_with("no way (") && answer.contains("panics.rs:"),
            "{answer}"
        );
        assert!(!EXPECTED.get());
    }
}
