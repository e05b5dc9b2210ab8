//! What a tree of commands is made of, and how a line walks down it.
//!
//! A tree is data: nodes with a word or an argument, a line of help, what may follow and what the command is when the
//! line ends there. Parsing, help, completion and the reference all read the same nodes.

use super::args::{Args, Kind, Names, Value};
use super::words::Word;

/// Makes the command of a line that ends at a node. `None` only by a mistake in the tree, which a test finds.
pub type Build<T> = fn(&Args<'_>) -> Option<T>;

/// What a node is in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A keyword.
    Word(&'static str),
    /// An argument: its name in help and reference, and what it must be.
    Arg(&'static str, Kind),
}

/// A node of a tree of commands.
#[derive(Debug)]
pub struct Node<T: 'static> {
    /// The keyword or the argument.
    pub token: Token,
    /// How many letters a keyword must at least be given in; a word that is shorter does not mean it.
    pub least: usize,
    /// One line of help, without a full stop.
    pub help: &'static str,
    /// The command of a line that ends here.
    pub build: Option<Build<T>>,
    /// What may follow.
    pub next: &'static [Self],
    /// What may follow in any order, each at most once; the command stays the one of this node.
    pub options: &'static [Self],
}

/// A keyword.
pub const fn word<T>(word: &'static str, help: &'static str) -> Node<T> {
    Node { token: Token::Word(word), least: 0, help, build: None, next: &[], options: &[] }
}

/// An argument.
pub const fn arg<T>(name: &'static str, kind: Kind, help: &'static str) -> Node<T> {
    Node { token: Token::Arg(name, kind), least: 0, help, build: None, next: &[], options: &[] }
}

impl<T> Node<T> {
    /// A line may end here.
    #[must_use]
    pub const fn run(mut self, build: Build<T>) -> Self {
        self.build = Some(build);
        self
    }

    /// Fewer letters than these do not mean this keyword: they are left to another one that begins like it.
    #[must_use]
    pub const fn at_least(mut self, letters: usize) -> Self {
        self.least = letters;
        self
    }

    /// What may follow.
    #[must_use]
    pub const fn then(mut self, next: &'static [Self]) -> Self {
        self.next = next;
        self
    }

    /// What may follow in any order.
    #[must_use]
    pub const fn with(mut self, options: &'static [Self]) -> Self {
        self.options = options;
        self
    }
}

/// Why a line is no command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistake {
    /// Column of the bad word in bytes, from 0; where a missing one would stand.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
    /// What is possible there.
    pub possible: Vec<String>,
}

/// Something that can be typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What can be typed; in angle brackets when it stands for something else.
    pub word: String,
    /// What it does.
    pub help: String,
    /// Whether Tab may type it.
    pub literal: bool,
}

impl Hint {
    /// A word that can be typed as it is.
    #[must_use]
    pub fn literal(word: &str, help: &str) -> Self {
        Self { word: word.to_owned(), help: help.to_owned(), literal: true }
    }

    /// What stands for something else.
    #[must_use]
    pub fn stand_in(word: &str, help: &str) -> Self {
        Self { word: word.to_owned(), help: help.to_owned(), literal: false }
    }
}

/// A place in a tree, and what was gathered on the way.
pub struct Place<'a, T: 'static> {
    /// What may follow by itself.
    next: &'static [Node<T>],
    /// The latest node with options, and those that were used.
    base: Option<&'static Node<T>>,
    used: Vec<&'static str>,
    /// The command of a line that ends here.
    pub build: Option<Build<T>>,
    /// The arguments so far.
    pub args: Args<'a>,
    names: &'a dyn Names,
}

impl<'a, T> Place<'a, T> {
    /// The top of a tree. `level` is where `edit` went to.
    pub fn top(root: &'static [Node<T>], level: &'a [String], names: &'a dyn Names) -> Self {
        Self { next: root, base: None, used: Vec::new(), build: None, args: Args::new(level), names }
    }

    /// The nodes that may follow.
    fn candidates(&self) -> Vec<&'static Node<T>> {
        let options = self.base.filter(|_| self.next.is_empty() || self.build.is_some());
        let unused = |node: &&'static Node<T>| match node.token {
            Token::Word(word) => !self.used.contains(&word),
            Token::Arg(..) => true,
        };
        self.next.iter().chain(options.iter().flat_map(|base| base.options).filter(unused)).collect()
    }

    /// Goes along words.
    ///
    /// # Errors
    /// The first word that means nothing here, or several things.
    pub fn walk(mut self, words: &[Word]) -> Result<Self, Mistake> {
        let mut rest = words;
        while let [word, behind @ ..] = rest {
            let node = self.choose(word)?;
            rest = match node.token {
                Token::Arg(name, kind) if kind.takes_rest() => {
                    self.args.put(name, Value::Rest(rest.to_vec()));
                    &[]
                }
                Token::Arg(name, kind) => {
                    let value =
                        kind.read(word, &self.args).map_err(|reason| self.mistake(word.start, reason))?;
                    self.args.put(name, value);
                    behind
                }
                Token::Word(keyword) => {
                    self.args.put(keyword, Value::Flag);
                    behind
                }
            };
            self.step(node);
        }
        Ok(self)
    }

    fn step(&mut self, node: &'static Node<T>) {
        let option =
            self.base.is_some_and(|base| base.options.iter().any(|option| core::ptr::eq(option, node)));
        if let (true, Token::Word(word)) = (option, node.token) {
            self.used.push(word);
        }
        if node.build.is_some() {
            self.build = node.build;
            self.base = Some(node);
            self.used.clear();
        } else if node.next.is_empty() {
            // The end of an option: the command is the one that it belongs to.
            self.build = self.base.and_then(|base| base.build);
        } else {
            self.build = None;
        }
        self.next = node.next;
    }

    /// The node that a word means. An exact keyword comes first, then a live name, then the beginning of a keyword
    /// that fits no other, then whatever else an argument accepts.
    fn choose(&self, word: &Word) -> Result<&'static Node<T>, Mistake> {
        let candidates = self.candidates();
        let keywords = |wanted: &dyn Fn(&str) -> bool| {
            let fits = |node: &&&'static Node<T>| match node.token {
                Token::Word(keyword) => !word.quoted && word.text.len() >= node.least && wanted(keyword),
                Token::Arg(..) => false,
            };
            candidates.iter().filter(fits).copied().collect::<Vec<_>>()
        };
        if let Some(node) = keywords(&|keyword| keyword == word.text).first() {
            return Ok(node);
        }
        let beginnings = keywords(&|keyword| keyword.starts_with(&word.text));
        let argument = candidates.iter().copied().find(|node| match node.token {
            Token::Arg(_, kind) => kind.takes_rest() || kind.read(word, &self.args).is_ok(),
            Token::Word(_) => false,
        });
        let live = |node: &&Node<T>| match node.token {
            Token::Arg(_, kind) => kind.live(&self.args, self.names).contains(&word.text),
            Token::Word(_) => false,
        };
        match (&beginnings[..], argument) {
            (_, Some(node)) if !beginnings.is_empty() && live(&node) => Ok(node),
            ([node], _) => Ok(node),
            ([], Some(node)) => Ok(node),
            ([], None) => Err(self.mistake(word.start, self.why_not(word, &candidates))),
            (several, _) => {
                let possible = several.iter().filter_map(|node| keyword(node)).map(str::to_owned).collect();
                let reason = "this may mean several words".to_owned();
                Err(Mistake { column: word.start, reason, possible })
            }
        }
    }

    fn why_not(&self, word: &Word, candidates: &[&'static Node<T>]) -> String {
        match candidates {
            [] => "nothing more belongs here".to_owned(),
            [node] => match node.token {
                Token::Arg(_, kind) => kind.read(word, &self.args).err().unwrap_or_default(),
                Token::Word(_) => "unknown word".to_owned(),
            },
            _ => "unknown word".to_owned(),
        }
    }

    fn mistake(&self, column: usize, reason: String) -> Mistake {
        let possible =
            self.hints("").into_iter().filter(|hint| hint.word != ENTER).map(|hint| hint.word).collect();
        Mistake { column, reason, possible }
    }

    /// What a line that ends here lacks.
    #[must_use]
    pub fn missing(&self, column: usize) -> Mistake {
        self.mistake(column, "something is missing here".to_owned())
    }

    /// What can be typed here that begins with `begun`.
    #[must_use]
    pub fn hints(&self, begun: &str) -> Vec<Hint> {
        let mut hints = Vec::new();
        for node in self.candidates() {
            match node.token {
                Token::Word(word) => hints.push(Hint::literal(word, node.help)),
                Token::Arg(name, kind) => {
                    let live = kind.live(&self.args, self.names);
                    if live.is_empty() || !kind.only_live() {
                        hints.push(Hint::stand_in(&format!("<{name}>"), node.help));
                    }
                    hints.extend(live.iter().map(|name| Hint::literal(name, node.help)));
                }
            }
        }
        let exact = hints.iter().any(|hint| hint.literal && hint.word == begun);
        // A whole word hides the longer ones only from those who run it; whoever asks sees them all.
        hints.retain(|hint| !hint.literal || hint.word.starts_with(begun));
        if exact || hints.iter().any(|hint| hint.literal) && !begun.is_empty() {
            hints.retain(|hint| hint.literal);
        }
        if begun.is_empty() && self.build.is_some() {
            hints.push(Hint::stand_in(ENTER, "run this command"));
        }
        hints
    }

    /// The argument that takes all the rest of the line here, if there is one.
    #[must_use]
    pub fn rest_kind(&self) -> Option<Kind> {
        self.candidates().iter().find_map(|node| match node.token {
            Token::Arg(_, kind) if kind.takes_rest() => Some(kind),
            Token::Arg(..) | Token::Word(_) => None,
        })
    }
}

/// What stands for the end of the line in help.
pub const ENTER: &str = "<Enter>";

const fn keyword<T>(node: &Node<T>) -> Option<&'static str> {
    match node.token {
        Token::Word(word) => Some(word),
        Token::Arg(..) => None,
    }
}
