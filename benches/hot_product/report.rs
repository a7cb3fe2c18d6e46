use crate::results::Run;
pub(crate) fn table(run: &Run) -> String {
    format!("{:#?}\n{:#?}", run.checks, run.faults)
}
pub(crate) fn html(_run: &Run, _other: Option<&Run>) -> String {
    String::new()
}
