//! Prints lists as a table or as JSON.

use crate::outcome::Outcome;
use crate::session::Session;
use crate::table::Table;
use api::ApiRequest;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Requests a list from the agent and prints it; `cells` returns the row of an item.
pub(crate) fn show<T, const N: usize>(
    session: &Session,
    request: ApiRequest,
    header: [&'static str; N],
    cells: impl Fn(&T) -> [String; N],
) -> anyhow::Result<Outcome>
where
    T: Serialize + DeserializeOwned,
{
    let items: Vec<T> = session.agent()?.call(request)?;
    print(session, &items, header, cells)
}

/// Prints a list; `cells` returns the row of an item.
pub(crate) fn print<T: Serialize, const N: usize>(
    session: &Session,
    items: &[T],
    header: [&'static str; N],
    cells: impl Fn(&T) -> [String; N],
) -> anyhow::Result<Outcome> {
    if session.is_json() {
        session.print_json(&items)?;
        return Ok(Outcome::Holds);
    }
    let mut table = Table::new(header);
    for item in items {
        table.push(cells(item));
    }
    session.print_table(&table)?;
    Ok(Outcome::Holds)
}
