//! Memory that the compiler reads anew at each access, so that the kernel's verifier has less to follow.

use core::hint::black_box;
use core::ops::{Deref, DerefMut};

/// A place in memory of which the compiler remembers nothing from one access to the next.
///
/// The verifier follows each path through a program until registers and stack equal an earlier path's.
/// A value that the compiler carries in a register from stage to stage keeps two paths apart, and each such value doubles
/// the number of paths. The contents of maps are not part of the comparison: paths that differ only in the contents of the
/// place become one where the next stage begins.
///
/// A call that takes a plain reference to the place is one access. Within the call the compiler optimizes as usual.
///
/// An access costs no instruction: a barrier over memory makes the compiler forget the contents. For the barrier to cover the
/// place, the compiler must not know where the pointer comes from, which costs four instructions, once.
pub(crate) struct Fresh<'a, T>(&'a mut T);

impl<'a, T> Fresh<'a, T> {
    /// Wraps a place; in the kernel the place is in a map.
    #[inline(always)]
    pub(crate) fn new(place: &'a mut T) -> Self {
        Self(black_box(place))
    }
}

impl<T> Deref for Fresh<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        black_box(());
        self.0
    }
}

impl<T> DerefMut for Fresh<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        black_box(());
        self.0
    }
}
