//! A vector whose expected values are crossed off as they are checked.

use serde_json::Value;

pub(crate) struct Vector {
    pub(crate) id: String,
    pub(crate) inputs: Value,
    expected: serde_json::Map<String, Value>,
    tolerance: f64,
}

impl Vector {
    pub(crate) fn all(text: &str) -> Vec<Vector> {
        let file: Value = serde_json::from_str(text).unwrap();
        let one = |value: &Value| Vector {
            id: value["id"].as_str().unwrap().to_owned(),
            inputs: value["inputs"].clone(),
            expected: value["expected"].as_object().unwrap().clone(),
            tolerance: value["tolerance_abs"].as_f64().unwrap(),
        };
        file["vectors"].as_array().unwrap().iter().map(one).collect()
    }

    pub(crate) fn u64(&self, name: &str) -> u64 {
        self.inputs[name].as_u64().unwrap_or_else(|| panic!("{}: input {name}", self.id))
    }

    pub(crate) fn f64(&self, name: &str) -> f64 {
        self.inputs[name].as_f64().unwrap_or_else(|| panic!("{}: input {name}", self.id))
    }

    pub(crate) fn get<T: serde::de::DeserializeOwned>(&self, name: &str) -> T {
        serde_json::from_value(self.inputs[name].clone())
            .unwrap_or_else(|e| panic!("{}: {name}: {e}", self.id))
    }

    pub(crate) fn expects(&self, name: &str) -> bool {
        self.expected.contains_key(name)
    }

    pub(crate) fn take(&mut self, name: &str) -> Value {
        self.expected.remove(name).unwrap_or_else(|| panic!("{}: expects no {name}", self.id))
    }

    /// Checks a number; `None` stands for null, "undefined".
    pub(crate) fn check(&mut self, name: &str, ours: impl Into<Option<f64>>) {
        let theirs = self.take(name);
        self.compare(name, ours.into(), &theirs);
    }

    /// Checks a number if the vector expects it.
    pub(crate) fn check_if_expected(&mut self, name: &str, ours: impl Into<Option<f64>>) {
        if self.expects(name) {
            self.check(name, ours);
        }
    }

    pub(crate) fn check_all(&mut self, name: &str, ours: &[f64]) {
        let theirs = self.take(name);
        self.compare_all(name, ours, &theirs);
    }

    pub(crate) fn compare_all(&self, name: &str, ours: &[f64], theirs: &Value) {
        let theirs = theirs.as_array().unwrap_or_else(|| panic!("{}: {name} is no list", self.id));
        assert_eq!(ours.len(), theirs.len(), "{}: {name}", self.id);
        for (ours, theirs) in ours.iter().zip(theirs) {
            self.compare(name, Some(*ours), theirs);
        }
    }

    fn compare(&self, name: &str, ours: Option<f64>, theirs: &Value) {
        match (ours, theirs.as_f64()) {
            (None, None) => assert!(theirs.is_null(), "{}: {name}", self.id),
            (Some(ours), Some(theirs)) => {
                let gap = (ours - theirs).abs();
                // Tiny p-values are held to a relative tolerance as well.
                let relative =
                    if theirs.abs() < 1e-6 { 1e-9 * theirs.abs().max(1e-300) } else { f64::INFINITY };
                let fine = gap <= self.tolerance && (gap <= relative || theirs == 0.0);
                assert!(fine, "{}: {name} is {ours}, expected {theirs} within {}", self.id, self.tolerance);
            }
            (ours, theirs) => panic!("{}: {name} is {ours:?}, expected {theirs:?}", self.id),
        }
    }

    pub(crate) fn finish(self) {
        let left: Vec<_> = self.expected.keys().collect();
        assert!(left.is_empty(), "{}: not checked: {left:?}", self.id);
    }
}
