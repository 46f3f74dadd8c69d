//! HTTP: what is parsed means the same however it is cut, and what is written is read as it was meant.

mod body;
mod head;
mod matching;
mod reading;

use crate::input::Input;

/// Checks one input: the first byte says what it is, the second how it is cut.
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
