//! Reports what a run measured: tables as Markdown, for the terminal and a file, and plots as one SVG picture.

mod plots;
mod summary;
mod tables;

pub(crate) use plots::plots;
pub(crate) use tables::tables;
