//! Which spans are recorded.

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt, TraceId},
};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

use crate::startup::BadSetting;

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

/// Decides as the environment says, but lets a batch be recorded where one of its requests is.
///
/// A batch has no parent whose choice it could follow. A span inside the process follows its parent, as it does anyway:
/// only under a batch would the ratio of its own trace say otherwise.
#[derive(Debug, Clone)]
pub(super) struct OwnSampler(Sampler);

impl OwnSampler {
    /// Reads the sampler of the environment. `value` returns a variable that isn't empty.
    ///
    /// # Errors
    /// [`BadSetting`]: the sampler is none that the SDK has, or its ratio is none.
    pub(super) fn read(value: impl Fn(&str) -> Option<String>) -> Result<Self, BadSetting> {
        let ratio = || match value(ARGUMENT) {
            None => Ok(1.0),
            Some(text) => match text.parse() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
                _ => Err(BadSetting::new(ARGUMENT, "is not a ratio from 0 to 1")),
            },
        };
        let by_parent = |root| Sampler::ParentBased(Box::new(root));
        let sampler = match value(SAMPLER).as_deref() {
            None | Some("parentbased_always_on") => by_parent(Sampler::AlwaysOn),
            Some("parentbased_always_off") => by_parent(Sampler::AlwaysOff),
            Some("parentbased_traceidratio") => by_parent(Sampler::TraceIdRatioBased(ratio()?)),
            Some("always_on") => Sampler::AlwaysOn,
            Some("always_off") => Sampler::AlwaysOff,
            Some("traceidratio") => Sampler::TraceIdRatioBased(ratio()?),
            Some(_) => {
                let known = "can only be always_on, always_off, traceidratio, or one of these after parentbased_";
                return Err(BadSetting::new(SAMPLER, known));
            }
        };
        Ok(Self(sampler))
    }
}

impl ShouldSample for OwnSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let around = parent.map(|context| context.span().span_context().clone()).filter(|around| around.is_valid());
        let followed = match &around {
            Some(around) if !around.is_remote() => Some(around.is_sampled()),
            None if links.iter().any(|link| link.span_context.is_sampled()) => Some(true),
            _ => None,
        };
        let Some(is_sampled) = followed else {
            return self.0.should_sample(parent, trace_id, name, kind, attributes, links);
        };
        let decision = if is_sampled { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop };
        let trace_state = around.map(|around| around.trace_state().clone()).unwrap_or_default();
        SamplingResult { decision, attributes: Vec::new(), trace_state }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<OwnSampler, String> {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        OwnSampler::read(|name| variables.get(name).map(|value| (*value).to_owned())).map_err(|bad| bad.to_string())
    }

    fn span(trace_id: u128, is_sampled: bool, is_remote: bool) -> SpanContext {
        let flags = TraceFlags::default().with_sampled(is_sampled);
        SpanContext::new(TraceId::from(trace_id), SpanId::from(1), flags, is_remote, TraceState::NONE)
    }

    fn is_sampled(sampler: &OwnSampler, parent: Option<SpanContext>, trace_id: u128, links: &[Link]) -> bool {
        let parent = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let kind = SpanKind::Internal;
        let result = sampler.should_sample(Some(&parent), TraceId::from(trace_id), "span", &kind, &[], links);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn the_environment_names_the_sampler() {
        // The ratio goes by the last eight bytes of the trace: this one is above any ratio but 1.
        let high = u128::from(u64::MAX);
        let caller = |sampled| Some(span(high, sampled, true));
        for (variables, alone, with_caller, with_unsampled_caller) in [
            (&[][..], true, true, false),
            (&[(SAMPLER, "parentbased_always_off")], false, true, false),
            (&[(SAMPLER, "parentbased_traceidratio"), (ARGUMENT, "0.5")], false, true, false),
            (&[(SAMPLER, "traceidratio"), (ARGUMENT, "0.5")], false, false, false),
            (&[(SAMPLER, "traceidratio")], true, true, true),
            (&[(SAMPLER, "always_on")], true, true, true),
            (&[(SAMPLER, "always_off")], false, false, false),
        ] {
            let sampler = read(variables).unwrap();
            let sampled = |parent| is_sampled(&sampler, parent, high, &[]);
            let found = (sampled(None), sampled(caller(true)), sampled(caller(false)));
            assert_eq!(found, (alone, with_caller, with_unsampled_caller), "{variables:?}");
        }
    }

    #[test]
    fn a_batch_is_recorded_where_one_of_its_requests_is_and_so_is_what_it_does() {
        let high = u128::from(u64::MAX);
        let sampler = read(&[(SAMPLER, "traceidratio"), (ARGUMENT, "0.1")]).unwrap();
        let link = |sampled| Link::with_context(span(3, sampled, false));
        assert!(is_sampled(&sampler, None, high, &[link(false), link(true)]));
        assert!(!is_sampled(&sampler, None, high, &[link(false)]));
        assert!(is_sampled(&sampler, Some(span(high, true, false)), high, &[]));
        assert!(!is_sampled(&sampler, Some(span(3, false, false)), 3, &[]));
    }

    #[test]
    fn another_sampler_or_ratio_is_a_bad_setting() {
        for (name, variables) in [
            (SAMPLER, &[(SAMPLER, "xray")][..]),
            (SAMPLER, &[(SAMPLER, "Always_On")]),
            (ARGUMENT, &[(SAMPLER, "traceidratio"), (ARGUMENT, "2")]),
            (ARGUMENT, &[(SAMPLER, "parentbased_traceidratio"), (ARGUMENT, "half")]),
            (ARGUMENT, &[(SAMPLER, "traceidratio"), (ARGUMENT, "NaN")]),
        ] {
            assert!(read(variables).unwrap_err().starts_with(&format!("{name} ")), "{variables:?}");
        }
    }
}
