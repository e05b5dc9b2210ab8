//! A configuration file from outside.

use bascule_core::config::{Config, Document};

/// Reads a text in every way and checks what must hold of any text.
pub fn config_text(text: &str) {
    let read = Config::parse(text, "f");
    let document = match Document::parse(text, "f") {
        Ok(document) => document,
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(
                read.is_err() || text.contains("#~"),
                "the model reads what the document refuses: {problems:?}"
            );
            return;
        }
    };
    let printed = document.print();
    let again = Document::parse(&printed, "f")
        .unwrap_or_else(|problems| panic!("its own text is refused: {problems:?}\n{printed}"));
    assert_eq!(again.print(), printed, "printing is not stable");
    assert_eq!(again, document, "the printed text has another meaning\n{printed}");
    if let Ok(read) = read {
        let checked = Config::parse(&printed, "f")
            .unwrap_or_else(|problems| panic!("the printed text is refused: {problems:?}\n{printed}"));
        assert_eq!(checked.config, read.config, "what counts has changed\n{printed}");
        let typed = Document::of(&read.config);
        let typed = Config::parse(&typed.print(), "f").unwrap_or_else(|problems| {
            panic!("the document of a configuration is refused: {problems:?}\n{}", typed.print())
        });
        assert_eq!(typed.config, read.config, "print(parse(c)) == c");
    }
}
