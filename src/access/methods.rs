//! Which role may call which method. This is the only place where that is decided.
//!
//! A test holds the table against the service definition: an RPC that is in one of them alone fails it.

use Role::{Checkout, Gateway, Operator, Payments, Viewer};

/// Names what a principal is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A shop's checkout.
    Checkout,
    /// The HTTP gateway.
    Gateway,
    /// A program that delivers payment events itself.
    Payments,
    /// A person or program that runs the sale.
    Operator,
    /// A person or program that looks on.
    Viewer,
}

impl Role {
    /// Lists all roles.
    pub const ALL: [Self; 5] = [Checkout, Gateway, Payments, Operator, Viewer];

    /// Returns the name that the file of principals has.
    pub fn as_str(self) -> &'static str {
        match self {
            Checkout => "checkout",
            Gateway => "gateway",
            Payments => "payments",
            Operator => "operator",
            Viewer => "viewer",
        }
    }

    /// Returns the role of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// Lists the RPCs, and the roles that may call each.
pub const RPCS: &[(&str, &[Role])] = &[
    ("/flashsale.v1.FlashSaleService/GetProduct", &[Checkout, Gateway, Operator, Viewer]),
    ("/flashsale.v1.FlashSaleService/CreateHold", &[Checkout, Gateway]),
    ("/flashsale.v1.FlashSaleService/GetHold", &[Checkout, Operator, Viewer]),
    ("/flashsale.v1.FlashSaleService/ReleaseHold", &[Checkout]),
    ("/flashsale.v1.FlashSaleService/CreateOrder", &[Checkout, Gateway]),
    ("/flashsale.v1.FlashSaleService/CancelOrder", &[Checkout]),
    ("/flashsale.v1.FlashSaleService/GetOrder", &[Checkout, Operator, Viewer]),
    ("/flashsale.v1.PaymentService/HandlePaymentWebhook", &[Gateway, Payments]),
    ("/flashsale.v1.AdminService/CreateProduct", &[Operator]),
    ("/flashsale.v1.AdminService/UpdateProduct", &[Operator]),
    ("/flashsale.v1.AdminService/AdjustStock", &[Operator]),
    ("/flashsale.v1.AdminService/GetSaleStats", &[Operator, Viewer]),
    ("/flashsale.v1.AdminService/ListProducts", &[Operator, Viewer]),
    ("/flashsale.v1.AdminService/ListHolds", &[Operator, Viewer]),
    ("/flashsale.v1.AdminService/ListOrders", &[Operator, Viewer]),
    ("/flashsale.v1.AdminService/ListPaymentEvents", &[Operator, Viewer]),
    ("/flashsale.v1.AdminService/ListPaymentExceptions", &[Operator, Viewer]),
    ("/flashsale.v1.AdminService/ListOperatorActions", &[Operator, Viewer]),
    ("/flashsale.v1.AdminService/AcceptPayment", &[Operator]),
    ("/flashsale.v1.AdminService/ResolvePaymentException", &[Operator]),
];

/// Lists what anybody may call: a load balancer has no credentials.
const OPEN: [&str; 3] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/List"];

/// Lists what every principal may call, whatever its roles, where it is served at all.
const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Says who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callers {
    /// Anybody.
    Anybody,
    /// Every principal.
    EveryPrincipal,
    /// Principals with one of these roles.
    With(Roles),
}

/// Says who may call the method of a path, such as `/flashsale.v1.FlashSaleService/CreateHold`.
pub(super) fn callers(path: &str) -> Callers {
    if let Some((_, roles)) = RPCS.iter().find(|(rpc, _)| *rpc == path) {
        return Callers::With(Roles::of(roles));
    }
    if OPEN.contains(&path) {
        return Callers::Anybody;
    }
    if REFLECTION.contains(&path) {
        return Callers::EveryPrincipal;
    }
    Callers::With(Roles::NONE)
}

/// Holds a set of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Roles(u8);

impl Roles {
    /// Holds no role.
    pub(super) const NONE: Self = Self(0);

    /// Holds these roles.
    pub(super) fn of(roles: &[Role]) -> Self {
        Self(roles.iter().fold(0, |bits, role| bits | 1 << *role as u8))
    }

    /// Whether a role is in both sets.
    pub(super) fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::pb;

    const SECURITY_MD: &str = include_str!("../../docs/security.md");

    #[test]
    fn every_rpc_of_the_service_definition_has_been_decided_and_no_other() {
        let mut decided: Vec<&str> = RPCS.iter().map(|(path, _)| *path).collect();
        let mut defined: Vec<&str> = pb::RPCS.iter().map(|(path, _)| *path).collect();
        decided.sort_unstable();
        defined.sort_unstable();
        assert_eq!(decided, defined);
    }

    #[test]
    fn what_is_not_in_the_table_is_for_nobody() {
        for path in [
            "/flashsale.v1.FlashSaleService/Secret",
            "/flashsale.v1.FlashSaleService/createHold",
            "/flashsale.v1.FlashSaleService/CreateHold/",
            "flashsale.v1.FlashSaleService/CreateHold",
            "/grpc.health.v1.Health/Secret",
            "/grpc.reflection.v1.ServerReflection/Secret",
            "/",
            "",
        ] {
            assert_eq!(callers(path), Callers::With(Roles::NONE), "{path}");
        }
    }

    /// Holds each role against the sentence that says what it may call.
    #[test]
    fn each_role_may_call_what_it_is_there_for() {
        let may =
            |role: Role, path: &str| matches!(callers(path), Callers::With(roles) if roles.meet(Roles::of(&[role])));
        for (path, _) in RPCS {
            let (service, rpc) = path.strip_prefix("/flashsale.v1.").unwrap().split_once('/').unwrap();
            let reads = rpc.starts_with("Get") || rpc.starts_with("List");
            let of_sale = service == "FlashSaleService";
            assert_eq!(may(Checkout, path), of_sale, "{path}");
            let of_gateway = of_sale && ["GetProduct", "CreateHold", "CreateOrder"].contains(&rpc);
            assert_eq!(may(Gateway, path), service == "PaymentService" || of_gateway, "{path}");
            assert_eq!(may(Payments, path), service == "PaymentService", "{path}");
            assert_eq!(may(Operator, path), service == "AdminService" || of_sale && reads, "{path}");
            assert_eq!(may(Viewer, path), (service == "AdminService" || of_sale) && reads, "{path}");
        }
    }

    #[test]
    fn the_table_in_the_papers_is_this_table() {
        let mut rows = SECURITY_MD
            .lines()
            .filter_map(|line| Some(line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect::<Vec<_>>()));
        let header = rows.find(|row| row[0] == "RPC").expect("the table of RPCs and roles");
        assert_eq!(header[1..], Role::ALL.map(|role| format!("`{}`", role.as_str())));
        let papers: BTreeMap<String, Vec<bool>> = rows
            .filter(|row| row[0].contains("Service/"))
            .map(|row| {
                let path = format!("/flashsale.v1.{}", row[0].trim_matches('`'));
                (path, row[1..].iter().map(|cell| *cell == "yes").collect())
            })
            .collect();
        let code = RPCS.iter().map(|(path, roles)| {
            ((*path).to_owned(), Role::ALL.iter().map(|role| roles.contains(role)).collect::<Vec<_>>())
        });
        assert_eq!(papers, code.collect());
    }
}
