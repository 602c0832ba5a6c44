//! The constants of a file, each of them in memory once.

use std::collections::HashMap;
use std::sync::Arc;

use tract_onnx::data_resolver::FopenDataResolver;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;
use tract_onnx::tensor::load_tensor;

/// By their names in the file.
pub(super) struct Constants(HashMap<String, Arc<Tensor>>);

impl Constants {
    /// Takes them out of `proto`. Most are in the plan already, whose nodes are found by name in `places`.
    pub(super) fn take(
        proto: &mut pb::GraphProto,
        model: &TypedModel,
        places: &HashMap<String, OutletId>,
    ) -> TractResult<Self> {
        let mut constants = HashMap::new();
        for tensor in std::mem::take(&mut proto.initializer) {
            let planned = match places.get(&tensor.name) {
                Some(outlet) => model.outlet_fact(*outlet)?.konst.clone(),
                None => None,
            };
            // tract keeps one of those that are equal, under one name.
            let known = match planned {
                None if may_be_weight(&tensor) => {
                    Some(load_tensor(&FopenDataResolver, &tensor, None)?.into_arc_tensor())
                }
                planned => planned,
            };
            constants.extend(known.map(|known| (tensor.name, known)));
        }
        Ok(Self(constants))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name).map(|tensor| &**tensor)
    }
}

fn may_be_weight(tensor: &pb::TensorProto) -> bool {
    [DataType::Float, DataType::Float16, DataType::Int8].contains(&tensor.data_type())
}
