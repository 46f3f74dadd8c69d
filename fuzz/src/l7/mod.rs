//! HTTP: the split of the bytes makes no difference, and a forwarded message parses to itself.

mod body;
mod head;
mod matching;
mod reading;

use crate::input::Input;

/// Checks one input: the first byte selects the kind of message, the second the split.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let (kind, cuts) = (input.byte(), input.byte());
    match kind % 4 {
        0 => head::request(input.rest(), cuts),
        1 => head::response(input.rest(), cuts),
        2 => body::body(input.rest(), cuts),
        _ => matching::rules(input.rest(), cuts),
    }
}
