//! A pool of buffers that come back by themselves.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

/// Buffers to take and to get back: a [`Pooled`] returns to its pool when it is dropped, wherever that is.
///
/// After warm-up nothing is allocated; the pool holds as many buffers as were ever out at once. A buffer
/// comes back as it was left: clear or overwrite it.
///
/// ```
/// use intertwine_flow::Pool;
/// let pool = Pool::new(|| vec![0.0f32; 1024]);
/// let mut tokens = pool.take();
/// tokens[0] = 1.0;
/// let address = tokens.as_ptr();
/// drop(tokens);
/// assert_eq!(pool.take().as_ptr(), address);
/// ```
pub struct Pool<T>(Arc<Inner<T>>);

struct Inner<T> {
    free: Mutex<Vec<T>>,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

impl<T> Inner<T> {
    fn free(&self) -> std::sync::MutexGuard<'_, Vec<T>> {
        // A push or pop either happened or did not: a poisoned list is still a list.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Pool<T> {
    /// An empty pool that makes buffers with `make` when it has none.
    pub fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            free: Mutex::new(Vec::new()),
            make: Box::new(make),
        }))
    }

    /// Takes a buffer, made new only when none has come back.
    pub fn take(&self) -> Pooled<T> {
        let free = self.0.free().pop();
        Pooled {
            value: Some(free.unwrap_or_else(|| (self.0.make)())),
            home: Some(self.clone()),
        }
    }
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default + 'static> Default for Pool<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("free", &self.0.free().len())
            .finish_non_exhaustive()
    }
}

/// A buffer that returns to its [`Pool`] when it is dropped; by `From`, also one that has no pool.
pub struct Pooled<T> {
    /// `None` only while it is being taken out for good.
    value: Option<T>,
    home: Option<Pool<T>>,
}

impl<T> Pooled<T> {
    /// Keeps the buffer: it does not return to the pool.
    pub fn into_inner(mut self) -> T {
        self.value
            .take()
            .expect("only `into_inner` and `drop` empty it, and both end it")
    }
}

impl<T> From<T> for Pooled<T> {
    fn from(value: T) -> Self {
        Self {
            value: Some(value),
            home: None,
        }
    }
}

impl<T> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value
            .as_ref()
            .expect("only `into_inner` and `drop` empty it, and both end it")
    }
}

impl<T> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value
            .as_mut()
            .expect("only `into_inner` and `drop` empty it, and both end it")
    }
}

impl<T> Drop for Pooled<T> {
    fn drop(&mut self) {
        if let (Some(value), Some(home)) = (self.value.take(), &self.home) {
            home.0.free().push(value);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Pooled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
