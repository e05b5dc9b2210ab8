//! The bill of materials: CycloneDX 1.5, in JSON.

use super::{Contents, Crate, Part};
use crate::artifact;
use crate::host;
use crate::slot::Slot;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::Command;

/// Renders the bill of materials of `slot`.
///
/// # Errors
/// When the time of the sources cannot be printed.
pub fn render(slot: &Slot, contents: &Contents) -> Result<String> {
    let version = slot.edition.version.to_string();
    let own = format!("bascule-{}@{version}", slot.board);
    let mut components: Vec<Value> = contents.parts.iter().map(part).collect();
    components.extend(contents.crates.iter().map(component));
    let mut firmware: Vec<String> = contents.parts.iter().map(part_reference).collect();
    let daemon = contents.crates.iter().find(|one| one.id.0 == "bascule");
    firmware.extend(daemon.map(crate_reference));
    let mut dependencies = vec![json!({ "ref": own, "dependsOn": firmware })];
    dependencies.extend(contents.crates.iter().map(|one| {
        let uses: Vec<String> = one.uses.iter().map(reference).collect();
        json!({ "ref": crate_reference(one), "dependsOn": uses })
    }));
    // The serial number is a fingerprint of the contents, so that the same build makes the same bill.
    let seed = artifact::sha256(format!("{own}\n{components:?}\n{dependencies:?}").as_bytes());
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": uuid(&seed),
        "version": 1,
        "metadata": {
            "timestamp": timestamp(slot.source.time)?,
            "tools": { "components": [{
                "type": "application",
                "name": "bascule-image",
                "version": env!("CARGO_PKG_VERSION"),
            }] },
            "component": {
                "type": "firmware",
                "bom-ref": own,
                "name": format!("bascule-{}", slot.board),
                "version": version,
                "properties": [
                    { "name": "bascule:commit", "value": slot.source.commit },
                    { "name": "bascule:kind", "value": slot.edition.kind.to_string() },
                ],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

fn part(part: &Part) -> Value {
    let mut value = json!({
        "type": part.kind,
        "bom-ref": part_reference(part),
        "name": part.name,
        "version": part.version,
        "licenses": [{ "expression": part.license }],
        "externalReferences": [{ "type": "distribution", "url": part.source.split(' ').next() }],
    });
    if let Some(purl) = &part.purl {
        value["purl"] = json!(purl);
    }
    value
}

fn component(one: &Crate) -> Value {
    let (name, version) = &one.id;
    let mut value = json!({
        "type": "library",
        "bom-ref": crate_reference(one),
        "name": name,
        "version": version,
        "licenses": [{ "expression": expression(&one.license) }],
    });
    // The crates of this tree are at no registry.
    if let Some(checksum) = &one.checksum {
        value["purl"] = json!(format!("pkg:cargo/{name}@{version}"));
        value["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    value
}

/// Old crates write `/` where SPDX says `OR`.
pub(super) fn expression(license: &str) -> String {
    license.replace(" / ", "/").replace('/', " OR ")
}

fn reference((name, version): &(String, String)) -> String {
    format!("crate:{name}@{version}")
}

fn crate_reference(one: &Crate) -> String {
    reference(&one.id)
}

fn part_reference(part: &Part) -> String {
    format!("part:{}@{}", part.name, part.version)
}

/// A UUID of version 8 (RFC 9562, made by the application) from hexadecimal digits.
fn uuid(digits: &str) -> String {
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
}

fn timestamp(seconds: u32) -> Result<String> {
    let mut date = Command::new("date");
    date.args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"]);
    Ok(host::output(&mut date)?.trim().to_owned())
}
