//! Serves the designs that the service is compared with, behind tonic and the same service definition.
//!
//! They are what a team would otherwise choose. Each runs as its own process, which is this program started again.

mod collector;
mod plain;
mod redis;

use std::{env, future, io::Read, process, thread};

use flashsale::{
    access::Access,
    grpc,
    listener::{Limits, listen},
    pb::{
        admin_service_server::{AdminService, AdminServiceServer},
        flash_sale_service_server::{FlashSaleService, FlashSaleServiceServer},
        payment_service_server::{PaymentService, PaymentServiceServer},
    },
};
use tonic::{Status, service::Routes};

/// The argument that makes this program a reference.
pub(crate) const COMMAND: &str = "reference";
pub(crate) const PLAIN: &str = "plain";
pub(crate) const REDIS: &str = "redis";
pub(crate) const COLLECTOR: &str = "collector";

/// Serves `reference plain|redis|collector LISTEN URL` until standard input ends, which it does with the benchmark.
pub(crate) fn main() {
    let arguments: Vec<String> = env::args().skip(2).collect();
    let [kind, address, url] = arguments.as_slice() else { panic!("reference takes a kind, an address and a URL") };
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match kind.as_str() {
            PLAIN => serve(address, plain::Plain::new(url)).await,
            REDIS => serve(address, redis::Redis::connect(url).await).await,
            COLLECTOR => collector::serve(address).await,
            other => panic!("no reference is called {other}"),
        }
    });
}

async fn serve<S>(address: &str, service: S)
where
    S: FlashSaleService + PaymentService + AdminService + Clone,
{
    let listener = listen(address.parse().unwrap()).unwrap();
    let routes = Routes::new(FlashSaleServiceServer::new(service.clone()))
        .add_service(PaymentServiceServer::new(service.clone()))
        .add_service(AdminServiceServer::new(service));
    grpc::serve_routes(listener, routes, Access::for_everybody(), Limits::default(), future::pending()).await;
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

fn out_of_stock() -> Status {
    Status::failed_precondition("not enough stock")
}

/// Makes the RPCs that no scenario calls, in the form that `async_trait` expands to: it runs before this macro.
macro_rules! not_compared {
    ($($name:ident($request:ident) -> $response:ident;)*) => {
        $(fn $name<'life0, 'async_trait>(
            &'life0 self,
            _request: tonic::Request<flashsale::pb::$request>,
        ) -> std::pin::Pin<
            Box<
                dyn Future<Output = Result<tonic::Response<flashsale::pb::$response>, tonic::Status>>
                    + Send
                    + 'async_trait,
            >,
        >
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(std::future::ready(Err(tonic::Status::unimplemented("not part of the comparison"))))
        })*
    };
}
pub(crate) use not_compared;
