use super::*;

fn floats(shape: &[usize], values: &[f32]) -> TensorBytes {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorBytes { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
}

#[test]
fn a_written_file_reads_back_with_its_format_tag() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let tensors = BTreeMap::from([
        ("b".to_owned(), floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
        ("a".to_owned(), floats(&[1], &[-5.0])),
    ]);
    write_file(&path, &tensors).unwrap();
    let files = TensorFiles::open_file(&path).unwrap();
    assert_eq!(files.names().collect::<Vec<_>>(), ["a", "b"]);
    let b = files.tensor("b").unwrap();
    assert_eq!((b.dtype, b.shape, b.bytes), (Dtype::F32, &[2, 2][..], &tensors["b"].bytes[..]));
    let bytes = std::fs::read(&path).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn shards_are_found_through_the_index() {
    let dir = tempfile::tempdir().unwrap();
    for (file, name) in [("m-1.safetensors", "x"), ("m-2.safetensors", "y")] {
        let tensors = BTreeMap::from([(name.to_owned(), floats(&[1], &[1.0]))]);
        write_file(&dir.path().join(file), &tensors).unwrap();
    }
    let index = r#"{"metadata": {}, "weight_map": {"x": "m-1.safetensors", "y": "m-2.safetensors"}}"#;
    std::fs::write(dir.path().join(INDEX_FILE), index).unwrap();
    let files = TensorFiles::open_folder(dir.path()).unwrap();
    assert!(files.contains("x") && files.contains("y"));
    let missing = files.tensor("z").unwrap_err().to_string();
    assert!(missing.starts_with("tensor `z` is not in"), "{missing}");
}

#[test]
fn an_index_cannot_name_files_outside_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let index = r#"{"weight_map": {"x": "../secret"}}"#;
    std::fs::write(dir.path().join(INDEX_FILE), index).unwrap();
    let error = TensorFiles::open_folder(dir.path()).unwrap_err().to_string();
    assert!(error.contains("`x` is in \"../secret\", which is not a plain file name"), "{error}");
}

#[test]
fn damaged_and_absent_weights_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let absent = TensorFiles::open_folder(dir.path()).unwrap_err().to_string();
    assert!(absent.contains("neither `model.safetensors` nor"), "{absent}");
    let path = dir.path().join(SINGLE_FILE);
    write_file(&path, &BTreeMap::from([("x".to_owned(), floats(&[4], &[0.0; 4]))])).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let cut = TensorFiles::open_folder(dir.path()).unwrap_err().to_string();
    assert!(cut.contains("is not a valid safetensors file"), "{cut}");
}
