//! The state partition, whatever it holds.

use bascule_core::slot::{Block, Evidence, RECORD_LEN, Record, SlotName, choose, empty_block, loader};

/// Takes the bytes for both copies of the record and of the loader, a quarter each; checks what must hold of any.
pub fn boot_record(bytes: &[u8]) {
    let mut quarters = bytes.chunks(bytes.len().div_ceil(4).max(1));
    let [zero, one, used, other] = [(); 4].map(|()| block(quarters.next().unwrap_or_default()));
    let records = [zero, one];
    for copy in &records {
        if let Ok(record) = Record::parse(copy) {
            assert_eq!(Record::parse(&record.print()).as_ref(), Ok(&record));
            assert!(record.other() != Some(record.first()));
        }
    }
    let choice = choose(&records);
    assert!(choice.next < 2);
    if let Ok(record) = &choice.record {
        assert_eq!(
            Record::parse(&records[1 - choice.next]).as_ref(),
            Ok(record),
            "the copy that counts is kept"
        );
        assert!(choice.seen >= Some(record.generation()));
    }
    for loads in [[true, true], [true, false], [false, true], [false, false]] {
        let loads = |slot| loads[usize::from(slot == SlotName::B)];
        let boot = loader::boot(&records, &[used, other], loads, true);
        let Some(at) = boot.started else { continue };
        assert!(loads(at.slot), "what does not load does not start");
        let words = at.to_string();
        assert_eq!(Evidence::of(words.split(' ')), Ok(at));
        if let Ok(record) = &choice.record {
            settle(record, &at);
        }
    }
}

/// No evidence makes an operation lower the floor or go back in generations.
fn settle(record: &Record, at: &Evidence) {
    let changed = [
        record.booted(at).ok().flatten(),
        record.crashed(at, "panic").ok().flatten(),
        record.confirm(at, "fine").ok(),
        record.roll_back(at, "worse").ok(),
        record.cancel(at).ok(),
    ];
    for next in changed.into_iter().flatten() {
        assert!(next.floor() >= record.floor() && next.generation() > record.generation());
        assert_eq!(Record::parse(&next.print()), Ok(next));
    }
}

/// As many of the bytes as fit, with the padding of a record.
fn block(bytes: &[u8]) -> Block {
    let mut block = [b'#'; RECORD_LEN];
    if bytes.len() < RECORD_LEN && !bytes.starts_with(b"#") {
        // Short inputs begin with lines: what stands before them is always the same.
        block = empty_block();
        let start = block.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for (byte, from) in block.iter_mut().skip(start).zip(bytes) {
            *byte = *from;
        }
        return block;
    }
    for (byte, from) in block.iter_mut().zip(bytes) {
        *byte = *from;
    }
    block
}
