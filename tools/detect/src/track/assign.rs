//! The assignment problem: which rows and columns to pair so that the sum of their gains is greatest.

/// The Hungarian algorithm, keeping its buffers from one problem to the next.
///
/// Rows are placed one after another along the shortest augmenting path in reduced costs (Kuhn 1955; the form with
/// potentials of Jonker and Volgenant, *A shortest augmenting path algorithm for dense and sparse linear assignment
/// problems*, 1987): `O(s^2 l)` for a problem of `s x l`, `s <= l`.
#[derive(Default)]
pub(crate) struct Assignment {
    /// `s x l`, what a pair costs: its gain below zero.
    costs: Vec<f64>,
    /// Potentials; no reduced cost `costs[r, c] - row_price[r] - column_price[c]` is negative.
    row_price: Vec<f64>,
    column_price: Vec<f64>,
    /// The row in each column. The last column is none of the problem's: the row to be placed waits there.
    owner: Vec<Option<usize>>,
    /// Reduced length of the shortest path to each column, and the column before it on that path.
    slack: Vec<f64>,
    before: Vec<usize>,
    visited: Vec<bool>,
    partners: Vec<Option<usize>>,
}

impl Assignment {
    /// The column of each row in a pairing of greatest total gain. Pairs of a gain that is not above 0, or not
    /// finite, are never made, so rows and columns may stay alone.
    pub(crate) fn solve(
        &mut self,
        rows: usize,
        columns: usize,
        gain: impl Fn(usize, usize) -> f32,
    ) -> &[Option<usize>] {
        let useful = |row, column| {
            let gain = f64::from(gain(row, column));
            (gain > 0.0 && gain.is_finite()).then_some(gain)
        };
        let turned = rows > columns;
        let place = |short, long| match turned {
            true => (long, short),
            false => (short, long),
        };
        let (short, long) = place(rows, columns);
        self.costs.clear();
        for s in 0..short {
            self.costs.extend((0..long).map(|l| {
                let (row, column) = place(s, l);
                useful(row, column).map_or(0.0, |gain| -gain)
            }));
        }
        reset(&mut self.row_price, short, 0.0);
        reset(&mut self.column_price, long + 1, 0.0);
        reset(&mut self.owner, long + 1, None);
        reset(&mut self.before, long + 1, long);
        for row in 0..short {
            self.insert(row, long);
        }
        reset(&mut self.partners, rows, None);
        for (l, owner) in self.owner[..long].iter().enumerate() {
            if let Some(s) = *owner {
                let (row, column) = place(s, l);
                // Every row of the shorter side was placed; where that gains nothing, it stays alone.
                self.partners[row] = useful(row, column).map(|_| column);
            }
        }
        &self.partners
    }

    /// Places one more row, moving others if that is cheaper.
    fn insert(&mut self, row: usize, long: usize) {
        reset(&mut self.slack, long + 1, f64::INFINITY);
        reset(&mut self.visited, long + 1, false);
        self.owner[long] = Some(row);
        let mut at = long;
        while let Some(row) = self.owner[at] {
            self.visited[at] = true;
            let (mut nearest, mut step) = (long, f64::INFINITY);
            for column in (0..long).filter(|&column| !self.visited[column]) {
                let cost = self.costs[row * long + column];
                let reduced = cost - self.row_price[row] - self.column_price[column];
                if reduced < self.slack[column] {
                    self.slack[column] = reduced;
                    self.before[column] = at;
                }
                if self.slack[column] < step {
                    (nearest, step) = (column, self.slack[column]);
                }
            }
            // There always is a free column: costs are finite, and no more rows than columns.
            for column in 0..=long {
                match self.owner[column] {
                    Some(owner) if self.visited[column] => {
                        self.row_price[owner] += step;
                        self.column_price[column] -= step;
                    }
                    _ => self.slack[column] -= step,
                }
            }
            at = nearest;
        }
        while at != long {
            let before = self.before[at];
            self.owner[at] = self.owner[before];
            at = before;
        }
    }
}

fn reset<T: Clone>(values: &mut Vec<T>, len: usize, value: T) {
    values.clear();
    values.resize(len, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(gains: &[Vec<f32>], partners: &[Option<usize>]) -> f64 {
        let pairs = partners.iter().enumerate();
        pairs
            .filter_map(|(row, column)| column.map(|column| f64::from(gains[row][column])))
            .sum()
    }

    /// The greatest total gain, by trying everything.
    fn brute_force(gains: &[Vec<f32>], row: usize, taken: &mut Vec<bool>) -> f64 {
        if row == gains.len() {
            return 0.0;
        }
        let mut best = brute_force(gains, row + 1, taken);
        for column in 0..taken.len() {
            let gain = gains[row][column];
            if !taken[column] && gain > 0.0 {
                taken[column] = true;
                best = best.max(f64::from(gain) + brute_force(gains, row + 1, taken));
                taken[column] = false;
            }
        }
        best
    }

    #[test]
    fn no_pairing_gains_more() {
        let mut state = 1u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let mut assignment = Assignment::default();
        let mut alone = 0;
        for case in 0..2000 {
            let (rows, columns) = ((6.0 * random()) as usize, (6.0 * random()) as usize);
            // Every third problem is full of ties, and a part of every one of pairs that must not be made.
            let gain = |value: f32| match case % 3 {
                0 => (4.0 * value).floor() / 4.0 - 0.25,
                _ => value - 0.3,
            };
            let gains: Vec<Vec<f32>> = (0..rows)
                .map(|_| (0..columns).map(|_| gain(random())).collect())
                .collect();
            let partners = assignment.solve(rows, columns, |row, column| gains[row][column]);
            assert_eq!(partners.len(), rows);
            let mut taken = vec![false; columns];
            for (row, column) in partners.iter().enumerate() {
                match column {
                    Some(column) => {
                        assert!(gains[row][*column] > 0.0);
                        assert!(!std::mem::replace(&mut taken[*column], true));
                    }
                    None => alone += 1,
                }
            }
            let best = brute_force(&gains, 0, &mut vec![false; columns]);
            let found = total(&gains, partners);
            assert!(
                (found - best).abs() < 1e-6,
                "{gains:?}: {found}, not {best}"
            );
        }
        assert!(alone > 100);
    }

    #[test]
    fn the_greedy_choice_is_not_taken_where_it_costs_more() {
        // Greedy takes 0.9 and leaves 0.1: together less than 0.8 and 0.8.
        let gains = [[0.9, 0.8], [0.8, 0.1]];
        let mut assignment = Assignment::default();
        let partners = assignment.solve(2, 2, |row, column| gains[row][column]);
        assert_eq!(partners, [Some(1), Some(0)]);
    }

    #[test]
    fn gains_that_are_no_numbers_pair_nothing() {
        let mut assignment = Assignment::default();
        for hostile in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0] {
            let partners = assignment.solve(3, 2, |row, _| if row == 1 { 0.5 } else { hostile });
            assert_eq!(partners.iter().flatten().count(), 1, "{hostile}");
            assert!(partners[1].is_some());
        }
    }
}
