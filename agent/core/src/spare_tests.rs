use super::*;

const OWNER: &str = "PARTUUID=6f0b6c3e-0000-4000-8000-000000000001";

fn file(folder: Folder, name: &str, length: usize) -> File {
    let content = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
    File::new(folder, name, content).unwrap()
}

fn contents(length: usize) -> Contents {
    let files = vec![file(Folder::Config, "bascule.toml", length), file(Folder::State, "users.toml", 200)];
    let (contents, out) = Contents::fit(OWNER, files);
    assert!(out.is_empty());
    contents
}

fn spare(generation: u64, length: usize) -> Spare {
    Spare { generation, taken: 1_790_000_000, contents: contents(length) }
}

#[test]
fn what_is_kept_is_read_again() {
    let spare = spare(7, 2_000);
    let mut place = spare.encode().unwrap();
    assert_eq!(length(&place), Ok(place.len()));
    assert_eq!(Spare::decode(&place, OWNER), Ok(spare.clone()));
    place.extend([0xff; 700]);
    assert_eq!(Spare::decode(&place, OWNER), Ok(spare), "an older, longer copy may follow");
    assert_eq!(Spare::decode(&place, "PARTUUID=another"), Err(Damage::Foreign));
}

#[test]
fn a_place_that_was_never_written_is_empty_and_another_form_is_unknown() {
    assert_eq!(Spare::decode(&[0; HEAD_LEN], OWNER), Err(Damage::Empty));
    assert_eq!(Spare::decode(&[b'#'; 4_096], OWNER), Err(Damage::Unknown));
    assert_eq!(Spare::decode(&[], OWNER), Err(Damage::Torn));
    let mut later = spare(1, 10).encode().unwrap();
    later[7] = 2;
    assert_eq!(Spare::decode(&later, OWNER), Err(Damage::Unknown));
}

#[test]
fn a_copy_that_is_cut_anywhere_or_has_any_bit_flipped_is_refused() {
    let bytes = spare(3, 900).encode().unwrap();
    for cut in 0..bytes.len() {
        assert!(Spare::decode(&bytes[..cut], OWNER).is_err(), "cut at {cut}");
        let mut zeroed = bytes.clone();
        zeroed[cut..].fill(0);
        // What is zero already cannot be lost.
        assert!(zeroed == bytes || Spare::decode(&zeroed, OWNER).is_err(), "zero from {cut}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Spare::decode(&flipped, OWNER).is_err(), "bit {bit}");
    }
}

#[test]
fn sectors_of_two_copies_never_make_a_third() {
    let (old, new) = (spare(3, 2_300).encode().unwrap(), spare(4, 2_301).encode().unwrap());
    let sectors = new.len().div_ceil(512);
    for mask in 0_u32..1 << sectors {
        let mut torn = old.clone();
        torn.resize(new.len(), 0);
        for sector in (0..sectors).filter(|sector| mask >> sector & 1 == 1) {
            let range = sector * 512..((sector + 1) * 512).min(new.len());
            torn[range.clone()].copy_from_slice(&new[range]);
        }
        match Spare::decode(&torn, OWNER) {
            Ok(found) => assert!(torn == new || torn.starts_with(&old), "{mask:b}: {}", found.generation),
            Err(damage) => assert_eq!(damage, Damage::Torn),
        }
    }
}

#[test]
fn no_length_is_believed_that_a_place_does_not_have() {
    let mut bytes = spare(1, 10).encode().unwrap();
    for wrong in [u32::MAX, 3 << 20, (3 << 20) - 51] {
        bytes[16..20].copy_from_slice(&wrong.to_le_bytes());
        assert_eq!(length(&bytes), Err(Damage::Torn), "{wrong}");
    }
    bytes[16..20].copy_from_slice(&((3_u32 << 20) - 52).to_le_bytes());
    assert_eq!(length(&bytes), Ok(PLACE_LEN));
    assert_eq!(Spare::decode(&bytes, OWNER), Err(Damage::Torn));
    // A payload with the right hash that promises more files and bytes than it has.
    for promise in
        [&[0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0, 0, 1, 0, 1, b'x', 0xff, 0xff, 0xff, 0xff, 0x0f]]
    {
        let mut copy = [&MAGIC[..], &[1; 8], &u32::try_from(promise.len()).unwrap().to_le_bytes()].concat();
        copy.extend(hash(&copy.clone(), promise));
        copy.extend(promise);
        assert_eq!(Spare::decode(&copy, ""), Err(Damage::Unknown));
    }
}

#[test]
fn a_name_that_leads_elsewhere_is_neither_made_nor_read() {
    for name in ["", ".", "..", "../passwd", "a/b", "a\0", &"x".repeat(256)] {
        assert_eq!(File::new(Folder::Config, name, vec![]), None, "{name:?}");
        let bad = File { folder: Folder::State, name: name.to_owned(), content: vec![] };
        let contents = Contents { owner: OWNER.to_owned(), files: vec![bad] };
        let bytes = Spare { generation: 1, taken: 0, contents }.encode().unwrap();
        assert_eq!(Spare::decode(&bytes, OWNER), Err(Damage::Unknown), "{name:?}");
    }
}

#[test]
fn what_does_not_fit_is_left_out_by_name_and_the_rest_fits() {
    let files = vec![
        file(Folder::Config, "bascule.toml", 1_000),
        file(Folder::Config, "huge", PLACE_LEN),
        file(Folder::State, "users.toml", 500),
        file(Folder::Config, "large", PLACE_LEN - 1_500),
        file(Folder::Config, "small", 10),
    ];
    let (kept, out) = Contents::fit(OWNER, files);
    assert_eq!(out, ["config/huge", "config/large"]);
    let paths: Vec<String> = kept.files().iter().map(File::path).collect();
    assert_eq!(paths, ["config/bascule.toml", "state/users.toml", "config/small"]);
    for length in PLACE_LEN - 400..PLACE_LEN {
        let (kept, _) = Contents::fit(
            OWNER,
            vec![
                file(Folder::Config, "x", 5),
                File { folder: Folder::Config, name: "y".repeat(NAME_MAX), content: vec![0; length] },
            ],
        );
        if kept.files.len() == 2 || length + 1 == PLACE_LEN {
            let bytes = Spare { generation: u64::MAX, taken: u64::MAX, contents: kept }.encode().unwrap();
            assert!(bytes.len() <= PLACE_LEN);
        }
    }
}

#[test]
fn the_newest_whole_copy_counts_and_is_overwritten_last() {
    let wanted = contents(9);
    let torn = || Err(Damage::Torn);
    assert_eq!(newest([torn(), Err(Damage::Empty)]), None);
    assert_eq!(newest([Ok(spare(2, 1)), Ok(spare(5, 2))]).unwrap().generation, 5);
    assert_eq!(newest([Ok(spare(2, 1)), torn()]).unwrap().generation, 2);
    assert_eq!(stale(&[torn(), torn()], &wanted), (vec![0, 1], 1));
    assert_eq!(stale(&[Ok(spare(5, 1)), Ok(spare(2, 2))], &wanted), (vec![1, 0], 6));
    assert_eq!(stale(&[Ok(spare(2, 1)), Ok(spare(5, 2))], &wanted), (vec![0, 1], 6));
    assert_eq!(stale(&[Ok(spare(2, 1)), torn()], &wanted), (vec![1, 0], 3));
}

#[test]
fn a_copy_that_holds_what_is_wanted_is_not_written_again() {
    let wanted = contents(9);
    assert_eq!(stale(&[Ok(spare(5, 9)), Ok(spare(5, 9))], &wanted).0, Vec::<usize>::new());
    assert_eq!(stale(&[Ok(spare(5, 9)), Err(Damage::Torn)], &wanted), (vec![1], 6));
    assert_eq!(stale(&[Ok(spare(5, 8)), Ok(spare(6, 9))], &wanted), (vec![0], 7));
}

#[test]
fn the_places_lie_behind_the_boot_records_and_within_the_partition() {
    let records =
        crate::slot::PLACES.iter().map(|(_, at)| at + crate::slot::RECORD_LEN as u64).max().unwrap();
    assert!(records + (1 << 20) <= PLACES[0]);
    assert_eq!(PLACES[0] + PLACE_LEN as u64, PLACES[1]);
    assert_eq!(PLACES[1] + PLACE_LEN as u64, 8 << 20);
}
