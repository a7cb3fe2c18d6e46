//! Inputs for the fuzz targets: the examples of a corpus as they are, and what random changes make of them.
//!
//! Random bytes alone would end at the first check of a decoder. Each target has a folder in `tests/fuzz/corpora`. The
//! targets are in the modules `fuzz` of those whose functions they try: many of these are private.

use std::{fs, path::Path};

use bolero::TypeGenerator;

/// Counts the changed inputs of a target in the suite. BOLERO_RANDOM_ITERATIONS and BOLERO_RANDOM_TEST_TIME_MS say other
/// limits.
pub(crate) const ITERATIONS: usize = 300;
/// Limits the bytes of an input, as the server limits a message.
const INPUT_MAX: usize = 256 * 1024;

/// Holds the examples of a target.
pub(crate) struct Corpus(Vec<Vec<u8>>);

impl Corpus {
    /// Reads the examples of `target`, of which there is at least one.
    pub(crate) fn open(target: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpora").join(target);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{} has no example", folder.display());
        Self(files.iter().map(|file| fs::read(file).unwrap()).collect())
    }

    /// Returns the examples.
    pub(crate) fn examples(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// Returns an example after some changes.
    pub(crate) fn input(&self, mutation: &Mutation) -> Vec<u8> {
        let mut input = self.0[usize::from(mutation.example) % self.0.len()].clone();
        for change in &mutation.changes {
            change.apply(&mut input, &self.0);
            input.truncate(INPUT_MAX);
        }
        input
    }
}

/// Says which example is changed, and how.
#[derive(Clone, Debug, TypeGenerator)]
pub(crate) struct Mutation {
    example: u8,
    #[generator(bolero::produce::<Vec<Change>>().with().len(0_usize..=6))]
    changes: Vec<Change>,
}

/// Says what happens at one place of an input. A place behind the end counts from the start again.
#[derive(Clone, Debug, TypeGenerator)]
enum Change {
    Set {
        at: u32,
        byte: u8,
    },
    Flip {
        at: u32,
        bit: u8,
    },
    Insert {
        at: u32,
        bytes: Vec<u8>,
    },
    Remove {
        at: u32,
        count: u8,
    },
    /// Puts a part there again and again, and now and then very often: fields that are repeated, and numbers that grow.
    Repeat {
        at: u32,
        count: u8,
        times: u8,
        often: u8,
    },
    /// Puts a part of another example there.
    Cross {
        at: u32,
        example: u8,
        from: u32,
        count: u8,
    },
    Cut {
        at: u32,
    },
}

impl Change {
    fn apply(&self, input: &mut Vec<u8>, examples: &[Vec<u8>]) {
        let place = |at: u32, length: usize| at as usize % (length + 1);
        match self {
            Self::Set { at, byte } => {
                let at = place(*at, input.len());
                if let Some(there) = input.get_mut(at) {
                    *there = *byte;
                }
            }
            Self::Flip { at, bit } => {
                let at = place(*at, input.len());
                if let Some(there) = input.get_mut(at) {
                    *there ^= 1 << (bit % 8);
                }
            }
            Self::Insert { at, bytes } => {
                let at = place(*at, input.len());
                input.splice(at..at, bytes.iter().copied());
            }
            Self::Remove { at, count } => {
                let at = place(*at, input.len());
                let end = input.len().min(at + usize::from(*count));
                input.drain(at..end);
            }
            Self::Repeat { at, count, times, often } => {
                let at = place(*at, input.len());
                let part = input[at..input.len().min(at + usize::from(*count % 64))].to_vec();
                let times = usize::from(*times) * if *often == 0 { 1000 } else { 1 };
                let times = times.min(INPUT_MAX / part.len().max(1));
                input.splice(at..at, part.repeat(times));
            }
            Self::Cross { at, example, from, count } => {
                let other = &examples[usize::from(*example) % examples.len()];
                let from = place(*from, other.len());
                let part = other[from..other.len().min(from + usize::from(*count))].to_vec();
                let at = place(*at, input.len());
                input.splice(at..at, part);
            }
            Self::Cut { at } => {
                let at = place(*at, input.len());
                input.truncate(at);
            }
        }
    }
}

/// Checks the examples of a target, each of which has to pass as `is_valid`, and then many changed inputs.
macro_rules! fuzz {
    ($target:literal, $is_valid:expr, $check:expr) => {{
        let corpus = Corpus::open($target);
        for example in corpus.examples() {
            assert!($is_valid(&example[..]), "a bad example: {}", String::from_utf8_lossy(example));
            $check(&example[..]);
        }
        let count = std::sync::atomic::AtomicU64::new(0);
        bolero::check!().with_iterations(ITERATIONS).with_type::<Mutation>().for_each(|mutation| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            $check(&corpus.input(mutation)[..]);
        });
        println!("{}: {} inputs", $target, count.into_inner());
    }};
}
pub(crate) use fuzz;
