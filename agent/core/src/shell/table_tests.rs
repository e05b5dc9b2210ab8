use proptest::prelude::*;

use super::*;

fn table() -> Table {
    Table::new(&["SERVICE", "REAL SERVER", ">WEIGHT", "DETAIL"])
}

#[test]
fn columns_are_as_wide_as_their_cells_and_numbers_stand_on_the_right() {
    let mut table = table();
    table.row(["web", "10.1.0.21:80", "100", "12 ms"]);
    table.row(["dns", "10.1.0.22:53", "1", ""]);
    assert_eq!(
        table.lines(),
        [
            "SERVICE REAL SERVER  WEIGHT DETAIL",
            "web     10.1.0.21:80    100 12 ms",
            "dns     10.1.0.22:53      1",
        ]
    );
}

#[test]
fn a_cell_that_does_not_fit_gets_its_line_and_the_row_goes_on_below() {
    let mut table = Table::new(&["SOURCE", "VIRTUAL", "REAL", ">EXPIRES"]);
    let long = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    table.row([long, long, long, "900"]);
    table.row(["192.0.2.1:1024", "10.0.0.1:80", "10.1.0.1:80", "5"]);
    assert_eq!(
        table.lines(),
        [
            "SOURCE                  VIRTUAL                 REAL                    EXPIRES",
            "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            "                        [2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            "                                 [2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            "                                                                            900",
            "192.0.2.1:1024          10.0.0.1:80             10.1.0.1:80                   5",
        ]
    );
}

#[test]
fn a_long_last_cell_is_wrapped_below_itself() {
    let mut table = Table::new(&["SERVER", "DETAIL"]).indented(2);
    table.row(["10.1.0.21:80", &"connection refused by the server at last ".repeat(3)]);
    assert_eq!(
        table.lines(),
        [
            "  SERVER       DETAIL",
            "  10.1.0.21:80 connection refused by the server at last connection refused by",
            "               the server at last connection refused by the server at last",
        ]
    );
}

#[test]
fn facts_stand_below_each_other() {
    let lines = facts(&[("kernel", "Linux 7.2"), ("command line", "word ".repeat(20).trim_end())]);
    assert_eq!(
        lines,
        [
            "kernel        Linux 7.2",
            "command line  word word word word word word word word word word word word word",
            "              word word word word word word word",
        ]
    );
}

#[test]
fn ages_show_their_two_largest_units() {
    let ages = [9, 61, 3_661, 86_400 * 5 + 7_200].map(|s| age(Duration::from_secs(s)));
    assert_eq!(ages, ["9s", "1m01s", "1h01m", "5d02h"]);
}

#[test]
fn units_leave_few_digits() {
    assert_eq!([0, 512, 1_023, 1_024, 1_536].map(binary), ["0 B", "512 B", "1023 B", "1.0 KiB", "1.5 KiB"]);
    assert_eq!(binary(u64::MAX), "15.9 EiB");
    assert_eq!([950, 12_345, 123_456, 4_100_000].map(decimal), ["950", "12.3 k", "123 k", "4.1 M"]);
    assert_eq!(decimal(u64::MAX), "18.4 E");
}

#[test]
fn a_text_keeps_its_indentation_and_long_lines_are_cut() {
    assert_eq!(verbatim("a\n  b\tc\n"), ["a", "  b    c"]);
    let lines = verbatim(&"x".repeat(160));
    assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [79, 79, 10]);
}

proptest! {
    #[test]
    fn no_line_of_a_table_is_too_wide_and_no_cell_is_lost(
        rows in prop::collection::vec(prop::collection::vec("[!-~]{0,60}", 1..8), 1..6),
        indent in 0_usize..6,
    ) {
        let titles = ["A", ">BB", "CCC", ">DDDD", "EEEEE", ">F", "G"];
        let mut table = Table::new(&titles).indented(indent);
        for row in &rows {
            table.row(row.iter().cloned());
        }
        let lines = table.lines();
        let text = lines.join("\n");
        for line in &lines {
            prop_assert!(line.len() <= WIDTH, "{line}");
        }
        for cell in rows.iter().flat_map(|row| row.iter().take(titles.len())) {
            prop_assert!(text.contains(cell.as_str()), "{cell} in\n{text}");
        }
    }

    #[test]
    fn no_fact_is_too_wide_or_other_than_ascii(name in "[a-z ]{1,30}", value in "\\PC{0,400}") {
        for line in facts(&[(name, value)]) {
            prop_assert!(line.len() <= WIDTH && line.bytes().all(|b| (0x20..0x7f).contains(&b)), "{line}");
        }
    }

    #[test]
    fn wrapped_text_fits_whatever_it_is(head in "[a-z ]{0,30}", text in "\\PC{0,400}") {
        let mut lines = Vec::new();
        wrap(&mut lines, &head, &text);
        prop_assert!(lines.iter().all(|line| line.len() <= WIDTH));
    }
}
