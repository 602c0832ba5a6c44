//! Registers (Darcet et al. 2024): tokens that belong to no patch, for what an encoder would otherwise keep in patches that
//! show little, whose features a detector then misses.
//!
//! To attention the order of tokens is nothing, so they stand at the end of each sequence, and only while it passes through
//! the blocks: a plan of tokens knows nothing of them, and no head ever sees one.

use std::borrow::Cow;

use dfdx::prelude::*;

use super::arch::Arch;
use super::module::{Kind, Visit, VisitMut};
use super::vit::Vit;
use super::{Backend, Groups, Module, Rows};

/// The registers of an encoder, `[count, D]`; timm's `reg_token`.
#[derive(Clone, Debug)]
pub struct Registers<A: Arch, D: Backend>(pub Rows<A::Width, D>);

impl<A: Arch, D: Backend> Module<D> for Registers<A, D> {
    fn walk<'a>(&'a self, path: &str, visit: Visit<'_, 'a, D>) {
        visit(path, Kind::Token, &self.0);
    }
    fn walk_mut<'a>(&'a mut self, path: &str, visit: VisitMut<'_, 'a, D>) {
        visit(path, Kind::Token, &mut self.0);
    }
}

impl<A: Arch, D: Backend> Registers<A, D> {
    fn count(&self) -> usize {
        self.0.shape().0
    }
}

impl<A: Arch, D: Backend> Vit<A, D> {
    /// Sequences as the blocks see them.
    pub(super) fn with_registers<'g, T: Tape<f32, D>>(
        &self,
        x: Rows<A::Width, D, T>,
        groups: &'g Groups,
    ) -> (Rows<A::Width, D, T>, Cow<'g, Groups>) {
        let Some(registers) = &self.reg_token else {
            return (x, Cow::Borrowed(groups));
        };
        let (rows, count) = (groups.rows(), registers.count());
        let table = (x, registers.0.retaped::<T>()).concat_along(Axis::<0>);
        let index: Vec<u32> = (groups.starts())
            .flat_map(|(start, len)| (start..start + len).chain(rows..rows + count))
            .map(|row| row as u32)
            .collect();
        let longer = groups.lengthened(count);
        (D::gather_rows(table, &index), Cow::Owned(longer))
    }

    /// The sequences without what [`with_registers`](Self::with_registers) appended to those of `groups`.
    pub(super) fn without_registers<T: Tape<f32, D>>(
        &self,
        x: Rows<A::Width, D, T>,
        groups: &Groups,
    ) -> Rows<A::Width, D, T> {
        match &self.reg_token {
            None => x,
            Some(registers) => D::gather_rows(x, &places(groups, registers.count())),
        }
    }

    /// Where rows of `groups` are once registers are appended.
    pub(super) fn rows_with_registers<'r>(
        &self,
        groups: &Groups,
        rows: &'r [u32],
    ) -> Cow<'r, [u32]> {
        let Some(registers) = &self.reg_token else {
            return Cow::Borrowed(rows);
        };
        let places = places(groups, registers.count());
        rows.iter().map(|&row| places[row as usize]).collect()
    }
}

/// For each row of `groups` its place once `count` rows follow each sequence.
fn places(groups: &Groups, count: usize) -> Vec<u32> {
    let sequences = groups.starts().enumerate();
    sequences
        .flat_map(|(i, (start, len))| (start..start + len).map(move |row| row + i * count))
        .map(|row| row as u32)
        .collect()
}

#[cfg(test)]
mod tests {
    use intertwine_kernels::attention::Group;

    use super::*;
    use crate::nn::arch::Tiny;
    use crate::nn::module::Init;
    use crate::nn::ops::assemble::Plan;
    use crate::nn::positions::WholePicture;
    use crate::nn::vit::{TokenInput, VitConfig};

    fn encoder(registers: usize) -> Vit<Tiny, Cpu> {
        let config = VitConfig {
            depth: 2,
            registers,
            ..VitConfig::plain("tiny8")
        };
        Vit::new(&mut Init::new(&Cpu::default(), 1), &config)
    }

    #[test]
    fn they_follow_each_sequence_and_are_taken_off_again() {
        let groups = Groups(vec![Group { count: 2, len: 3 }, Group { count: 1, len: 2 }]);
        let vit = encoder(2);
        let dev = Cpu::default();
        let rows = groups.rows();
        let values: Vec<f32> = (0..rows * 192).map(|i| (i / 192) as f32).collect();
        let x = dev.tensor_from_vec(values.clone(), (rows, Const::<192>));
        let (longer, groups_inside) = vit.with_registers(x, &groups);
        assert_eq!(groups_inside.rows(), rows + 3 * 2);
        let registers = Cpu::to_host(&vit.reg_token.as_ref().unwrap().0);
        let inside = Cpu::to_host(&longer);
        // The second sequence starts behind the first one's three tokens and two registers.
        assert_eq!(inside[5 * 192], 3.0);
        assert_eq!(inside[3 * 192..5 * 192], registers);
        assert_eq!(inside[12 * 192..], registers);
        assert_eq!(
            *vit.rows_with_registers(&groups, &[0, 2, 3, 7]),
            [0, 2, 5, 11]
        );
        assert_eq!(
            Cpu::to_host(&vit.without_registers(longer, &groups)),
            values
        );
    }

    /// All, and some rows; and each register learns from every sequence.
    #[test]
    fn both_ways_through_the_encoder_agree_and_registers_learn() {
        let vit = encoder(3);
        let plan = Plan::unmasked(Groups::uniform(2, 5));
        let positions = WholePicture::new(&vit, 2, 1.0).repeat(2);
        let patches: Vec<f32> = (0..2 * 4 * 192).map(|i| (i as f32).sin()).collect();
        let input = || TokenInput {
            patches: patches.clone().into(),
            positions: positions.view(),
            plan: &plan,
        };
        let all = Cpu::to_host(&vit.forward(input(), None, NoneTape));
        assert_eq!(all.len(), 10 * 192);
        let rows = [0, 7, 9];
        let some = vit.forward_rows(input(), &rows, None, OwnedTape::default());
        let (some, tape) = some.split_tape();
        for (i, row) in rows.into_iter().enumerate() {
            let found = &Cpu::to_host(&some)[i * 192..][..192];
            let expected = &all[row as usize * 192..][..192];
            let pairs = found.iter().zip(expected);
            assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 1e-5), "{row}");
        }
        let gradients = some.put_tape(tape).square().sum().backward();
        let registers = &vit.reg_token.as_ref().unwrap().0;
        let gradient = Cpu::to_host(&gradients.get(registers));
        let norm = |register: &[f32]| register.iter().map(|g| g * g).sum::<f32>();
        assert!(gradient.chunks(192).all(|register| norm(register) > 0.0));
    }
}
