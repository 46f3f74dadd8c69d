//! Memory that the compiler reads anew at each access, so that the kernel's verifier has less to follow.

use core::hint::black_box;
use core::ops::{Deref, DerefMut};

/// A place in memory of which the compiler remembers nothing from one access to the next.
///
/// The verifier follows each path through a program until the path's registers and stack look like those of a path
/// before. What the compiler carries in a register from stage to stage keeps paths apart that differ in this value only,
/// and their number doubles at each such value. The contents of a map are not part of what the verifier compares: paths
/// that differ in the contents of the place become one where the next stage begins.
///
/// A stage takes a plain reference, which is one access; within the stage the compiler optimizes as ever.
pub(crate) struct Fresh<'a, T>(&'a mut T);

impl<'a, T> Fresh<'a, T> {
    /// Wraps a place; in the kernel the place is in a map.
    #[inline(always)]
    pub(crate) fn new(place: &'a mut T) -> Self {
        Self(place)
    }
}

impl<T> Deref for Fresh<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        black_box(self.0)
    }
}

impl<T> DerefMut for Fresh<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        black_box(self.0)
    }
}
