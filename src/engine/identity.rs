//! What makes a dataset a pipeline's own: the definition's parts that its files agree on.

use crate::ledger::{ColumnIdentity, Dataset, Identity, LedgerError};
use crate::model::Pipeline;
use crate::model::schema::data_schema;

/// What all files that a pipeline writes agree on.
pub(crate) fn identity(pipeline: &Pipeline, cluster_id: String) -> Identity {
    Identity {
        name: pipeline.name.clone(),
        cluster_id,
        columns: ColumnIdentity::of(&data_schema(pipeline)),
        partition_by: pipeline.sink.partition_by.clone(),
        window: pipeline.window.kind().identity(),
    }
}

/// Whether a pipeline may go on with the dataset that is there under its name, if one is, and which topics that has. Asks no
/// broker; blocking.
///
/// # Errors
/// When its columns, hive keys or windows are others than the dataset's.
pub fn fits_its_dataset(pipeline: &Pipeline) -> Result<Vec<String>, LedgerError> {
    match Dataset::existing(&pipeline.folder()) {
        Ok(dataset) => {
            dataset.fits(&identity(pipeline, dataset.identity().cluster_id.clone()))?;
            Ok(dataset.topics()?.into_iter().map(|topic| topic.topic).collect())
        }
        Err(LedgerError::NotADataset { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
