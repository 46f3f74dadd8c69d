//! Lists with a minimum and a maximum length.

use crate::item::Item;

/// The values of a list that must not be empty or too long.
pub(super) fn filled<'a>(item: &Item<'a>, most: usize) -> Vec<Item<'a>> {
    let items = item.list();
    match items.len() {
        0 => item.error(format!("must not be empty; list 1 to {most}")),
        many if many > most => item.error(format!("{many} entries; at most {most} are allowed in one list")),
        _ => {}
    }
    items
}
