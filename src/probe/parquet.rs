//! Features as an Apache Parquet file: a row a picture, with its record, class, the class's name, and the CLS feature as a
//! list.

use std::sync::Arc;

use ::parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int32Type, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;

use super::Embeddings;

const SCHEMA: &str = "
    message embeddings {
        required int64 record;
        optional int32 class;
        optional binary class_name (STRING);
        required group feature (LIST) {
            repeated group list {
                required float element;
            }
        }
    }";

/// The bytes of the file.
///
/// # Errors
/// What the library says; it has no reason to.
pub fn encode(embeddings: &Embeddings) -> Result<Vec<u8>, ParquetError> {
    let mut bytes = Vec::new();
    // Features repeat no value; looking for those that do would only cost time.
    let properties = WriterProperties::builder().set_dictionary_enabled(false);
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties.build()))?;
    let mut group = file.next_row_group()?;

    let records: Vec<i64> = embeddings.records.iter().map(|&r| r as i64).collect();
    column::<Int64Type>(&mut group, &records, None, None)?;
    let classes = &embeddings.classes;
    let numbers: Vec<i32> = classes.iter().flatten().map(|c| c.number as i32).collect();
    let names = classes.iter().map(|c| c.as_ref()?.name.as_deref());
    let names: Vec<Option<&str>> = names.collect();
    // 1 where there is a class, and where it has a name.
    let known: Vec<i16> = classes.iter().map(|c| i16::from(c.is_some())).collect();
    let named: Vec<i16> = names.iter().map(|n| i16::from(n.is_some())).collect();
    let names: Vec<ByteArray> = names.into_iter().flatten().map(ByteArray::from).collect();
    column::<Int32Type>(&mut group, &numbers, Some(&known), None)?;
    column::<ByteArrayType>(&mut group, &names, Some(&named), None)?;
    let features = &embeddings.cls;
    // 0 where a list begins, 1 where it goes on.
    let goes_on = (0..features.values().len()).map(|i| i16::from(i % features.width() != 0));
    let there = vec![1; features.values().len()];
    column::<FloatType>(
        &mut group,
        features.values(),
        Some(&there),
        Some(&Vec::from_iter(goes_on)),
    )?;

    group.close()?;
    file.close()?;
    Ok(bytes)
}

/// Writes the next column: its values, how much of its path is there, and where lists go on.
fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, &mut Vec<u8>>,
    values: &[T::T],
    there: Option<&[i16]>,
    goes_on: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let mut column = group.next_column()?.expect("the schema has four columns");
    column.typed::<T>().write_batch(values, there, goes_on)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::features::Rows;
    use crate::probe::Class;
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use std::io::Write;

    use ::parquet::record::{Field, RowAccessor};

    #[test]
    fn every_row_comes_back() {
        let class = |number, name: Option<&str>| {
            let name = name.map(str::to_owned);
            Some(Class { number, name })
        };
        let embeddings = Embeddings {
            records: vec![3, 7, 8],
            cls: Rows::new(2, vec![0.5, -1.0, 2.0, 2.0, 0.0, 1e-30]),
            classes: vec![class(1, Some("disc")), None, class(4, None)],
        };
        let bytes = encode(&embeddings).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let rows: Vec<_> = reader
            .get_row_iter(None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(rows.len(), 3);
        for (i, row) in rows.iter().enumerate() {
            assert_eq!(row.get_long(0).unwrap() as usize, embeddings.records[i]);
            let class = embeddings.classes[i].as_ref();
            assert_eq!(row.get_int(1).ok(), class.map(|c| c.number as i32));
            let name = class.and_then(|c| c.name.as_ref());
            assert_eq!(row.get_string(2).ok(), name);
            let list = row.get_list(3).unwrap();
            let feature: Vec<String> = list.elements().iter().map(ToString::to_string).collect();
            let expected = embeddings.cls.row(i).iter();
            let expected: Vec<String> = expected.map(|v| Field::Float(*v).to_string()).collect();
            assert_eq!(feature, expected);
        }
    }
}
