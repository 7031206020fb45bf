//! A person: submits a matrix with a key of their own, repeats it until it is heard, follows it to its end, submits the next.

use std::cell::RefCell;
use std::rc::Rc;

use assay_proto::v1;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::matrix;
use crate::place::{Client, Gone, Places};

/// Lives until `stop`, and then until the last matrix is finished.
pub(crate) async fn live(
    number: u64,
    mut places: Places,
    ledger: Rc<RefCell<Ledger>>,
    stop: CancellationToken,
) {
    let mut count = 0;
    while !stop.is_cancelled() {
        count += 1;
        let (key, seed) = (format!("person {number}, matrix {count}"), number * 1_000 + count);
        let submitted = places.until_heard(async |client| submit(client, &key, seed).await).await;
        let matrix = submitted.matrix_id;
        ledger.borrow_mut().submitted(&key, seed, &matrix);
        places.until_heard(async |client| finished(client, &matrix).await).await;
    }
}

pub(crate) async fn submit(client: &Client, key: &str, seed: u64) -> Result<v1::SubmitResponse, Gone> {
    client.upload_files(&matrix::FILES).await?;
    let resolved_json = matrix::resolved(seed).to_string();
    let request = v1::SubmitRequest { submit_key: key.to_owned(), resolved_json, fresh: false };
    let submitted = client.matrices().submit(request).await;
    Ok(submitted.map_err(|status| client.gone(&status))?.into_inner())
}

pub(crate) async fn finished(client: &Client, matrix: &str) -> Result<(), Gone> {
    let request = v1::WatchRequest { matrix_id: matrix.to_owned(), interval_ms: 0 };
    let views = client.matrices().watch(request).await;
    let mut views = views.map_err(|status| client.gone(&status))?.into_inner();
    while let Some(view) = views.message().await.map_err(|status| client.gone(&status))? {
        if view.finished {
            return Ok(());
        }
    }
    panic!("the watch of {matrix} ended before its matrix");
}
