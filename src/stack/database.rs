//! An SQLite database with one table, written byte by byte, so that it is the same with every version of SQLite. The format is that of
//! <https://www.sqlite.org/fileformat2.html>.

/// Bytes of a page.
const PAGE: usize = 4096;
/// Pages with rows.
const LEAVES: u32 = 254;
/// Rows of such a page.
const ROWS: u32 = 36;
/// Length of the text of a row.
const FILLER: usize = 100;
/// Length of the database.
pub(super) const SIZE: u64 = (LEAVES as u64 + 2) * PAGE as u64;

/// An integer as SQLite stores it: seven bits a byte, the high ones first.
fn varint(value: u32) -> Vec<u8> {
    let mut bytes = vec![(value & 0x7f) as u8];
    let mut left = value >> 7;
    while left > 0 {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.reverse();
    bytes
}

/// A page of a b-tree. `start` is where it begins in its page; `right` is the last child of an interior one.
fn page(start: usize, right: Option<u32>, cells: &[Vec<u8>]) -> Vec<u8> {
    let content: usize = cells.iter().map(Vec::len).sum();
    let first = PAGE - content;
    let mut page = vec![0; start];
    page.push(if right.is_some() { 5 } else { 13 });
    // No free blocks.
    page.extend([0, 0]);
    page.extend((cells.len() as u16).to_be_bytes());
    page.extend((first as u16).to_be_bytes());
    // No fragments.
    page.push(0);
    page.extend(right.map(u32::to_be_bytes).into_iter().flatten());
    let mut at = first;
    for cell in cells {
        page.extend((at as u16).to_be_bytes());
        at += cell.len();
    }
    page.resize(first, 0);
    page.extend(cells.iter().flatten());
    page
}

/// A row of a table: its number and a record of columns, each a type and its bytes.
fn row(id: u32, columns: &[(u32, &[u8])]) -> Vec<u8> {
    let types: Vec<u8> = columns.iter().flat_map(|(kind, _)| varint(*kind)).collect();
    // The length of the header counts itself, in one byte while it is short.
    let mut record = varint(types.len() as u32 + 1);
    record.extend(types);
    columns.iter().for_each(|(_, bytes)| record.extend(*bytes));
    let mut cell = varint(record.len() as u32);
    cell.extend(varint(id));
    cell.extend(record);
    cell
}

fn text(bytes: &[u8]) -> (u32, &[u8]) {
    (13 + 2 * bytes.len() as u32, bytes)
}

/// The database. `random` gives the bytes of which the rows' text is made.
pub(super) fn content(mut random: impl FnMut(&mut [u8])) -> Vec<u8> {
    /// Types of a column: NULL, which an INTEGER PRIMARY KEY is in the record; the number 0.
    const NULL: (u32, &[u8]) = (0, &[]);
    const ZERO: (u32, &[u8]) = (8, &[]);
    let schema = row(
        1,
        &[
            text(b"table"),
            text(b"items"),
            text(b"items"),
            // One byte: the page where the table begins.
            (1, &[2]),
            text(b"CREATE TABLE items(id INTEGER PRIMARY KEY, value INTEGER NOT NULL, filler TEXT NOT NULL)"),
        ],
    );
    let mut database = page(100, None, &[schema]);
    let mut header = b"SQLite format 3\0".to_vec();
    header.extend((PAGE as u16).to_be_bytes());
    // Journal in a file of its own, no reserved bytes, and three fractions that have no other value.
    header.extend([1, 1, 0, 64, 32, 32]);
    // Change counter, pages, free pages (first, count), schema cookie and format, cache, vacuum, encoding UTF-8, versions of users.
    for value in [1, LEAVES + 2, 0, 0, 1, 4, 0, 0, 1, 0, 0, 0] {
        header.extend(value.to_be_bytes());
    }
    header.resize(92, 0);
    // The change counter for which the number of pages holds, and who wrote it.
    header.extend(1u32.to_be_bytes());
    header.extend(3_040_000u32.to_be_bytes());
    database.splice(..header.len(), header);

    let children: Vec<Vec<u8>> = (1..LEAVES)
        .map(|leaf| {
            let mut cell = (leaf + 2).to_be_bytes().to_vec();
            cell.extend(varint(leaf * ROWS));
            cell
        })
        .collect();
    database.extend(page(0, Some(LEAVES + 2), &children));
    for leaf in 0..LEAVES {
        let rows: Vec<Vec<u8>> = (1..=ROWS)
            .map(|n| {
                let mut filler = [0; FILLER];
                random(&mut filler);
                filler.iter_mut().for_each(|byte| *byte = b'a' + (*byte & 15));
                row(leaf * ROWS + n, &[NULL, ZERO, text(&filler)])
            })
            .collect();
        database.extend(page(0, None, &rows));
    }
    database
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stored_seven_bits_a_byte() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [127]);
        assert_eq!(varint(128), [0x81, 0]);
        assert_eq!(varint(9144), [0xc7, 0x38]);
        assert_eq!(varint(16384), [0x81, 0x80, 0]);
    }

    #[test]
    fn sqlite_finds_the_database_in_order() {
        let bytes = content(|filler| filler.fill(7));
        assert_eq!(bytes.len() as u64, SIZE);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("items.db");
        std::fs::write(&path, bytes).unwrap();
        let sql =
            "PRAGMA integrity_check; SELECT count(*), min(id), max(id), sum(value), min(length(filler)) FROM items;";
        match std::process::Command::new("sqlite3").arg(&path).arg(sql).output() {
            Ok(output) => {
                assert_eq!(String::from_utf8_lossy(&output.stderr), "");
                assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n9144|1|9144|0|100\n");
            }
            Err(e) => eprintln!("skipped: sqlite3: {e}"),
        }
    }
}
