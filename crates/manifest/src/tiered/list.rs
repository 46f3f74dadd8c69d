//! Lists that have a least and a greatest length.

use crate::item::Item;

/// The values of a list that must have some, but not too many.
pub(super) fn filled<'a>(item: &Item<'a>, most: usize) -> Vec<Item<'a>> {
    let items = item.list();
    match items.len() {
        0 => item.error(format!("an empty list says nothing; list 1 to {most}")),
        many if many > most => item.error(format!("{many} entries; at most {most} may stand in one list")),
        _ => {}
    }
    items
}
