//! The network on our own kernels: what an ONNX graph spells out in small operations is found in it and replaced in
//! tract's model by one layer each, with weights packed for this CPU.
//!
//! The patterns are looked for in the file's graph, where they are as they were written, and not in tract's, which
//! changes from version to version. What is not recognised stays with tract, so any model runs.

mod constants;
mod graph;
mod op;
mod rules;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use intertwine_kernels::gemm::Precision;
use tract_onnx::pb;
use tract_onnx::prelude::*;

use constants::Constants;
use graph::Graph;
use op::{Fused, Spare};
use rules::{Found, Rules};

/// Replaces what is recognised of `proto` in `model`, which was made of it. Takes the constants out of `proto`.
pub(super) fn fuse(
    proto: &mut pb::GraphProto,
    model: &mut TypedModel,
    precision: Precision,
) -> TractResult<()> {
    let mut places: HashMap<String, OutletId> = model
        .outlet_labels
        .iter()
        .map(|(outlet, name)| (name.clone(), *outlet))
        .collect();
    for outlet in model.input_outlets()? {
        places.insert(model.node(outlet.node).name.clone(), *outlet);
    }
    let constants = Constants::take(proto, model, &places)?;
    let graph = Graph::new(proto, &constants, shapes(model, &places)?);
    let rules = Rules {
        graph: &graph,
        precision,
        weights: Default::default(),
    };
    let spare = Arc::default();
    // Nodes that a layer stands for already, by the first of their outputs.
    let mut gone: HashSet<&str> = HashSet::new();
    for node in &proto.node {
        let first = node.output.first().map(String::as_str);
        if first.is_some_and(|first| gone.contains(first)) {
            continue;
        }
        let Some(found) = rules.apply(node) else {
            continue;
        };
        let inner = graph.between(&found.inputs, found.output);
        if inner.iter().any(|name| gone.contains(name)) {
            continue;
        }
        if replace(model, &mut places, &graph, found, &spare)? {
            gone.extend(inner);
        }
    }
    Ok(())
}

/// The shapes of all values that are `f32` and whose shape is known.
fn shapes(
    model: &TypedModel,
    places: &HashMap<String, OutletId>,
) -> TractResult<HashMap<String, Vec<usize>>> {
    let mut shapes = HashMap::new();
    for (name, outlet) in places {
        let fact = model.outlet_fact(*outlet)?;
        if let (Some(dims), true) = (
            fact.shape.as_concrete(),
            fact.datum_type == f32::datum_type(),
        ) {
            shapes.insert(name.clone(), dims.to_vec());
        }
    }
    Ok(shapes)
}

/// Puts a layer in the place of what it was found in. What it makes unreachable, tract removes.
fn replace(
    model: &mut TypedModel,
    places: &mut HashMap<String, OutletId>,
    graph: &Graph,
    found: Found,
    spare: &Arc<Spare>,
) -> TractResult<bool> {
    let inputs: Option<Vec<OutletId>> = found
        .inputs
        .iter()
        .map(|name| places.get(*name).copied())
        .collect();
    let (Some(inputs), Some(&old), Some(shape)) =
        (inputs, places.get(found.output), graph.shape(found.output))
    else {
        return Ok(false);
    };
    let op = Fused {
        layer: Arc::new(found.layer),
        spare: spare.clone(),
        shape: shape.into(),
    };
    let mut patch = TypedModelPatch::default();
    let taps = patch.taps(model, &inputs)?;
    let new = patch.wire_node(format!("{}.fused", found.output), op, &taps)?[0];
    patch.shunt_outside(model, old, new)?;
    patch.apply(model)?;
    let label = |(outlet, name): (&OutletId, &String)| (name == found.output).then_some(*outlet);
    if let Some(new) = model.outlet_labels.iter().find_map(label) {
        places.insert(found.output.to_owned(), new);
    }
    Ok(true)
}
